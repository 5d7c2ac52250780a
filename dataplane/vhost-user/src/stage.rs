//! The frame in hand.

use crate::{
    cursor::{Cursor, length},
    head::{Head, PLAIN},
    header::LENGTH,
    ring::{Lie, Memory, Part, Ring},
};

/// A frame that a guest sends: its buffers, and what was taken out of them.
#[derive(Default)]
pub struct Stage {
    parts: Vec<Part>,
    /// Bytes of the guest's header.
    skip: usize,
    /// The header, in the longest form.
    pub header: [u8; LENGTH],
    /// The beginning of the frame.
    pub head: Head,
    /// Bytes of the frame.
    pub length: usize,
}

impl Stage {
    /// Takes the next chain of a queue in hand; its number.
    pub fn take(&mut self, ring: &mut Ring) -> Result<Option<u16>, Lie> {
        self.parts.clear();
        ring.take(&mut self.parts)
    }

    /// Reads the header of so many bytes, and the beginning of the frame. False: it is none.
    pub fn read(&mut self, memory: &Memory, header: usize, longest: usize) -> bool {
        let total = length(&self.parts);
        self.skip = header;
        self.length = total.saturating_sub(header);
        if !(14..=longest).contains(&self.length) {
            return false;
        }
        let mut cursor = Cursor::new(memory, &self.parts);
        self.header = [0; LENGTH];
        cursor.read(&mut self.header[..header]);
        cursor.read(self.head.fill(PLAIN, self.length));
        true
    }

    /// Reads as much of the frame as anybody can want to judge.
    pub fn read_on(&mut self, memory: &Memory) {
        let mut cursor = Cursor::new(memory, &self.parts);
        cursor.skip(self.skip);
        cursor.read(self.head.fill(usize::MAX, self.length));
    }

    /// The frame from this byte on.
    pub fn cursor<'a>(&'a self, memory: &'a Memory, from: usize) -> Cursor<'a> {
        let mut cursor = Cursor::new(memory, &self.parts);
        cursor.skip(self.skip + from);
        cursor
    }
}
