//! Addresses and routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope},
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};

use crate::{
    error::{Error, Result},
    netlink::Netlink,
};

/// An address with the prefix length of its subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefixed {
    /// The address.
    pub addr: IpAddr,
    /// Prefix length, 0..=32 or 0..=128.
    pub len: u8,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Index of the interface.
    pub interface: u32,
    /// The address.
    pub address: Prefixed,
}

/// All addresses of the calling thread's network namespace.
pub fn list() -> Result<Vec<Owned>> {
    let answers = open()?
        .dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))
        .map_err(|e| Error::kernel("list the addresses", e))?;
    Ok(answers.iter().filter_map(read).collect())
}

/// The addresses by which others can name this host: all but loopback and link-local ones.
/// Sorted, unique.
pub fn of_host() -> Result<Vec<IpAddr>> {
    let mut addrs: Vec<IpAddr> =
        list()?.into_iter().map(|o| o.address.addr).filter(|a| is_named_by_others(*a)).collect();
    addrs.sort();
    addrs.dedup();
    Ok(addrs)
}

fn is_named_by_others(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => !a.is_loopback() && !a.is_link_local(),
        IpAddr::V6(a) => !a.is_loopback() && !a.is_unicast_link_local(),
    }
}

/// Gives an interface an address, usable at once (no duplicate address detection: the addresses
/// of a network are declared, and the switch would answer the probe). Having it already is fine.
pub fn add(interface: u32, address: Prefixed) -> Result<()> {
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    open()?
        .change(RouteNetlinkMessage::NewAddress(message(interface, address)), flags)
        .map_err(|e| Error::kernel(format!("add the address {}", address.addr), e))
}

/// Takes an address away from an interface. Not having it is fine.
pub fn remove(interface: u32, address: Prefixed) -> Result<()> {
    match open()?.change(RouteNetlinkMessage::DelAddress(message(interface, address)), 0) {
        Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(()),
        other => {
            other.map_err(|e| Error::kernel(format!("remove the address {}", address.addr), e))
        }
    }
}

/// Makes `gateway` the default route of its family, through an interface.
pub fn default_route(interface: u32, gateway: IpAddr) -> Result<()> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(gateway);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes =
        vec![RouteAttribute::Gateway(gateway.into()), RouteAttribute::Oif(interface)];
    open()?
        .change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
        .map_err(|e| Error::kernel(format!("route by {gateway}"), e))
}

fn open() -> Result<Netlink> {
    Netlink::open().map_err(|e| Error::kernel("open a netlink socket", e))
}

fn family(addr: IpAddr) -> AddressFamily {
    if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn message(interface: u32, address: Prefixed) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr);
    message.header.prefix_len = address.len;
    message.header.scope = AddressScope::Universe;
    message.header.index = interface;
    message.attributes =
        vec![AddressAttribute::Local(address.addr), AddressAttribute::Address(address.addr)];
    match address.addr {
        IpAddr::V4(v4) => {
            message.attributes.extend(broadcast(v4, address.len).map(AddressAttribute::Broadcast));
        }
        IpAddr::V6(_) => {
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    message
}

/// The directed broadcast address of a subnet; there is none in a /31 and a /32 (RFC 3021).
fn broadcast(addr: Ipv4Addr, len: u8) -> Option<Ipv4Addr> {
    (len < 31)
        .then(|| Ipv4Addr::from(u32::from(addr) | u32::MAX.checked_shr(len.into()).unwrap_or(0)))
}

/// IPv4 has the own address in `Local`, IPv6 only `Address` (the peer's where both are there).
fn read(message: &RouteNetlinkMessage) -> Option<Owned> {
    let RouteNetlinkMessage::NewAddress(m) = message else { return None };
    let of = |local: bool| {
        m.attributes.iter().find_map(|a| match a {
            AddressAttribute::Local(a) if local => Some(*a),
            AddressAttribute::Address(a) if !local => Some(*a),
            _ => None,
        })
    };
    let address = Prefixed { addr: of(true).or_else(|| of(false))?, len: m.header.prefix_len };
    Some(Owned { interface: m.header.index, address })
}

/// The link-local address that an interface forms from its MAC (RFC 4291, appendix A).
pub fn link_local_of(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasts() {
        let of = |len| broadcast(Ipv4Addr::new(10, 1, 2, 3), len);
        assert_eq!(of(24), Some(Ipv4Addr::new(10, 1, 2, 255)));
        assert_eq!(of(0), Some(Ipv4Addr::BROADCAST));
        assert_eq!(of(31), None);
    }

    #[test]
    fn loopback_and_link_local_name_nobody() {
        for text in ["127.0.0.1", "::1", "fe80::1", "169.254.3.4"] {
            assert!(!is_named_by_others(text.parse().unwrap()), "{text}");
        }
        assert!(is_named_by_others("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn loopback_has_its_address() {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert!(list().unwrap().iter().any(|o| o.address.addr == localhost));
        assert!(!of_host().unwrap().contains(&localhost));
    }
}
