//! A bed for the tests: the switch in a namespace of its own, guests in others, a hand-made image.
//! Namespaces live by fds only and the switch is removed on drop, however a test ends.

use std::{
    net::{IpAddr, UdpSocket},
    os::fd::AsRawFd,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};
use portcullis_image::{AddressClass, Image, Network, Nic, Offer, PrefixClass, Rule};
use portcullis_lab::patience;
use portcullis_pipeline::{
    addr::{Addr, Mac},
    policy::Cell,
};
use portcullis_ports::Netns;
use portcullis_switch::{Config, PortKind, PortSpec, Switch};

/// Long enough for any packet of this machine, short enough to wait for one that must not come.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long one that does come may take.
const ARRIVAL: Duration = Duration::from_secs(2);

/// A fresh namespace.
pub fn namespace() -> Netns {
    thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        let file = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        Netns::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap()
    })
    .join()
    .unwrap()
}

/// The path that a spec names a namespace by.
pub fn path_of(netns: &Netns) -> PathBuf {
    use std::os::fd::AsFd;
    format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd()).into()
}

pub struct Bed {
    pub host: Netns,
    pub pc1: Netns,
    pub pc2: Netns,
    pub web: Netns,
    pub config: Config,
    _dir: tempfile::TempDir,
}

impl Bed {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            run_dir: dir.path().join("run"),
            flows: 4096,
            instance: format!("test-{}", std::process::id()),
            group: None,
        };
        Self {
            host: namespace(),
            pc1: namespace(),
            pc2: namespace(),
            web: namespace(),
            config,
            _dir: dir,
        }
    }

    /// Runs a test where the switch is.
    pub fn run(&self, test: impl FnOnce(&Self) + Send) {
        self.host.run(|| test(self)).unwrap();
    }

    pub fn start(&self) -> Switch {
        Switch::start(self.config.clone()).unwrap().0
    }

    /// Ports of all three guests.
    pub fn specs(&self) -> Vec<PortSpec> {
        vec![
            veth("port1", "pc1", &self.pc1),
            veth("port2", "pc2", &self.pc2),
            veth("port3", "web", &self.web),
        ]
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.host.run(|| Switch::remove(&self.config)).unwrap().unwrap();
        assert!(!self.config.run_dir.join("bpf").exists());
    }
}

pub fn veth(name: &str, guest: &str, netns: &Netns) -> PortSpec {
    PortSpec {
        name: name.into(),
        kind: PortKind::Veth { netns: Some(path_of(netns)), peer: "eth0".into(), configure: true },
        guest: Some(guest.into()),
        network: None,
    }
}

/// Identity classes of [`image`].
pub mod class {
    pub const WORLD: u32 = 0;
    pub const HOST: u32 = 1;
    pub const PC1: u32 = 2;
    pub const PC2: u32 = 3;
    pub const WEB: u32 = 4;
    pub const COUNT: u32 = 5;
}

/// Networks lan (pc1, pc2) and dmz (web) with gateways, and wan, which is the outside. Allowed is
/// what `pairs` says, by rules `rule-1`, `rule-2`, ...
pub fn image(pairs: &[(u32, u32)]) -> Arc<Image> {
    let networks = vec![
        network("lan", 10, 10, false),
        network("dmz", 20, 20, false),
        network("wan", 30, 30, true),
    ];
    let nics = vec![nic("pc1", 1, 10, 11), nic("pc2", 1, 10, 12), nic("web", 2, 20, 11)];
    let (rows, cells, rules) = verdicts(pairs);
    Arc::new(Image {
        addresses: addresses(&networks, &nics),
        prefixes: prefixes(&networks),
        networks,
        nics,
        world: class::WORLD,
        host: class::HOST,
        classes: class::COUNT,
        services: 1,
        rows,
        cells,
        rules,
        ..Image::closed()
    })
}

fn verdicts(pairs: &[(u32, u32)]) -> (Vec<u32>, Vec<u32>, Vec<Rule>) {
    let mut rows = vec![0; (class::COUNT * class::COUNT) as usize];
    let mut cells = vec![Cell::DEFAULT.0];
    let mut rules = Vec::new();
    for ((src, dst), id) in pairs.iter().zip(1..) {
        rows[(src * class::COUNT + dst) as usize] = id;
        cells.push(Cell::new(true, id).0);
        rules.push(Rule {
            name: format!("rule-{id}"),
            file: "test.yaml".into(),
            line: id,
            column: 1,
            allow: true,
            observe: false,
            log_per_s: 0,
            until_unix_s: 0,
        });
    }
    (rows, cells, rules)
}

