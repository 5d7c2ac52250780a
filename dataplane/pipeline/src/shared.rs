//! Addresses that several guests may have: one of them holds such an address at a time, whoever of
//! them announced it last.
//!
//! Such addresses have a MAC of their own, of a virtual router where the policy names one (RFC
//! 9568, section 7.3); those with one MAC move together. The switch tells everybody that one, so a
//! fail-over changes nothing for neighbours: frames get the holder's MAC on their way to it, unless
//! the holder announced the address by the address's own. No way to a shared address outlives its
//! packet, so the next one finds the next holder, and a policy never decides by who holds it: the
//! address is an endpoint of its own.

use crate::{
    addr::{Addr, Mac},
    layout::{AddressEntry, PortEntry, address_flag, port_flag, port_kind, sharer_scope},
    link::Claim,
    packet::Packet,
    reason::DropReason,
    route::{self, Ingress},
    tables::Tables,
};

/// Bit of [`crate::layout::Holder::held`]: the holder uses the MAC of the address, not its own.
pub const BY_ITS_MAC: u64 = 1 << 32;

/// Where packets for an address go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Interface index of the port; 0: it is not here, or nobody has it.
    pub port: u64,
    /// MAC that frames carry there.
    pub mac: u64,
}

/// Is it an address that several guests may have?
#[inline(always)]
pub const fn is_shared(a: &AddressEntry) -> bool {
    a.flags & address_flag::SHARED != 0
}

/// Can nobody have it but guests that are here?
#[inline(always)]
pub const fn is_vacant(a: &AddressEntry) -> bool {
    is_shared(a) && a.flags & address_flag::AWAY == 0
}

/// The seat of a declared address.
#[inline(always)]
pub fn seat<T: Tables>(t: &T, slot: u32, a: &AddressEntry, addr: Addr) -> Seat {
    if !is_shared(a) {
        return Seat { port: a.port as u64, mac: a.mac };
    }
    let nobody = Seat { port: 0, mac: a.mac };
    let Some(holder) = t.holder(a.network, a.mac) else { return nobody };
    let held = holder.held.get();
    // Who held it in another generation may be gone, or may not have it any more.
    let Some(own) = sharer(t, slot, held as u32, addr) else { return nobody };
    let mac = if held & BY_ITS_MAC != 0 { a.mac } else { own.mac };
    Seat { port: own.port as u64, mac }
}

/// Says that the port may hold the address.
#[inline(always)]
fn sharer<T: Tables>(t: &T, slot: u32, port: u32, addr: Addr) -> Option<&AddressEntry> {
    t.address(slot, sharer_scope(port), addr)
}

/// May this port send by this MAC, besides its own? It is that of an address which it may hold: so
/// is the link-local address that follows from it.
#[inline(always)]
pub fn may_use<T: Tables>(t: &T, slot: u32, port: &PortEntry, mac: Mac) -> bool {
    port.flags & port_flag::SHARES != 0
        && !mac.is_group()
        && sharer(t, slot, port.ifindex, Addr::link_local_of(mac)).is_some()
}

/// Why a guest port that does not have this address now may not send from it.
#[inline(always)]
pub fn not_owned<T: Tables>(t: &T, slot: u32, port: &PortEntry, addr: Addr) -> DropReason {
    if port.flags & port_flag::SHARES != 0 && sharer(t, slot, port.ifindex, addr).is_some() {
        DropReason::NotHolder
    } else {
        DropReason::SpoofedAddress
    }
}

/// Is a shared address somewhere behind the uplink now, for all that is known here?
#[inline(always)]
pub fn is_elsewhere<T: Tables>(t: &T, slot: u32, a: &AddressEntry, addr: Addr) -> bool {
    a.flags & address_flag::AWAY != 0 && seat(t, slot, a, addr).port == 0
}

/// Does a packet come from a shared address?
#[inline(always)]
pub fn is_shared_source<T: Tables>(t: &T, q: &Packet) -> bool {
    route::declared(t, q.slot(), q.network, q.src).is_some_and(is_shared)
}

/// Judges a claim to a shared address: an announcement by who may have it takes it, anything else is
/// for its holder only.
#[inline(always)]
pub fn claim<T: Tables>(
    t: &T,
    c: &Claim,
    i: &Ingress<'_>,
    a: &AddressEntry,
) -> Result<(), DropReason> {
    let held = if i.kind == port_kind::GUEST {
        let Some(own) = sharer(t, c.slot(), i.port, c.claimed) else {
            return Err(DropReason::SpoofedNeighbour);
        };
        i.port as u64 | if own.mac == c.link_src { 0 } else { BY_ITS_MAC }
    } else if i.kind == port_kind::UPLINK && a.flags & address_flag::AWAY != 0 && a.network == i.id
    {
        0
    } else {
        return Err(DropReason::SpoofedNeighbour);
    };
    let Some(holder) = t.holder(a.network, a.mac) else { return Err(DropReason::Fault) };
    if c.announces() {
        holder.held.set(held);
        return Ok(());
    }
    if seat(t, c.slot(), a, c.claimed).port == held & (BY_ITS_MAC - 1) {
        Ok(())
    } else {
        Err(DropReason::NotHolder)
    }
}
