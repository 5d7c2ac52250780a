//! Frames that claim what is not so. They go past the stack, which would not send them.

use smoltcp::wire::{ArpOperation, EthernetAddress, IpAddress};

use crate::{frames::Frame, order::Lie};

const TEXT: &[u8] = b"believe me";

/// A lie of whoever has this MAC, and `own` as address in the family of the lie.
pub fn frame(
    lie: Lie,
    mac: EthernetAddress,
    own: impl FnOnce(&IpAddress) -> Option<IpAddress>,
) -> Option<Frame> {
    let all = EthernetAddress::BROADCAST;
    Some(match lie {
        Lie::Mac(from, to) => Frame::datagram([from, all], [own(&to)?, to], TEXT),
        Lie::Address(from, to) => Frame::datagram([mac, all], [from, to], TEXT),
        Lie::Arp(address) => Frame::arp(ArpOperation::Reply, (mac, address), (all, address)),
    })
}
