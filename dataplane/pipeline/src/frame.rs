//! The bytes of one frame, wherever they lie.

use crate::{packet::Scratch, reason::DropReason, send, tables::Tables};

/// A VLAN tag that the kernel has already taken out of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Tag protocol: 0x8100 or 0x88a8.
    pub protocol: u16,
    /// Tag control information: the VLAN id in the low 12 bits.
    pub tci: u16,
}

/// A frame: an skb, an XDP buffer, or memory of a ring. Offsets count from the first byte of the
/// Ethernet header.
pub trait Frame {
    /// Length of the whole frame in bytes, also of what is not linear.
    fn length(&self) -> u32;

    /// Payload bytes of each packet that this frame is still to be segmented into; 0 if it is
    /// one packet.
    fn segment_size(&self) -> u32;

    /// The tag that was taken out of the bytes, if there is one.
    fn tag(&self) -> Option<Tag>;

    /// `N` bytes at `at`, by value; `None` if they are not all there. `N` is at least 2: LLVM
    /// turns the bounds check of a single byte into one that the verifier does not understand.
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]>;

    /// [`Frame::load`] at an offset that is known when compiling.
    #[inline(always)]
    fn fixed<const AT: u32, const N: usize>(&self) -> Option<[u8; N]> {
        self.load::<N>(AT)
    }

    /// Replaces `N` bytes at `at`. `l3`: is it part of what a hardware checksum covers (all
    /// behind the Ethernet header)? False if they are not all there.
    fn store<const N: usize>(&mut self, at: u32, bytes: [u8; N], l3: bool) -> bool;

    /// Takes the outer tag away (from the metadata or from the bytes).
    fn pop_tag(&mut self) -> bool;

    /// Puts an 802.1Q tag with this VLAN id on.
    fn push_tag(&mut self, vlan: u16) -> bool;

    /// Cuts the frame to its first `keep` bytes, then makes room for `grow` bytes behind the
    /// Ethernet header. For answers that quote the frame: it is one packet afterwards, no longer
    /// to be segmented.
    fn quote(&mut self, keep: u32, grow: u32) -> bool;

    /// Makes the frame `len` bytes long: cut, or with zeros behind. It is one packet afterwards.
    fn resize(&mut self, len: u32) -> bool;

    /// Copies `len` bytes (1 to 64) at `at` to the beginning of `to`. False if they are not all
    /// there.
    fn gather(&self, at: u32, len: u32, to: &mut [[u8; 32]; 2]) -> bool;

    /// Rewrites the frame of the packet in `scratch` for its way out. A seam as
    /// [`Tables::resolve`]; the meaning is [`send::send`].
    #[inline(always)]
    fn send<T: Tables>(&mut self, t: &T, scratch: &mut Scratch) -> Result<(), DropReason>
    where
        Self: Sized,
    {
        send::send(self, t, &scratch.packet, &mut scratch.outcome)
    }
}
