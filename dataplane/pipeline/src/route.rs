//! Where an address is, what class it has, and where frames for it go. Only packets that open a
//! connection, and the first ones after a change, come here.

use crate::{
    addr::{Addr, Mac},
    layout::{AddressEntry, NetworkEntry, network_flag, port_kind},
    link::answer_tag,
    reason::DropReason,
    shared,
    tables::{TICKS_PER_SECOND, Tables},
    verdict::Notice,
};

/// A learned neighbour that was silent for longer is asked for again, by the host's stack.
pub const NEIGHBOUR_FRESH: u64 = 120 * TICKS_PER_SECOND;

/// What is read once per packet and passed on.
#[derive(Clone, Copy)]
pub struct Moment {
    /// The one generation that judges this packet.
    pub generation: u32,
    /// Its slot.
    pub slot: u32,
    /// Ticks.
    pub now: u64,
}

impl Moment {
    /// A generation at a time.
    #[inline(always)]
    pub const fn new(generation: u32, now: u64) -> Self {
        Self { generation, slot: generation & 1, now }
    }
}

/// Where a frame came in, and when.
#[derive(Clone, Copy)]
pub struct Ingress<'a> {
    /// When.
    pub m: Moment,
    /// Interface index of the port.
    pub port: u32,
    /// One of [`port_kind`].
    pub kind: u16,
    /// Its network's id.
    pub id: u32,
    /// Its network.
    pub network: &'a NetworkEntry,
    /// Source MAC of the frame.
    pub src: Mac,
    /// Destination MAC of the frame.
    pub dst: Mac,
}

impl Ingress<'_> {
    /// This port's question for a notice of this kind.
    #[inline(always)]
    pub fn asks(&self, kind: u32) -> Notice {
        let vlan = answer_tag(self);
        Notice { kind, network: self.id, generation: self.m.generation, vlan }
    }

    /// Is the frame addressed to the network's gateway?
    #[inline(always)]
    pub fn to_gateway(&self) -> bool {
        self.network.flags & network_flag::GATEWAY != 0 && self.dst.0 == self.network.gateway_mac
    }
}

/// The declared entry of an address.
#[inline(always)]
pub fn declared<T: Tables>(t: &T, slot: u32, network: u32, addr: Addr) -> Option<&AddressEntry> {
    let scope = if addr.is_link_local_v6() { network } else { 0 };
    t.address(slot, scope, addr)
}

/// Identity class of an address.
#[inline(always)]
pub fn class<T: Tables>(t: &T, slot: u32, network: u32, addr: Addr) -> Result<u32, DropReason> {
    if let Some(a) = declared(t, slot, network, addr) {
        return Ok(a.class);
    }
    if let Some(p) = t.prefix(slot, addr) {
        return Ok(p.class);
    }
    match t.generation_entry(slot) {
        Some(g) => Ok(g.world),
        None => Err(DropReason::Fault),
    }
}

/// The way to a destination. Whole words, for the reason given in [`crate::parse`]; and found
/// through a reference, because what a `Result` of several words leaves undefined is spilled
/// across helper calls, which the verifier of eBPF refuses ("R1 !read_ok").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// MAC that the frame carries there.
    pub mac: u64,
    /// Interface index of the egress port << 32 | identity class of the destination.
    to: u64,
    /// Network it travels in there << 32 | bits of [`route_flag`].
    by: u64,
}

/// Bit of an egress port, beyond all interface indexes: it has a bandwidth limit.
pub const POLICED: u64 = 1 << 31;
/// Another one: it is a host's leg.
pub const BEYOND: u64 = 1 << 30;
/// Bit of an egress port: inside its network too the frame gets the MAC of who holds the shared
/// address now, in place of the address's own.
pub const READDRESSED: u64 = 1 << 29;

mod route_flag {
    /// It leaves through an uplink.
    pub const UPLINK: u64 = 1;
    /// It holds for the next packet too: the host's stack need not find the neighbour first.
    pub const LASTING: u64 = 2;
    /// See [`super::READDRESSED`].
    pub const READDRESSED: u64 = 4;
}

impl Route {
    /// No way yet.
    pub const NONE: Self = Self { mac: 0, to: 0, by: 0 };

    #[inline(always)]
    const fn new(port: u32, mac: u64, network: u32, class: u32, flags: u64) -> Self {
        Self { mac, to: (port as u64) << 32 | class as u64, by: (network as u64) << 32 | flags }
    }

