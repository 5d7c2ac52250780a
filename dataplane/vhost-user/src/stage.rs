//! The frames in hand: a burst of one guest's.

use std::ops::Range;

use portcullis_engine::Expected;

use crate::{
    cursor::{Cursor, length},
    head::{Head, PLAIN},
    header::LENGTH,
    map::Map,
    ring::{Lie, Open, Part},
};

/// Frames of one guest before it is the next one's turn.
pub const BURST: usize = 32;

/// What is to become of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing more.
    Done,
    /// The port that stands there gets it.
    To(usize),
}

/// A frame that a guest sends: its buffers, and what was taken out of them.
pub struct Staged {
    /// The chain's number.
    pub chain: u16,
    parts: Range<usize>,
    /// Bytes of the guest's header.
    skip: usize,
    /// Bytes of the frame.
    pub length: usize,
    /// The beginning of the frame.
    pub head: Head,
    /// Where its connection probably is.
    pub expected: Expected,
    /// See [`Fate`].
    pub fate: Fate,
}

impl Default for Staged {
    fn default() -> Self {
        let head = Head::default();
        Self {
            chain: 0,
            parts: 0..0,
            skip: 0,
            length: 0,
            head,
            expected: Expected::default(),
            fate: Fate::Done,
        }
    }
}

/// A burst, and the buffers of all its frames. The default has no room, and takes none.
#[derive(Default)]
pub struct Stage {
    frames: Vec<Staged>,
    count: usize,
    parts: Vec<Part>,
}

impl Stage {
    /// One with room for a burst.
    pub fn new() -> Self {
        Self { frames: (0..BURST).map(|_| Staged::default()).collect(), ..Self::default() }
    }

    /// Takes what waits in a queue, up to a burst, and of each frame the header, which has so many
    /// bytes, and the beginning; how many frames.
    pub fn take(&mut self, ring: &mut Open<'_>, header: usize) -> Result<usize, Lie> {
        self.count = 0;
        self.parts.clear();
        for frame in &mut self.frames {
            frame.fate = Fate::Done;
            frame.skip = header;
            let from = self.parts.len();
            if let Some((chain, part, slice)) = ring.take_one(0)? {
                self.parts.push(part);
                frame.chain = chain;
                frame.length = (part.length as usize).saturating_sub(header);
                slice.copy_to(frame.head.fill(header, PLAIN, frame.length));
            } else if let Some(chain) = ring.take(&mut self.parts)? {
                let parts = &self.parts[from..];
                frame.chain = chain;
                frame.length = length(parts).saturating_sub(header);
                let room = frame.head.fill(header, PLAIN, frame.length);
                Cursor::new(ring.memory, parts).read(room);
            } else {
                break;
            }
            frame.parts = from..self.parts.len();
            self.count += 1;
        }
        Ok(self.count)
    }

    /// The frames.
    pub fn frames(&mut self) -> &mut [Staged] {
        &mut self.frames[..self.count]
    }

    /// A frame, and its buffers.
    pub fn frame(&mut self, number: usize) -> (&mut Staged, &[Part]) {
        let frame = &mut self.frames[number];
        let parts = &self.parts[frame.parts.clone()];
        (frame, parts)
    }

    /// The frames of this fate from this number on, each with its buffers.
    pub fn rest(
        &mut self,
        from: usize,
        fate: Fate,
    ) -> impl Iterator<Item = (&mut Staged, &[Part])> {
        let Self { frames, count, parts } = self;
        let frames = frames[from..*count].iter_mut().filter(move |frame| frame.fate == fate);
        frames.map(|frame| {
            let parts = &parts[frame.parts.clone()];
            (frame, parts)
        })
    }
}

impl Staged {
    /// Its header, in the longest form.
    pub fn header(&self) -> [u8; LENGTH] {
        self.head.header(self.skip)
    }

    /// Reads as much of the frame as anybody can want to judge. What was read before stays as it is.
    pub fn read_on(&mut self, memory: &Map, parts: &[Part]) {
        let known = self.head.bytes().len();
        let mut cursor = self.cursor(memory, parts, known);
        let room = self.head.fill(0, usize::MAX, self.length);
        cursor.read(&mut room[known..]);
    }

    /// The frame from this byte on.
    pub fn cursor<'a>(&self, memory: &'a Map, parts: &'a [Part], from: usize) -> Cursor<'a> {
        let mut cursor = Cursor::new(memory, parts);
        cursor.skip(self.skip + from);
        cursor
    }
}
