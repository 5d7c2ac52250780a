//! Counters.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::PORTS;
use crate::word::Word;

/// What has passed a port, by processor and place in the port table: `ifindex & (PORTS - 1)`.
/// Packets are frames as the kernel hands them over: one still to be segmented counts once, as it
/// does in the interface's own counters. Bytes begin with the Ethernet header.
///
/// `in_packets` is the sum of `forwarded`, `flooded`, `answered` and `dropped`. The last element
/// of the table, [`PORTS`], holds what ports had that are gone; only user space writes it.
#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Traffic {
    /// Frames that came in here.
    pub in_packets: Word,
    /// Their bytes.
    pub in_bytes: Word,
    /// Frames that left here: forwarded, copies of broadcasts, answers of the switch.
    pub out_packets: Word,
    /// Their bytes.
    pub out_bytes: Word,
    /// Of those that came in: forwarded to another port.
    pub forwarded: Word,
    /// Of those that came in: copied to one member of the network or more.
    pub flooded: Word,
    /// Of those that came in: turned into the switch's answer.
    pub answered: Word,
    /// Of those that came in: dropped; [`DropKey`] says why.
    pub dropped: Word,
    /// Of those forwarded: to a guest of another network here.
    pub in_routed: Amount,
    /// Of those that left: from a guest of another network here.
    pub out_routed: Amount,
    /// Of those forwarded: to the host, to what is behind it, or by an uplink.
    pub in_outside: Amount,
    /// Of those that left: from there.
    pub out_outside: Amount,
}

const _: () = assert!(core::mem::size_of::<Traffic>() == 128);

/// Frames and their bytes.
#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Amount {
    /// Frames.
    pub packets: Word,
    /// Bytes.
    pub bytes: Word,
}

/// Elements of the table of [`Traffic`].
pub const TRAFFIC: u32 = PORTS + 1;

entry! {
    /// Key of the counters of frames dropped, by port and reason.
    DropKey: 8 {
        /// Place in the port table, or [`PORTS`] for ports that are gone.
        place: u32,
        /// The [`crate::DropReason`].
        reason: u32,
    }
}
