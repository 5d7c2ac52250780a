//! What a port offers, and what follows from what its guest takes.

use libc::{TUN_F_CSUM, TUN_F_TSO_ECN, TUN_F_TSO4, TUN_F_TSO6, TUN_F_USO4, TUN_F_USO6, c_uint};
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use virtio_bindings::{
    virtio_config::VIRTIO_F_VERSION_1,
    virtio_net::{
        VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN,
        VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_USO4,
        VIRTIO_NET_F_GUEST_USO6, VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4,
        VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_HOST_USO, VIRTIO_NET_F_MRG_RXBUF,
    },
    virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC},
};

/// One kind of work that a sender may leave to the receiver: what the guest may leave to us, what
/// we may leave to the guest, how the tap is told.
struct Work {
    sends: u32,
    takes: u32,
    tap: c_uint,
}

/// All of it, each in the place of its bit in [`Offloads`].
const WORK: [Work; 6] = [
    Work { sends: VIRTIO_NET_F_CSUM, takes: VIRTIO_NET_F_GUEST_CSUM, tap: TUN_F_CSUM },
    Work { sends: VIRTIO_NET_F_HOST_TSO4, takes: VIRTIO_NET_F_GUEST_TSO4, tap: TUN_F_TSO4 },
    Work { sends: VIRTIO_NET_F_HOST_TSO6, takes: VIRTIO_NET_F_GUEST_TSO6, tap: TUN_F_TSO6 },
    Work { sends: VIRTIO_NET_F_HOST_ECN, takes: VIRTIO_NET_F_GUEST_ECN, tap: TUN_F_TSO_ECN },
    Work { sends: VIRTIO_NET_F_HOST_USO, takes: VIRTIO_NET_F_GUEST_USO4, tap: TUN_F_USO4 },
    Work { sends: VIRTIO_NET_F_HOST_USO, takes: VIRTIO_NET_F_GUEST_USO6, tap: TUN_F_USO6 },
];

/// Names of the features, for people.
const NAMES: [(u32, &str); 17] = [
    (VIRTIO_NET_F_CSUM, "csum"),
    (VIRTIO_NET_F_GUEST_CSUM, "guest-csum"),
    (VIRTIO_NET_F_GUEST_TSO4, "guest-tso4"),
    (VIRTIO_NET_F_GUEST_TSO6, "guest-tso6"),
    (VIRTIO_NET_F_GUEST_ECN, "guest-ecn"),
    (VIRTIO_NET_F_HOST_TSO4, "tso4"),
    (VIRTIO_NET_F_HOST_TSO6, "tso6"),
    (VIRTIO_NET_F_HOST_ECN, "ecn"),
    (VIRTIO_NET_F_MRG_RXBUF, "mergeable"),
    (VIRTIO_RING_F_INDIRECT_DESC, "indirect"),
    (VIRTIO_RING_F_EVENT_IDX, "event-index"),
    (VIRTIO_F_VERSION_1, "version-1"),
    (VIRTIO_NET_F_GUEST_USO4, "guest-uso4"),
    (VIRTIO_NET_F_GUEST_USO6, "guest-uso6"),
    (VIRTIO_NET_F_HOST_USO, "uso"),
    (LOG, "log"),
    (PROTOCOL, "protocol-features"),
];

/// The bit of `VHOST_F_LOG_ALL`.
pub const LOG: u32 = 26;
/// The bit of `VHOST_USER_F_PROTOCOL_FEATURES`.
const PROTOCOL: u32 = 30;

/// What the protocol itself can here.
pub const PROTOCOL_FEATURES: VhostUserProtocolFeatures = VhostUserProtocolFeatures::REPLY_ACK
    .union(VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS)
    .union(VhostUserProtocolFeatures::INFLIGHT_SHMFD)
    .union(VhostUserProtocolFeatures::LOG_SHMFD)
    .union(VhostUserProtocolFeatures::RESET_DEVICE);

/// Features of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    /// Everything that we can.
    pub fn offered() -> Self {
        Self(NAMES.iter().fold(0, |all, (bit, _)| all | 1 << bit))
    }

    /// Is this one among them?
    pub const fn has(self, bit: u32) -> bool {
        self.0 >> bit & 1 == 1
    }

    /// Are queues enabled one by one?
    pub const fn enables(self) -> bool {
        self.0 & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() != 0
    }

    /// May a frame be in several chains?
    pub const fn mergeable(self) -> bool {
        self.has(VIRTIO_NET_F_MRG_RXBUF)
    }

    /// Bytes of the header in front of each frame (virtio 1.3, section 5.1.6.1).
    pub const fn header(self) -> usize {
        if self.has(VIRTIO_F_VERSION_1) || self.mergeable() { 12 } else { 10 }
    }

    /// What the guest may leave to whoever gets its frames.
    pub fn sends(self) -> Offloads {
        self.offloads(|work| work.sends)
    }

    /// What may be left to the guest.
    pub fn takes(self) -> Offloads {
        self.offloads(|work| work.takes)
    }

    fn offloads(self, bit: impl Fn(&Work) -> u32) -> Offloads {
        let has = WORK.iter().zip(0..).filter(|(work, _)| self.has(bit(work)));
        Offloads(has.fold(0, |all, (_, place)| all | 1 << place))
    }

    /// What the tap may leave to the guest.
    pub fn of_tap(self) -> c_uint {
        let taken = WORK.iter().filter(|work| self.has(work.takes));
        taken.fold(0, |flags, work| flags | work.tap)
    }

    /// Their names.
    pub fn names(self) -> Vec<&'static str> {
        NAMES.iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| *name).collect()
    }
}

/// Kinds of work that a sender may leave to a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads(u8);

impl Offloads {
    /// Is there nothing among them that `other` lacks?
    pub const fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_sends_another_takes() {
        let all = Features::offered();
        assert!(all.sends().within(all.takes()));
        let plain = Features(1 << VIRTIO_F_VERSION_1);
        assert!(plain.sends().within(plain.takes()) && plain.sends().within(all.takes()));
        assert!(!all.sends().within(plain.takes()));
        let half = Features(all.0 & !(1 << VIRTIO_NET_F_GUEST_USO6));
        assert!(!all.sends().within(half.takes()), "datagrams of both families are one feature");
        assert_eq!((all.header(), plain.header(), Features(0).header()), (12, 12, 10));
    }

    #[test]
    fn a_tap_leaves_what_the_guest_takes() {
        assert_eq!(Features(0).of_tap(), 0);
        let some = Features(1 << VIRTIO_NET_F_GUEST_CSUM | 1 << VIRTIO_NET_F_GUEST_TSO4);
        assert_eq!(some.of_tap(), TUN_F_CSUM | TUN_F_TSO4);
        assert_eq!(some.names(), ["guest-csum", "guest-tso4"]);
    }
}
