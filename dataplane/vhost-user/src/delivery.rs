//! A frame into the buffers of a guest (virtio 1.3, section 5.1.6.4).

use crate::{
    cursor::{Cursor, length},
    header::{BUFFERS, LENGTH},
    ring::{Lie, Open, Part},
};

/// A frame on its way to a guest.
pub struct Frame<'a> {
    /// What is said of it, in the longest form, and its first bytes.
    pub bytes: &'a mut [u8],
    /// The others, in the memory of the guest that sends it.
    pub tail: Option<(Cursor<'a>, usize)>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The guest has it.
    Yes,
    /// Its buffers have no room now.
    NoRoom,
}

/// Chains of buffers that a frame goes into: kept, so that none has to be made for each frame.
#[derive(Default)]
pub struct Chains {
    parts: Vec<Part>,
    /// Their numbers, and bytes.
    heads: Vec<(u16, usize)>,
}

impl Chains {
    /// Puts a frame into a guest's buffers; its driver sees it when the ring is published. `header`:
    /// bytes of the header; `mergeable`: may it be in several chains?
    pub fn deliver(
        &mut self,
        ring: &mut Open<'_>,
        mut frame: Frame<'_>,
        header: usize,
        mergeable: bool,
    ) -> Result<Delivered, Lie> {
        // In its place: see `with_header`.
        let Frame { bytes, tail } = &mut frame;
        let cut = LENGTH - header;
        let whole = bytes.len() - cut + tail.as_ref().map_or(0, |(_, len)| *len);
        if let Some((head, part, room)) = ring.take_one(whole)? {
            let bytes = with_header(bytes, header, 1);
            room.copy_from(bytes);
            if let Some((tail, length)) = tail
                && let Ok(room) = room.offset(bytes.len())
            {
                tail.read_into(room, *length);
            }
            ring.wrote(&[part], whole)?;
            ring.give(head, whole as u32)?;
            return Ok(Delivered::Yes);
        }
        if !self.take(ring, whole, mergeable)? {
            return Ok(Delivered::NoRoom);
        }
        let mut to = Cursor::new(ring.memory, &self.parts);
        to.write(with_header(bytes, header, self.heads.len() as u16));
        if let Some((tail, length)) = tail {
            to.copy(tail, *length);
        }
        ring.wrote(&self.parts, whole)?;
        let mut left = whole;
        for (head, room) in &self.heads {
            let written = left.min(*room);
            ring.give(*head, written as u32)?;
            left -= written;
        }
        Ok(Delivered::Yes)
    }

    /// Takes chains for so many bytes. False: there are not enough, and none is taken.
    fn take(&mut self, ring: &mut Open<'_>, bytes: usize, mergeable: bool) -> Result<bool, Lie> {
        self.parts.clear();
        self.heads.clear();
        let mut room = 0;
        while room < bytes && (mergeable || self.heads.is_empty()) {
            let before = self.parts.len();
            let Some(head) = ring.take(&mut self.parts)? else { break };
            let own = length(&self.parts[before..]);
            self.heads.push((head, own));
            room += own;
        }
        if room < bytes {
            ring.put_back(self.heads.len() as u16);
        }
        Ok(room >= bytes)
    }
}

/// The bytes with a header of the form that the guest has, which says in how many buffers they are.
#[inline(always)]
fn with_header(bytes: &mut [u8], header: usize, buffers: u16) -> &[u8] {
    let buffers = buffers.to_le_bytes();
    // Mostly it stands there already, and what was just stored cannot be loaded together with its
    // neighbours before it has left for the cache, behind all that went to the guest.
    if bytes[BUFFERS..LENGTH] != buffers {
        bytes[BUFFERS..LENGTH].copy_from_slice(&buffers);
    }
    let cut = LENGTH - header;
    if cut > 0 {
        bytes.copy_within(..header, cut);
    }
    &bytes[cut..]
}
