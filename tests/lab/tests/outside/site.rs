//! A host whose NIC stays its own, with guests in two networks, and a world that knows the host's
//! address and nothing behind it.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use portcullis_lab::{
    Error, Lab, Result, Space,
    host::Host,
    patience,
    world::{Guest, Nic, attach},
};
use serde_json::Value;

/// The host's address outside, and the world's.
pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub const WORLD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
/// The host's interface there.
pub const NIC: &str = "out0";

const INVENTORY: &str = "\
networks:
  front: { vlan: 10, subnets: [10.7.1.0/24], gateway: true, outside: masquerade }
  back:  { vlan: 20, subnets: [10.7.2.0/24], gateway: true, outside: routed }
guests:
  web:  { network: front, ip: 10.7.1.10 }
  mute: { network: front, ip: 10.7.1.11 }
  db:   { network: back, ip: 10.7.2.10 }
";

/// All of it; dropping it removes all of it.
pub struct Site {
    pub guests: BTreeMap<String, Guest>,
    pub world: Space,
    pub host: Host,
    pub lab: Lab,
}

impl Site {
    /// With this policy behind the inventory. The host does not forward by itself.
    pub fn new(tag: &str, policy: &str) -> Self {
        Self::with(tag, policy, |_| {})
    }

    /// With a host that somebody prepared before the switch comes up.
    pub fn with(tag: &str, policy: &str, prepare: impl Fn(&Space)) -> Self {
        let lab = Lab::new(tag).unwrap();
        let host = Host::new(&lab, "host").unwrap();
        let world = lab.space("world").unwrap();
        host.space().sysctl("net/ipv4/ip_forward", "0").unwrap();
        host.space()
            .ip(&format!("link add {NIC} type veth peer name eth0 netns {}", world.name()))
            .unwrap();
        for (space, name, addr) in [(host.space(), NIC, HOST), (&world, "eth0", WORLD)] {
            space.ip(&format!("addr add {addr}/24 dev {name}")).unwrap();
            space.ip(&format!("link set {name} up")).unwrap();
        }
        host.space().ip(&format!("route add default via {WORLD}")).unwrap();
        prepare(host.space());
        host.up().unwrap();
        let mut site = Self { guests: BTreeMap::new(), world, host, lab };
        site.apply(policy).unwrap();
        for (name, nic) in [("web", Nic::Tap), ("mute", Nic::Veth), ("db", Nic::Veth)] {
            let guest = attach(&site.lab, &site.host, name, nic).unwrap();
            site.guests.insert(name.to_owned(), guest);
        }
        site
    }

    pub fn apply(&self, policy: &str) -> Result<()> {
        let text = INVENTORY.to_owned() + policy;
        self.host.apply(&self.lab.file("policy.yaml", &text)?)
    }

    pub fn space(&self, name: &str) -> &Space {
        &self.guests[name].space
    }

    pub fn status(&self) -> Value {
        self.host.status().unwrap().0
    }

    /// Every table of the host, as text; of counters only that they are there.
    pub fn tables(&self) -> String {
        self.host.space().sh("nft --stateless list ruleset").unwrap()
    }

    /// Our table's rules, as text; nothing where there is none.
    pub fn own_table(&self) -> String {
        let all = self.tables();
        let from = all.find("table inet portcullis").map_or(all.len(), |at| at);
        let rest = &all[from..];
        rest[..rest.find("\n}").map_or(rest.len(), |end| end + 2)].to_owned()
    }

    pub fn forwards(&self, interface: &str) -> bool {
        let path = format!("/proc/sys/net/ipv4/conf/{interface}/forwarding");
        let read = || std::fs::read_to_string(&path).map_err(Error::file(&path));
        self.host.space().enter(read).unwrap().trim() == "1"
    }
}

fn wait() -> Duration {
    patience::silence(Duration::from_millis(1000))
}

/// Somebody who listens, and says who it was.
pub struct Listener {
    tcp: TcpListener,
}

impl Listener {
    pub fn new(space: &Space, port: u16) -> Self {
        let bind = || {
            let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
            tcp.map_err(Error::system("listen"))
        };
        Self { tcp: space.enter(bind).unwrap() }
    }

    /// Somebody connects from `from` to `to`: the two ends, and the address that the listener saw.
    pub fn connect(&self, from: &Space, to: (Ipv4Addr, u16)) -> Option<(Line, IpAddr)> {
        let connect = || Ok(TcpStream::connect_timeout(&SocketAddr::from(to), wait()));
        let client = from.enter(connect).unwrap().ok()?;
        let (server, seen) = self.tcp.accept().unwrap();
        for end in [&client, &server] {
            end.set_read_timeout(Some(wait())).unwrap();
        }
        Some((Line { client, server }, seen.ip()))
    }
}

/// A connection.
pub struct Line {
    client: TcpStream,
    server: TcpStream,
}

impl Line {
    /// Does a word get from one end to the other and back?
    pub fn works(&mut self) -> bool {
        said(&mut self.client, &mut self.server) && said(&mut self.server, &mut self.client)
    }
}

fn said(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    let mut heard = [0; 4];
    from.write_all(b"word").is_ok() && to.read_exact(&mut heard).is_ok() && heard == *b"word"
}

/// Sends a datagram; the address that its receiver saw, if it arrived.
pub fn datagram(from: &Space, at: &Space, to: (Ipv4Addr, u16)) -> Option<IpAddr> {
    let bind = |port| {
        move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(Error::system("bind"))
    };
    let receiver = at.enter(bind(to.1)).unwrap();
    receiver.set_read_timeout(Some(wait())).unwrap();
    let sender = from.enter(bind(0)).unwrap();
    // A way that is not there at all is refused at once.
    sender.send_to(b"who am I?", to).ok()?;
    let mut text = [0; 64];
    receiver.recv_from(&mut text).ok().map(|(_, from)| from.ip())
}
