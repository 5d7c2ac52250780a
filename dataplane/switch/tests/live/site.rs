//! A host of a lab with guests on taps and an uplink: for what needs traffic of real stacks.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_image::{AddressClass, Image};
use portcullis_lab::{Lab, Space, frame::Mac, tap::Pump};
use portcullis_pipeline::addr::Addr;
use portcullis_switch::{Config, Gate, PortKind, PortSpec};

use crate::bed::{class, image};

/// Guests on taps; the last one is in the uplink's network.
pub const GUESTS: [(&str, &str); 3] =
    [("pc1", "10.10.0.11"), ("pc2", "10.10.0.12"), ("web", "10.30.0.11")];
/// Somebody behind the uplink.
pub const STRANGER: &str = "10.30.0.9";
pub const STRANGER_MAC: Mac = [2, 0, 0, 0, 0, 0x99];

/// The image of the other tests, with `web` in the external network.
pub fn policy(pairs: &[(u32, u32)]) -> Arc<Image> {
    let mut image = Image::clone(&image(pairs));
    let (web, addr) = (&mut image.nics[2], Addr::v4([10, 30, 0, 11]));
    (web.network, web.addrs) = (3, vec![addr]);
    let own = [(addr, 0), (Addr::link_local_of(web.mac), 3)];
    image.addresses.retain(|known| known.class != class::WEB);
    image.addresses.extend(own.map(|(addr, scope)| AddressClass {
        addr,
        scope,
        class: class::WEB,
    }));
    image.addresses.sort();
    Arc::new(image)
}

/// A host with three guests and an uplink. Its lab removes all of it.
pub struct Site {
    spaces: BTreeMap<&'static str, Space>,
    pub host: Space,
    pub config: Config,
    pub gate: Gate,
    _lab: Lab,
}

impl Site {
    pub fn new(tag: &str, gate: Gate) -> Self {
        let lab = Lab::new(tag).unwrap();
        let host = lab.space("host").unwrap();
        let instance = lab.name().to_owned();
        let config = Config { flows: 4096, instance, ..Config::new(lab.dir().join("run")) };
        let guests = GUESTS.map(|(name, _)| (name, lab.space(name).unwrap()));
        let world = lab.space("world").unwrap();
        host.ip(&format!("link add up0 type veth peer name eth0 netns {}", world.name())).unwrap();
        let mac = STRANGER_MAC.map(|byte| format!("{byte:02x}")).join(":");
        world.ip(&format!("link set eth0 address {mac}")).unwrap();
        configure(&world, STRANGER);
        let spaces = guests.into_iter().chain([("world", world)]).collect();
        Self { spaces, host, config, gate, _lab: lab }
    }

    pub fn space(&self, name: &str) -> &Space {
        &self.spaces[name]
    }

    pub fn specs(&self) -> Vec<PortSpec> {
        let tap = |(guest, _): (&str, &str)| PortSpec {
            name: format!("t-{guest}"),
            kind: PortKind::Tap { queues: 1 },
            guest: Some(guest.into()),
            network: None,
        };
        let uplink = PortSpec {
            name: "up0".into(),
            kind: PortKind::Uplink { tagged: vec![], untagged: Some("wan".into()), xdp: self.gate },
            guest: None,
            network: None,
        };
        GUESTS.map(tap).into_iter().chain([uplink]).collect()
    }

    /// Plays the guests.
    pub fn pumps(&self) -> Vec<Pump> {
        let pump = |((name, address), nic): (&(&str, &str), &portcullis_image::Nic)| {
            let (tap, mac) = (format!("t-{name}"), nic.mac.to_string());
            // A pump that waits for a processor loses nothing of what its guest is sent.
            self.host.ip(&format!("link set {tap} txqueuelen 10000")).unwrap();
            let pump = Pump::start(&self.host, &tap, self.space(name), "eth0", &mac).unwrap();
            configure(self.space(name), address);
            pump
        };
        GUESTS.iter().zip(&policy(&[]).nics).map(pump).collect()
    }
}

/// Gives `eth0` an address, and a stack that finishes its checksums: others take the whole way.
fn configure(space: &Space, address: &str) {
    space.sysctl("net/ipv6/conf/eth0/disable_ipv6", "1").unwrap();
    space.ip(&format!("addr add {address}/24 dev eth0")).unwrap();
    space.ip("link set eth0 up").unwrap();
    space.sh("ethtool -K eth0 tx off").unwrap();
}
