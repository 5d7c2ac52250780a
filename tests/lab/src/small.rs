//! A host with guests of three plain networks: what most tests need. Plain networks have no rules
//! of their own, so every test says all that may be.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    Error, Lab, Result, Space,
    frame::{Mac, Udp, parse_mac},
    host::Host,
    sums,
    world::{Guest, Nic, attach},
};

/// Networks and guests; each test adds its `rules:`. `thin` takes smaller packets.
const INVENTORY: &str = "\
networks:
  red:  { vlan: 10, subnets: [10.1.0.0/24, 'fd01::/64'], gateway: true }
  blue: { vlan: 20, subnets: [10.2.0.0/24, 'fd02::/64'], gateway: true }
  thin: { vlan: 30, subnets: [10.3.0.0/24, 'fd03::/64'], gateway: true, mtu: 1300 }
guests:
  r1: { network: red, ip: [10.1.0.11, 'fd01::11'] }
  r2: { network: red, ip: [10.1.0.12, 'fd01::12'] }
  r3: { network: red, ip: [10.1.0.13, 'fd01::13'] }
  b1: { network: blue, ip: [10.2.0.11, 'fd02::11'] }
  b2: { network: blue, ip: [10.2.0.12, 'fd02::12'] }
  t1: { network: thin, ip: [10.3.0.11, 'fd03::11'] }
";

/// The host and those guests that were attached. Dropping it removes all of it.
#[derive(Debug)]
pub struct Small {
    /// Attached guests by name.
    pub guests: BTreeMap<String, Guest>,
    /// The hypervisor.
    pub host: Host,
    /// Owner of all of it.
    pub lab: Lab,
}

impl Small {
    /// A host with its switch up, no policy, no guest.
    pub fn new(tag: &str) -> Result<Self> {
        let lab = Lab::new(tag)?;
        let host = Host::new(&lab, "host")?;
        host.up()?;
        Ok(Self { guests: BTreeMap::new(), host, lab })
    }

    /// A host with a policy of these rules (`- { name: ..., allow: { ... } }`, one a line) and
    /// these guests.
    pub fn with(tag: &str, rules: &[&str], guests: &[(&str, Nic)]) -> Result<Self> {
        let mut small = Self::new(tag)?;
        small.apply(rules)?;
        for (name, nic) in guests {
            small.attach(name, *nic)?;
        }
        Ok(small)
    }

    /// Applies a policy of these rules.
    pub fn apply(&self, rules: &[&str]) -> Result<()> {
        self.host.apply(&self.lab.file("policy.yaml", &policy(rules))?)
    }

    /// A host as above whose policy gives these guests `limits:`; of a network, `red uplink` and
    /// `red host` are its uplink and the host's leg.
    pub fn with_limits(
        tag: &str,
        rules: &[&str],
        limits: &[(&str, &str)],
        guests: &[(&str, Nic)],
    ) -> Result<Self> {
        let mut small = Self::new(tag)?;
        let text = limits.iter().fold(policy(rules), |text, (guest, limits)| {
            let (name, whose) = guest.split_once(' ').unwrap_or((guest, ""));
            let key = if whose.is_empty() { "limits".into() } else { format!("{whose}-limits") };
            let heads = [format!("  {name}: {{ "), format!("  {name}:  {{ ")];
            heads
                .iter()
                .fold(text, |text, head| text.replace(head, &format!("{head}{key}: {limits}, ")))
        });
        small.host.apply(&small.lab.file("policy.yaml", &text)?)?;
        for (name, nic) in guests {
            small.attach(name, *nic)?;
        }
        Ok(small)
    }

    /// Attaches a guest.
    pub fn attach(&mut self, name: &str, nic: Nic) -> Result<()> {
        let guest = attach(&self.lab, &self.host, name, nic)?;
        self.guests.insert(name.to_owned(), guest);
        Ok(())
    }

    /// The namespace of a guest.
    pub fn space(&self, name: &str) -> &Space {
        &self.guest(name).space
    }

    /// An attached guest; asking for another one is a mistake of the test.
    pub fn guest(&self, name: &str) -> &Guest {
        self.guests.get(name).unwrap_or_else(|| panic!("{name} was not attached"))
    }

    /// The address of a guest in one of the families.
    pub fn address(&self, name: &str, v6: bool) -> IpAddr {
        let all = &self.guest(name).addresses;
        let one = all.iter().find(|address| address.is_ipv6() == v6);
        *one.unwrap_or_else(|| panic!("{name} has no such address"))
    }

    /// The MAC of a guest.
    pub fn mac(&self, name: &str) -> Mac {
        parse_mac(&self.guest(name).mac).unwrap_or_else(|| panic!("{name} has a strange MAC"))
    }

    /// The MAC of the gateway that a guest sees.
    pub fn gateway_mac(&self, name: &str) -> Result<Mac> {
        let guest = self.guest(name);
        let gateway = guest.gateway.iter().find(|a| a.is_ipv4()).copied();
        let gateway = gateway.unwrap_or_else(|| panic!("{name} has no gateway"));
        let mac = neighbour(&guest.space, gateway)?;
        parse_mac(&mac).ok_or(Error::Output { command: "ip neigh".into(), output: mac })
    }

    /// A well-behaved datagram from one guest to another of the same network.
    pub fn datagram(&self, from: &str, to: &str, v6: bool, port: u16) -> Udp {
        Udp {
            from_mac: self.mac(from),
            to_mac: self.mac(to),
            from: self.address(from, v6),
            to: self.address(to, v6),
            port,
            ttl: 64,
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        sums::check_at_end(&self.host);
    }
}

/// A policy file of these rules.
pub fn policy(rules: &[&str]) -> String {
    let mut text = INVENTORY.to_owned();
    if !rules.is_empty() {
        text.push_str("rules:\n");
        for rule in rules {
            text.push_str(&format!("  - {rule}\n"));
        }
    }
    text
}

/// Asks for the MAC of an address anew, as a stack does before its first packet.
pub fn neighbour(space: &Space, address: IpAddr) -> Result<String> {
    let _ = space.ip(&format!("neigh del {address} dev eth0"));
    let _ = space.enter(|| {
        let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = std::net::UdpSocket::bind(any).map_err(Error::system("bind"))?;
        socket.send_to(b"?", (address, 9)).map_err(Error::system("send"))
    });
    let mut mac = String::new();
    let known = crate::process::wait_for("a neighbour", 3, || {
        let entry = space.ip(&format!("neigh show {address} dev eth0")).unwrap_or_default();
        let mut words = entry.split_whitespace().skip_while(|word| *word != "lladdr").skip(1);
        mac = words.next().unwrap_or_default().to_owned();
        !mac.is_empty()
    });
    known.map(|()| mac)
}
