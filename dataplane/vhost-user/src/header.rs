//! What a guest says of a frame in front of it (virtio 1.3, section 5.1.6, `struct
//! virtio_net_hdr`): checked before another guest gets to see it.

use virtio_bindings::virtio_net::{
    VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_ECN, VIRTIO_NET_HDR_GSO_NONE,
    VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_HDR_GSO_UDP_L4,
};

/// Bytes of the longest form, with the number of buffers.
pub const LENGTH: usize = 12;
/// Offset of the number of buffers.
pub const BUFFERS: usize = 10;

/// Offsets of the checksum in the headers of TCP and UDP.
const TCP_SUM: u16 = 16;
const UDP_SUM: u16 = 6;
/// Shortest headers in front of a transport header: Ethernet's and IPv4's.
const FIRST: u16 = 34;

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// The checksum to be finished is not in the frame.
    #[error("a checksum at {start} + {offset} of a frame of {length} bytes")]
    Checksum {
        /// Where the sum begins.
        start: u16,
        /// Where its place is, from there.
        offset: u16,
        /// Bytes of the frame.
        length: usize,
    },
    /// A kind of segmentation that is none, or that the frame's protocol does not have.
    #[error("segmentation of kind {kind} for this frame")]
    Segments {
        /// The kind.
        kind: u8,
    },
}

/// A header that is true, as far as anybody else depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The checksum is still to be finished: where it begins, and where its place is from there.
    pub checksum: Option<(u16, u16)>,
    /// Still to be segmented: the kind, and the payload bytes of each segment.
    pub segments: Option<(u8, u16)>,
}

impl Header {
    /// Reads the header of a frame of so many bytes, which begins with `head`.
    pub fn read(bytes: &[u8; LENGTH], head: &[u8], length: usize) -> Result<Self, Bad> {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let (flags, kind, size, start, offset) = (bytes[0], bytes[1], word(4), word(6), word(8));
        let unfinished = u32::from(flags) & VIRTIO_NET_HDR_F_NEEDS_CSUM != 0;
        let end = usize::from(start) + usize::from(offset) + 2;
        if unfinished && (start < FIRST || end > length) {
            return Err(Bad::Checksum { start, offset, length });
        }
        let checksum = unfinished.then_some((start, offset));
        if u32::from(kind) == VIRTIO_NET_HDR_GSO_NONE {
            return Ok(Self { checksum, segments: None });
        }
        if size == 0 || !Self::may_be(kind, checksum, head) {
            return Err(Bad::Segments { kind });
        }
        Ok(Self { checksum, segments: Some((kind, size)) })
    }

    /// Is this segmentation of the frame's own protocol?
    fn may_be(kind: u8, checksum: Option<(u16, u16)>, head: &[u8]) -> bool {
        let Some((_, offset)) = checksum else { return false };
        let bare = u32::from(kind) & !VIRTIO_NET_HDR_GSO_ECN;
        let family = head.get(12..14);
        let (v4, v6) = (family == Some(&[0x08, 0x00]), family == Some(&[0x86, 0xdd]));
        match bare {
            VIRTIO_NET_HDR_GSO_TCPV4 => v4 && offset == TCP_SUM,
            VIRTIO_NET_HDR_GSO_TCPV6 => v6 && offset == TCP_SUM,
            VIRTIO_NET_HDR_GSO_UDP_L4 => (v4 || v6) && offset == UDP_SUM && u32::from(kind) == bare,
            _ => false,
        }
    }

    /// Bytes of each segment's payload, 0 for a frame that is one packet.
    pub fn segment_size(&self) -> u32 {
        self.segments.map_or(0, |(_, size)| size.into())
    }

    /// As it stands in front of the frame, in so many buffers. The length of the headers, which is
    /// a hint, is that of the least that they can be: in front of the transport's checksum.
    pub fn write(&self, buffers: u16) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let mut put = |at: usize, word: u16| bytes[at..at + 2].copy_from_slice(&word.to_le_bytes());
        put(BUFFERS, buffers);
        if let Some((start, offset)) = self.checksum {
            put(6, start);
            put(8, offset);
            if let Some((_, size)) = self.segments {
                put(2, start + offset + 2);
                put(4, size);
            }
            bytes[0] = VIRTIO_NET_HDR_F_NEEDS_CSUM as u8;
        }
        if let Some((kind, _)) = self.segments {
            bytes[1] = kind;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(v6: bool) -> Vec<u8> {
        let mut frame = vec![0; 200];
        frame[12..14].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
        frame
    }

    fn header(flags: u8, kind: u8, size: u16, start: u16, offset: u16) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        (bytes[0], bytes[1]) = (flags, kind);
        for (at, word) in [(4, size), (6, start), (8, offset)] {
            bytes[at..at + 2].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn what_is_true_passes() {
        let read = |bytes, v6| Header::read(&bytes, &frame(v6), 9000);
        assert_eq!(read(header(0, 0, 77, 9, 9), false), Ok(Header::default()));
        let tcp = read(header(1, 1, 1448, 34, 16), false).unwrap();
        assert_eq!(tcp.segment_size(), 1448);
        assert_eq!(read(tcp.write(3), false), Ok(tcp));
        assert_eq!(tcp.write(3)[BUFFERS], 3);
        assert!(read(header(1, 0x84, 1428, 54, 16), true).is_ok());
        assert!(read(header(1, 5, 1200, 54, 6), true).is_ok());
    }

    #[test]
    fn what_is_not_is_refused() {
        let read = |bytes| Header::read(&bytes, &frame(false), 200);
        assert_eq!(
            read(header(1, 0, 0, 190, 16)),
            Err(Bad::Checksum { start: 190, offset: 16, length: 200 })
        );
        for (kind, size, offset) in [(1, 0, 16), (4, 9, 16), (3, 9, 6), (5, 9, 16), (9, 9, 16)] {
            assert_eq!(read(header(1, kind, size, 34, offset)), Err(Bad::Segments { kind }));
        }
        assert_eq!(read(header(0, 1, 1448, 34, 16)), Err(Bad::Segments { kind: 1 }));
    }

    proptest! {
        /// Whatever a guest writes, what another one gets points into the frame, and says the same
        /// when it is read again.
        #[test]
        fn nothing_points_outside(bytes: [u8; LENGTH], v6: bool, length in 14_usize..200) {
            let frame = frame(v6);
            if let Ok(read) = Header::read(&bytes, &frame[..length], length) {
                if let Some((start, offset)) = read.checksum {
                    prop_assert!(usize::from(start) + usize::from(offset) + 2 <= length);
                }
                prop_assert!(read.segments.is_none() || read.checksum.is_some());
                prop_assert_eq!(Header::read(&read.write(1), &frame[..length], length), Ok(read));
            }
        }
    }
}