fn network(name: &str, vlan: u16, number: u8, external: bool) -> Network {
    let v6 = |last: u16| Addr::v6(v6_octets(number, last));
    Network {
        name: name.into(),
        vlan,
        subnets: vec![(Addr::v4([10, number, 0, 0]), 120), (v6(0), 64)],
        gateway: vec![(Addr::v4([10, number, 0, 1]), 24), (v6(1), 64)],
        gateway_mac: Mac(0x02aa_0000_0000 + u64::from(vlan)),
        external,
        mtu: 1500,
        offer: Offer { dhcp: true, dns: vec![v6(53)], domain: name.into(), lease_s: 3600 },
        ethertypes: vec![],
        uplink_limits: Default::default(),
        host_limits: Default::default(),
    }
}

fn v6_octets(number: u8, last: u16) -> [u8; 16] {
    let address: std::net::Ipv6Addr = format!("fd00:{number}::{last:x}").parse().unwrap();
    address.octets()
}

fn nic(guest: &str, network: u32, number: u8, last: u8) -> Nic {
    Nic {
        guest: guest.into(),
        network,
        mac: Mac(0x02bb_0000_0000 + u64::from(number) * 256 + u64::from(last)),
        addrs: vec![Addr::v4([10, number, 0, last]), Addr::v6(v6_octets(number, last.into()))],
        trunk: None,
        limits: portcullis_image::Limits::default(),
    }
}

fn addresses(networks: &[Network], nics: &[Nic]) -> Vec<AddressClass> {
    let mut all = Vec::new();
    for (nic, class) in nics.iter().zip(class::PC1..) {
        let link_local = (Addr::link_local_of(nic.mac), nic.network);
        let own = nic.addrs.iter().map(|a| (*a, 0)).chain([link_local]);
        all.extend(own.map(|(addr, scope)| AddressClass { addr, scope, class }));
    }
    for network in networks {
        let host =
            |(addr, _): &(Addr, u8)| AddressClass { addr: *addr, scope: 0, class: class::HOST };
        all.extend(network.gateway.iter().map(host));
    }
    all.sort();
    all
}

fn prefixes(networks: &[Network]) -> Vec<PrefixClass> {
    let mut all = Vec::new();
    for (network, id) in networks.iter().zip(1..) {
        let of = |(addr, len): &(Addr, u8)| PrefixClass {
            addr: *addr,
            len: *len,
            class: class::WORLD,
            network: id,
        };
        all.extend(network.subnets.iter().map(of));
    }
    all.sort();
    all
}

/// A UDP socket of a namespace.
pub fn socket(netns: &Netns, addr: &str) -> UdpSocket {
    let socket = netns.run(|| UdpSocket::bind(addr).unwrap()).unwrap();
    socket.set_read_timeout(Some(patience::silence(PATIENCE))).unwrap();
    socket
}

/// Sends a datagram; does the very same arrive at `to`? A machine that does other things too is
/// given time.
pub fn reaches(from: &UdpSocket, to: &UdpSocket) -> bool {
    arrives(from, to, patience::limit(ARRIVAL))
}

/// Sends a datagram; does nothing of it arrive at `to`?
pub fn is_silent(from: &UdpSocket, to: &UdpSocket) -> bool {
    !arrives(from, to, patience::silence(PATIENCE))
}

fn arrives(from: &UdpSocket, to: &UdpSocket, within: Duration) -> bool {
    to.set_read_timeout(Some(within)).unwrap();
    let at = to.local_addr().unwrap();
    let number = rand();
    let message = format!("{number:016x}");
    if from.send_to(message.as_bytes(), at).is_err() {
        return false;
    }
    let mut buffer = [0; 64];
    while let Ok((len, _)) = to.recv_from(&mut buffer) {
        if &buffer[..len] == message.as_bytes() {
            return true;
        }
    }
    false
}

/// Another number each time.
fn rand() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// Packets dropped for a reason so far.
pub fn dropped(switch: &Switch, reason: &str) -> u64 {
    let status = switch.status().unwrap();
    status.drops.iter().find(|d| d.reason == reason).map_or(0, |d| d.packets)
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
