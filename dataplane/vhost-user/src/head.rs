//! The beginning of a frame, taken out of the guest's memory before it is judged: what was judged
//! is what the receiver gets, whatever the sender makes of its memory meanwhile. The rest of the
//! frame decides nothing, and is copied from one guest to the other.

use portcullis_pipeline::{
    REACH,
    frame::{Frame, Tag},
    wire::{ethernet, protocol},
};

use crate::header::LENGTH;

/// Bytes that are enough for plain packets: Ethernet, IPv6 and the longest header of TCP.
pub const PLAIN: usize = 128;
/// As far as the pipeline looks, with what it takes from there at once.
pub const LONGEST: usize = REACH as usize + 64;

/// The beginning of a frame, and room for the header in front of it.
pub struct Head {
    room: [u8; LENGTH + LONGEST],
    held: usize,
    length: u32,
    segment_size: u32,
}

impl Default for Head {
    fn default() -> Self {
        Self { room: [0; LENGTH + LONGEST], held: 0, length: 0, segment_size: 0 }
    }
}

impl Head {
    /// Place for a header of so many bytes and the first `bytes` bytes of a frame of `length`, as
    /// far as it has them.
    pub fn fill(&mut self, header: usize, bytes: usize, length: usize) -> &mut [u8] {
        self.held = bytes.min(length).min(LONGEST);
        self.length = length as u32;
        self.segment_size = 0;
        &mut self.room[LENGTH - header..LENGTH + self.held]
    }

    /// Its header of so many bytes, in the longest form.
    pub fn header(&self, bytes: usize) -> [u8; LENGTH] {
        if bytes == LENGTH {
            // At once: what was copied in pieces cannot be loaded as a whole at once.
            return *self.room.first_chunk().expect("room for a header");
        }
        let mut header = [0; LENGTH];
        header[..bytes].copy_from_slice(&self.room[LENGTH - bytes..LENGTH]);
        header
    }

    /// What is here, with room for a header in front.
    pub fn with_header(&mut self) -> &mut [u8] {
        &mut self.room[..LENGTH + self.held]
    }

    /// What is here.
    pub fn bytes(&self) -> &[u8] {
        &self.room[LENGTH..LENGTH + self.held]
    }

    /// Says into how large pieces the frame is still to be cut; 0: it is one packet.
    pub fn set_segment_size(&mut self, bytes: u32) {
        self.segment_size = bytes;
    }

    /// Is [`PLAIN`] all that the pipeline can want to see of it: TCP or UDP right behind an IP
    /// header without options, and no fragment?
    pub fn is_plain(&self) -> bool {
        let at = |offset: usize| self.bytes()[offset];
        let known = |number: u8| matches!(number, protocol::TCP | protocol::UDP);
        if self.held < 54 {
            return true;
        }
        match u16::from_be_bytes([at(12), at(13)]) {
            ethernet::IPV4 => at(14) == 0x45 && known(at(23)) && [at(20) & 0x3f, at(21)] == [0, 0],
            ethernet::IPV6 => known(at(20)),
            _ => false,
        }
    }
}

impl Frame for Head {
    #[inline]
    fn length(&self) -> u32 {
        self.length
    }

    #[inline]
    fn segment_size(&self) -> u32 {
        self.segment_size
    }

    #[inline]
    fn tag(&self) -> Option<Tag> {
        None
    }

    #[inline]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        if at >= REACH {
            return None;
        }
        self.bytes().get(at as usize..)?.first_chunk::<N>().copied()
    }

    fn store<const N: usize>(&mut self, at: u32, bytes: [u8; N], _l3: bool) -> bool {
        let place = self.room[LENGTH..LENGTH + self.held].get_mut(at as usize..);
        match place.and_then(|b| b.first_chunk_mut::<N>()) {
            Some(to) => {
                *to = bytes;
                true
            }
            None => false,
        }
    }

    /// Frames with tags go to the kernel's half.
    fn pop_tag(&mut self) -> bool {
        false
    }

    fn push_tag(&mut self, _vlan: u16) -> bool {
        false
    }

    /// Answers are made of a copy of the frame.
    fn quote(&mut self, _keep: u32, _grow: u32) -> bool {
        false
    }

    fn resize(&mut self, _len: u32) -> bool {
        false
    }

    fn gather(&self, at: u32, len: u32, to: &mut [[u8; 32]; 2]) -> bool {
        let from = self.bytes().get(at as usize..).and_then(|b| b.get(..len as usize));
        match (from, to.as_flattened_mut().get_mut(..len as usize)) {
            (Some(from), Some(to)) if len > 0 => {
                to.copy_from_slice(from);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: &[u8]) -> Head {
        let mut head = Head::default();
        head.fill(0, PLAIN, bytes.len()).copy_from_slice(&bytes[..bytes.len().min(PLAIN)]);
        head
    }

    #[test]
    fn what_is_not_here_is_not_read() {
        let head = head(&[7; 1000]);
        assert_eq!((head.length(), head.bytes().len()), (1000, PLAIN));
        assert_eq!(head.load::<4>(124), Some([7; 4]));
        assert_eq!(head.load::<4>(125), None);
    }

    #[test]
    fn plain_is_tcp_and_udp_without_extras() {
        let mut v4 = [0; 200];
        v4[12..15].copy_from_slice(&[8, 0, 0x45]);
        v4[23] = 6;
        assert!(head(&v4).is_plain());
        for (at, byte) in [(14, 0x46), (23, 1), (20, 0x20), (21, 1)] {
            let mut other = v4;
            other[at] = byte;
            assert!(!head(&other).is_plain(), "{at}");
        }
        let mut v6 = [0; 200];
        v6[12..14].copy_from_slice(&[0x86, 0xdd]);
        v6[20] = 17;
        assert!(head(&v6).is_plain());
        v6[20] = 0;
        assert!(!head(&v6).is_plain());
    }
}
