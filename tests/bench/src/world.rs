//! Where a peer forwards: a namespace with two ports, `pa` and `pb`, and what hangs on them.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    error::Error,
    frame::{End, Mac},
    netns::Namespace,
    tap::Tap,
};

/// Interface names of the two ports in the switch's namespace.
pub const PORTS: [&str; 2] = ["pa", "pb"];
/// Interface name inside a guest's namespace.
pub const GUEST_PORT: &str = "eth0";
/// A veth end carries whole super-packets; a tap's queue must hold a window.
const QUEUE: u32 = 4096;

/// Do the two ends share a network, or is the switch their router?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One network.
    Switched,
    /// Two networks, the switch is the gateway of both.
    Routed,
}

/// What hangs on the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Taps, for the generator.
    Taps,
    /// Guests in namespaces of their own on veth pairs, for programs with sockets.
    Guests,
}

impl Medium {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Taps, Self::Guests];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Taps => "taps",
            Self::Guests => "veth guests",
        }
    }
}

/// Addresses of the client (at `pa`) and the server (at `pb`).
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// At the first port.
    pub client: End,
    /// At the second port.
    pub server: End,
}

/// MAC of a guest's NIC.
const GUEST_MACS: [Mac; 2] = [[2, 0, 0, 0x77, 0, 2], [2, 0, 0, 0x77, 0, 3]];
/// MAC of the router's own ports where the peer is a plain Linux router.
pub const ROUTER_MACS: [Mac; 2] = [[2, 0, 0, 0x77, 1, 1], [2, 0, 0, 0x77, 1, 2]];

impl Ends {
    /// Client and server in one subnet.
    pub fn switched() -> Self {
        let end = |i: usize, host| End {
            mac: GUEST_MACS[i],
            ip: Ipv4Addr::new(10, 77, 0, host),
            ip6: Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, host.into()),
            next_hop: GUEST_MACS[1 - i],
        };
        Self { client: end(0, 2), server: end(1, 3) }
    }

    /// Client and server in two subnets behind a router with these MACs.
    pub fn routed(routers: [Mac; 2]) -> Self {
        let end = |i: usize, subnet| End {
            mac: GUEST_MACS[i],
            ip: Ipv4Addr::new(10, subnet, 0, 2),
            // fd00:77::/64 and fd00:78::/64, as people write them after their IPv4 subnets.
            ip6: Ipv6Addr::new(0xfd00, if i == 0 { 0x77 } else { 0x78 }, 0, 0, 0, 0, 0, 2),
            next_hop: routers[i],
        };
        Self { client: end(0, 77), server: end(1, 78) }
    }

    /// Both, the client first.
    pub fn both(&self) -> [End; 2] {
        [self.client, self.server]
    }
}

/// The gateway of an end's subnet, which is a /24.
pub fn gateway_of(end: End) -> Ipv4Addr {
    let [a, b, c, _] = end.ip.octets();
    Ipv4Addr::new(a, b, c, 1)
}

/// MAC as text.
pub fn mac_text(mac: Mac) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

/// What hangs on the two ports of a world.
#[derive(Debug)]
pub enum Attached {
    /// Two taps, the client's first.
    Taps(Tap, Tap),
    /// Two guests' namespaces, the client's first.
    Guests(Namespace, Namespace),
}

/// A peer, ready to forward between two ends. Dropping it removes it.
pub struct World {
    /// What the generator or the guests use. Goes first when the world ends.
    pub attached: Attached,
    /// Where the ends are.
    pub ends: Ends,
    /// What the peer keeps alive, for example a loaded program.
    pub _keep: Box<dyn std::any::Any>,
    /// The switch's namespace.
    pub namespace: Namespace,
}

/// Makes `pa` and `pb` in a new namespace, up but not connected by anything.
pub fn plain_ports(medium: Medium, ends: &Ends) -> Result<(Namespace, Attached), Error> {
    let namespace = Namespace::without_ipv6()?;
    let attached = match medium {
        Medium::Taps => {
            let first = Tap::open(&namespace, PORTS[0])?;
            Attached::Taps(first, Tap::open(&namespace, PORTS[1])?)
        }
        Medium::Guests => {
            let guests = [Namespace::without_ipv6()?, Namespace::without_ipv6()?];
            for (i, (guest, end)) in guests.iter().zip(ends.both()).enumerate() {
                veth(&namespace, PORTS[i], guest)?;
                configure_guest(guest, end, ends.both()[1 - i])?;
            }
            let [client, server] = guests;
            Attached::Guests(client, server)
        }
    };
    namespace.ip(&PORTS.map(|p| format!("link set {p} txqueuelen {QUEUE} up\n")).concat())?;
    Ok((namespace, attached))
}

/// Makes a veth pair from `port` into a guest.
fn veth(namespace: &Namespace, port: &str, guest: &Namespace) -> Result<(), Error> {
    let path = guest.path();
    namespace
        .ip(&format!("link add {port} type veth peer name {GUEST_PORT} netns {}\n", path.display()))
}

/// Gives a guest its MAC, its address and a way to the other end.
fn configure_guest(guest: &Namespace, end: End, other: End) -> Result<(), Error> {
    let (mac, ip) = (mac_text(end.mac), end.ip);
    let mut script = format!(
        "link set {GUEST_PORT} address {mac} up\naddress add {ip}/24 dev {GUEST_PORT}\nlink set lo up\n"
    );
    // The neighbour is declared, so that no peer needs to pass ARP.
    let next_hop = if end.next_hop == other.mac { other.ip } else { gateway_of(end) };
    script += &format!(
        "neighbour add {next_hop} lladdr {} dev {GUEST_PORT} nud permanent\n",
        mac_text(end.next_hop)
    );
    if next_hop != other.ip {
        script += &format!("route add default via {next_hop}\n");
    }
    guest.ip(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_point_at_each_other_or_at_their_router() {
        let ends = Ends::switched();
        assert_eq!(ends.client.next_hop, ends.server.mac);
        assert_eq!(ends.server.next_hop, ends.client.mac);
        let ends = Ends::routed(ROUTER_MACS);
        assert_eq!(ends.client.next_hop, ROUTER_MACS[0]);
        assert_eq!(gateway_of(ends.server), Ipv4Addr::new(10, 78, 0, 1));
    }

    #[test]
    fn a_mac_is_written_with_colons() {
        assert_eq!(mac_text([2, 0, 0, 0x77, 0, 0xfe]), "02:00:00:77:00:fe");
    }
}
