//! A frame in memory.

use portcullis_pipeline::{
    REACH,
    frame::{Frame, Tag},
    wire::ethernet,
};

const L2: usize = ethernet::LEN as usize;
/// The two addresses, in front of a tag.
const ADDRESSES: usize = 12;

/// A frame, and what a virtio-net header says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buffer {
    bytes: Vec<u8>,
    segment_size: u32,
}

impl Buffer {
    /// A frame that is one packet.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, segment_size: 0 }
    }

    /// Replaces the frame, in the memory that is there.
    pub fn fill(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        self.segment_size = 0;
    }

    /// The frame's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Frame for Buffer {
    #[inline]
    fn length(&self) -> u32 {
        self.bytes.len() as u32
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
        self.bytes.get(at as usize..)?.first_chunk::<N>().copied()
    }

    fn store<const N: usize>(&mut self, at: u32, bytes: [u8; N], _l3: bool) -> bool {
        match self.bytes.get_mut(at as usize..).and_then(|b| b.first_chunk_mut::<N>()) {
            Some(to) => {
                *to = bytes;
                true
            }
            None => false,
        }
    }

    fn pop_tag(&mut self) -> bool {
        if self.bytes.len() < L2 + ethernet::TAG_LEN as usize {
            return false;
        }
        self.bytes.drain(ADDRESSES..ADDRESSES + ethernet::TAG_LEN as usize);
        true
    }

    fn push_tag(&mut self, vlan: u16) -> bool {
        if self.bytes.len() < L2 {
            return false;
        }
        let [a, b] = ethernet::VLAN.to_be_bytes();
        let [c, d] = vlan.to_be_bytes();
        self.bytes.splice(ADDRESSES..ADDRESSES, [a, b, c, d]);
        true
    }

    fn quote(&mut self, keep: u32, grow: u32) -> bool {
        if self.bytes.len() < L2 || (keep as usize) < L2 {
            return false;
        }
        self.bytes.truncate(keep as usize);
        self.bytes.splice(L2..L2, std::iter::repeat_n(0, grow as usize));
        self.segment_size = 0;
        true
    }

    fn resize(&mut self, len: u32) -> bool {
        self.bytes.resize(len as usize, 0);
        self.segment_size = 0;
        true
    }

    fn gather(&self, at: u32, len: u32, to: &mut [[u8; 32]; 2]) -> bool {
        let from = self.bytes.get(at as usize..).and_then(|b| b.get(..len as usize));
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

    #[test]
    fn a_tag_goes_on_and_off() {
        let bytes: Vec<u8> = (0..60).collect();
        let mut frame = Buffer::new(bytes.clone());
        assert!(frame.push_tag(0x123));
        assert_eq!(frame.bytes()[12..18], [0x81, 0, 1, 0x23, 12, 13]);
        assert!(frame.pop_tag());
        assert_eq!(frame.bytes(), bytes);
    }

    #[test]
    fn nothing_is_read_or_written_behind_the_end() {
        let mut frame = Buffer::new(vec![0; 20]);
        assert_eq!(frame.load::<4>(16), Some([0; 4]));
        assert_eq!(frame.load::<4>(17), None);
        assert!(!frame.store::<4>(17, [1; 4], false));
        assert!(!frame.store::<4>(40, [1; 4], false));
        assert_eq!(frame.bytes(), [0; 20]);
    }

    #[test]
    fn a_quote_is_cut_and_pushed_back() {
        let mut frame = Buffer::new((0..100).collect());
        assert!(frame.quote(50, 28));
        assert_eq!(frame.length(), 78);
        assert_eq!(frame.bytes()[..14], (0..14).collect::<Vec<u8>>());
        assert_eq!(frame.bytes()[42..], (14..50).collect::<Vec<u8>>());
    }
}
