//! Subports: the tagged networks of a guest's trunk. A trunk is one interface that carries several
//! networks of its guest, at most one of them without a tag. Each of the others is a port by itself,
//! with a number beyond all interface indexes: whatever is said, counted, limited or remembered of a
//! port is so of it too. Only here, and where a tag goes on or off, is it more than a number.

use crate::{
    layout::{NetworkEntry, PORTS, PortEntry, port_flag},
    outcome::Outcome,
    parse::Link,
    reason::DropReason,
    tables::{NOTHING, Tables},
};

/// Bit of a port's number, beyond all interface indexes: it is a subport.
pub const SUBPORT: u32 = 1 << 28;

/// The number of the subport at this place of the port table.
#[inline(always)]
pub const fn number(place: u32) -> u32 {
    SUBPORT | place & (PORTS - 1)
}

/// Is this the number of a subport?
#[inline(always)]
pub const fn is_subport(port: u32) -> bool {
    port & SUBPORT != 0
}

/// The port at which a frame is judged that came in by the interface of `port`: of a trunk the one
/// that the tag names. A priority tag names none, as on every guest's port.
#[inline(always)]
pub fn enter<'t, T: Tables>(
    t: &'t T,
    slot: u32,
    port: &'t PortEntry,
    link: &Link,
) -> Result<&'t PortEntry, DropReason> {
    if port.flags & port_flag::TRUNK == 0 {
        return Ok(port);
    }
    if !link.tagged {
        return if port.network == 0 { Err(DropReason::UnknownVlan) } else { Ok(port) };
    }
    if link.vlan == 0 {
        return Err(DropReason::TaggedFrame);
    }
    let number = t.subport(slot, port.ifindex, link.vlan);
    if number == NOTHING {
        return Err(DropReason::UnknownVlan);
    }
    match t.port(slot, number) {
        Some(own) if own.device == port.ifindex => Ok(own),
        _ => Err(DropReason::PortClosed),
    }
}

/// The interface that a guest's port is, or is a part of; 0: it is closed.
#[inline(always)]
pub fn device<T: Tables>(t: &T, slot: u32, port: u32) -> u32 {
    if !is_subport(port) {
        return port;
    }
    match t.port(slot, port) {
        Some(p) => p.device,
        None => 0,
    }
}

/// Forwards a frame to a port of a guest, in this network. `far`: see [`crate::account::far`].
#[inline(always)]
pub fn forward<T: Tables>(
    t: &T,
    slot: u32,
    port: u32,
    network: &NetworkEntry,
    far: u32,
    o: &mut Outcome,
) -> Result<(), DropReason> {
    if !is_subport(port) {
        *o = Outcome::forward(port, 0, far);
        return Ok(());
    }
    let device = device(t, slot, port);
    if device == 0 {
        return Err(DropReason::PortClosed);
    }
    *o = Outcome::forward(port, network.vlan, far).by(device);
    Ok(())
}