    /// By the host's leg of the network that the packet came from.
    #[inline(always)]
    const fn to_leg(i: &Ingress<'_>, class: u32, flags: u64) -> Self {
        let leg = i.network.host_port | BEYOND as u32;
        Self::new(leg, i.network.gateway_mac, i.id, class, flags)
    }

    /// Interface index of the egress port, with [`POLICED`] and [`BEYOND`].
    #[inline(always)]
    pub const fn port(&self) -> u64 {
        self.to >> 32
    }

    /// Interface index of the egress port.
    #[inline(always)]
    pub const fn interface(&self) -> u32 {
        (self.port() & (BEYOND - 1)) as u32
    }

    /// What leaves by that port has a bandwidth limit.
    #[inline(always)]
    pub const fn police(&mut self) {
        self.to |= POLICED << 32;
    }

    /// Identity class of the destination.
    #[inline(always)]
    pub const fn class(&self) -> u32 {
        self.to as u32
    }

    /// Network it travels in there.
    #[inline(always)]
    pub const fn network(&self) -> u32 {
        (self.by >> 32) as u32
    }

    /// Does it leave through an uplink?
    #[inline(always)]
    pub const fn uplink(&self) -> bool {
        self.by & route_flag::UPLINK != 0
    }

    /// Does it hold for the next packet too? False where the host's stack is to find the
    /// neighbour first, and where an address may have another holder by then.
    #[inline(always)]
    pub const fn lasting(&self) -> bool {
        self.by & route_flag::LASTING != 0
    }

    /// It does not hold for the next packet.
    #[inline(always)]
    pub const fn unsettle(&mut self) {
        self.by &= !route_flag::LASTING;
    }

    /// Does a frame that nobody routes get the MAC, too?
    #[inline(always)]
    pub const fn readdressed(&self) -> bool {
        self.by & route_flag::READDRESSED != 0
    }
}

/// Finds the way for a unicast packet.
#[inline(always)]
pub fn find<T: Tables>(
    t: &T,
    slot: u32,
    i: &Ingress<'_>,
    dst: Addr,
    to: &mut Route,
) -> Result<(), DropReason> {
    match declared(t, slot, i.id, dst) {
        Some(a) => to_declared(t, slot, i, dst, a, to)?,
        None => to_undeclared(t, slot, i, dst, to)?,
    }
    if to.interface() == i.port { Err(DropReason::Hairpin) } else { Ok(()) }
}

#[inline(always)]
fn to_declared<T: Tables>(
    t: &T,
    slot: u32,
    i: &Ingress<'_>,
    dst: Addr,
    a: &AddressEntry,
    to: &mut Route,
) -> Result<(), DropReason> {
    if a.kind == port_kind::HOST {
        return to_host(i, a.class, to);
    }
    let Some(network) = t.network(slot, a.network) else { return Err(DropReason::NoDestination) };
    check_link(i, a.network, a.mac, network)?;
    let seat = shared::seat(t, slot, a, dst);
    let (port, mut flags) = if seat.port != 0 {
        (seat.port as u32, route_flag::LASTING)
    } else if shared::is_vacant(a) {
        return Err(DropReason::NoHolder);
    } else {
        (network.uplink_port, route_flag::UPLINK | route_flag::LASTING)
    };
    if port == 0 {
        return Err(DropReason::NoDestination);
    }
    if shared::is_shared(a) {
        flags &= !route_flag::LASTING;
        if seat.mac != a.mac && !i.to_gateway() {
            flags |= route_flag::READDRESSED;
        }
    }
    *to = Route::new(port, seat.mac, a.network, a.class, flags);
    Ok(())
}

/// To the hypervisor itself: by the leg of the network that the packet came from, whichever of
/// the host's addresses it wants.
#[inline(always)]
fn to_host(i: &Ingress<'_>, class: u32, to: &mut Route) -> Result<(), DropReason> {
    if i.kind == port_kind::HOST {
        return Err(DropReason::Hairpin);
    }
    if !i.to_gateway() {
        return Err(DropReason::WrongMac);
    }
    if i.network.host_port == 0 {
        return Err(DropReason::NoDestination);
    }
    *to = Route::to_leg(i, class, route_flag::LASTING);
    Ok(())
}

/// The frame must be addressed either to the destination itself, in the same network, or to
/// the gateway, with a gateway on both sides.
#[inline(always)]
fn check_link(
    i: &Ingress<'_>,
    network: u32,
    mac: u64,
    to: &NetworkEntry,
) -> Result<(), DropReason> {
    if network == i.id && i.dst.0 == mac {
        Ok(())
    } else if !i.to_gateway() {
        Err(DropReason::WrongMac)
    } else if to.flags & network_flag::GATEWAY == 0 {
        Err(DropReason::NoRoute)
    } else {
        Ok(())
    }
}

#[inline(always)]
fn to_undeclared<T: Tables>(
    t: &T,
    slot: u32,
    i: &Ingress<'_>,
    dst: Addr,
    to: &mut Route,
) -> Result<(), DropReason> {
    let Some(shape) = t.generation_entry(slot) else { return Err(DropReason::Fault) };
    let mut class = shape.world;
    let mut id = 0;
    if let Some(p) = t.prefix(slot, dst) {
        class = p.class;
        id = p.network;
    }
    if dst.is_link_local_v6() {
        id = i.id;
    }
    if !i.to_gateway() {
        return through_uplink(i, id, class, to);
    }
    if id == 0 {
        return outside(i, class, route_flag::LASTING, to);
    }
    let Some(network) = t.network(slot, id) else { return Err(DropReason::Fault) };
    if network.flags & network_flag::GATEWAY == 0 {
        return Err(DropReason::NoRoute);
    }
    if network.uplink_port == 0 {
        return Err(DropReason::NoDestination);
    }
    let mac = t.neighbour(id, dst, i.m.now);
    if mac == 0 {
        // The host's stack asks for it; the answer is learned on its way in.
        return outside(i, class, 0, to);
    }
    let flags = route_flag::UPLINK | route_flag::LASTING;
    *to = Route::new(network.uplink_port, mac, id, class, flags);
    Ok(())
}

/// A neighbour of the same network, or a router in it, behind the uplink: the frame keeps the
/// MAC that its sender gave it.
#[inline(always)]
fn through_uplink(i: &Ingress<'_>, id: u32, class: u32, to: &mut Route) -> Result<(), DropReason> {
    if id != i.id && id != 0 {
        return Err(DropReason::NoRoute);
    }
    if i.network.uplink_port == 0 {
        return Err(DropReason::NoDestination);
    }
    *to = Route::new(
        i.network.uplink_port,
        i.dst.0,
        i.id,
        class,
        route_flag::UPLINK | route_flag::LASTING,
    );
    Ok(())
}

/// Outside all networks: the host's stack routes it.
#[inline(always)]
fn outside(i: &Ingress<'_>, class: u32, flags: u64, to: &mut Route) -> Result<(), DropReason> {
    if i.network.host_port == 0 {
        return Err(DropReason::NoRoute);
    }
    *to = Route::to_leg(i, class, flags);
    Ok(())
}

/// May a packet with this source come in through a host or uplink port? (A guest port has its
/// list of addresses.) `known`: the packet belongs to a connection that was allowed.
#[inline(always)]
pub fn check_source<T: Tables>(
    t: &T,
    slot: u32,
    i: &Ingress<'_>,
    src: Addr,
    known: bool,
) -> Result<(), DropReason> {
    let ok = match declared(t, slot, i.id, src) {
        Some(a) if i.kind == port_kind::HOST => a.kind == port_kind::HOST || known,
        Some(a) if shared::is_shared(a) => {
            shared::is_elsewhere(t, slot, a, src) && comes_by_trunk(i, a.network)
        }
        Some(a) => a.kind == port_kind::CLOSED && comes_by_trunk(i, a.network),
        None => {
            let network = match t.prefix(slot, src) {
                Some(p) => p.network,
                None => 0,
            };
            let network = if src.is_link_local_v6() { i.id } else { network };
            if i.kind == port_kind::HOST {
                // The host may route for the outside, and hands on what it finds neighbours
                // for; nobody else in a network of ours sends through its leg.
                network == 0 || known
            } else if network == 0 {
                i.network.flags & network_flag::EXTERNAL != 0
            } else {
                comes_by_trunk(i, network)
            }
        }
    };
    if ok { Ok(()) } else { Err(DropReason::SpoofedAddress) }
}

/// Something that is not plugged in here comes by its own network's VLAN, or was routed into
/// this one by the gateway on its own host. Nothing outside may claim the latter.
#[inline(always)]
fn comes_by_trunk(i: &Ingress<'_>, network: u32) -> bool {
    network == i.id
        || (i.src.0 == i.network.gateway_mac && i.network.flags & network_flag::EXTERNAL == 0)
}
