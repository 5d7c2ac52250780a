//! A host with two taps, two veth pairs and an uplink in one network, and raw ends at all of them.

use std::net::IpAddr;

use portcullis_lab::{
    Lab,
    end::End,
    frame::{self, BROADCAST, Mac, parse_mac},
    host::Host,
    process::wait_for,
    sums,
    world::{Nic, attach},
};

use crate::wire::{Talk, complete, tagged};

/// The network's tag on the uplink.
pub const VLAN: u16 = 10;
/// The largest packet of the network, bytes.
pub const MTU: usize = 9000;

const POLICY: &str = "\
networks:
  red: { vlan: 10, subnets: [10.1.0.0/24, 'fd01::/64'], gateway: true, mtu: 9000 }
guests:
  t1: { network: red, ip: [10.1.0.11, 'fd01::11'] }
  t2: { network: red, ip: [10.1.0.12, 'fd01::12'] }
  v1: { network: red, ip: [10.1.0.13, 'fd01::13'] }
  v2: { network: red, ip: [10.1.0.14, 'fd01::14'] }
rules:
  - { name: all, allow: { from: red, to: red, for: any } }
";

/// Somebody behind the uplink.
const STRANGER: (Mac, [&str; 2]) = ([2, 0, 0, 0, 0, 0x99], ["10.1.0.99", "fd01::99"]);
const UPLINK: &str = "trunk0";

/// What stands at a port.
pub struct Station {
    pub name: &'static str,
    /// Its interface on the host.
    pub port: String,
    pub end: End,
    /// Frames of the uplink carry the network's tag.
    pub uplink: bool,
    mac: Mac,
    addresses: [IpAddr; 2],
}

impl Station {
    pub fn place(&self, v6: bool) -> (Mac, IpAddr) {
        (self.mac, self.addresses[usize::from(v6)])
    }
}

/// All of it. Dropping it removes all of it.
pub struct Site {
    pub stations: Vec<Station>,
    pub host: Host,
    _lab: Lab,
}

impl Drop for Site {
    fn drop(&mut self) {
        sums::check_at_end(&self.host);
    }
}

impl Site {
    /// `xdp`: where the uplink's gate runs.
    pub fn new(tag: &str, xdp: &str) -> Self {
        let lab = Lab::new(tag).unwrap();
        let host = Host::new(&lab, "host").unwrap();
        host.up().unwrap();
        host.apply(&lab.file("policy.yaml", POLICY).unwrap()).unwrap();
        let mut stations = Vec::new();
        for name in ["t1", "t2"] {
            host.portcullis(&["attach", "tap", name, "--guest", name]).unwrap();
            let end = End::of_tap(host.space(), name).unwrap();
            stations.push(station(&host, name, name, end));
        }
        for name in ["v1", "v2"] {
            let guest = attach(&lab, &host, name, Nic::Veth).unwrap();
            // Nobody answers there but the test.
            guest.space.sysctl("net/ipv6/conf/eth0/disable_ipv6", "1").unwrap();
            guest.space.ip("addr flush dev eth0").unwrap();
            let end = End::of_interface(&guest.space, "eth0").unwrap();
            stations.push(station(&host, name, &guest.port, end));
        }
        stations.push(uplink(&host, xdp));
        let site = Self { stations, host, _lab: lab };
        site.introduce();
        site
    }

    pub fn station(&self, name: &str) -> &Station {
        self.stations.iter().find(|station| station.name == name).unwrap()
    }

    /// The switch learns who is behind the uplink from what these say.
    fn introduce(&self) {
        let (mac, [v4, v6]) = STRANGER;
        let (v4, v6) = (v4.parse().unwrap(), v6.parse().unwrap());
        let end = &self.station("uplink").end;
        for claim in [
            frame::arp(1, mac, BROADCAST, (mac, v4), ([0; 6], v4)),
            frame::advertisement(mac, v6, v6),
        ] {
            end.send(&tagged(complete(claim), VLAN)).unwrap();
        }
        for v6 in [false, true] {
            let (from, to) = (self.station("t1"), self.station("uplink"));
            let talk = Talk::new(from.place(v6), to.place(v6), 9);
            wait_for("an introduction", 5, || {
                from.end.send(&complete(talk.udp(b"are you there?"))).unwrap();
                end.take().iter().any(|one| frame::holds(&one.frame, b"are you there?"))
            })
            .unwrap();
        }
    }
}

fn station(host: &Host, name: &'static str, port: &str, end: End) -> Station {
    let status = host.status().unwrap();
    let entry = status.port(port).unwrap();
    let mac = parse_mac(entry["mac"].as_str().unwrap()).unwrap();
    let number = ["t1", "t2", "v1", "v2"].iter().position(|n| *n == name).unwrap() + 11;
    let addresses = [format!("10.1.0.{number}"), format!("fd01::{number}")];
    let addresses = addresses.map(|address| address.parse().unwrap());
    Station { name, port: port.to_owned(), end, uplink: false, mac, addresses }
}

fn uplink(host: &Host, xdp: &str) -> Station {
    let end = End::of_tap(host.space(), UPLINK).unwrap();
    host.space().ip(&format!("link set {UPLINK} mtu {MTU} up")).unwrap();
    host.portcullis(&["attach", "uplink", UPLINK, "--tagged", "red", "--xdp", xdp]).unwrap();
    let (mac, addresses) = STRANGER;
    let addresses = addresses.map(|address| address.parse().unwrap());
    Station { name: "uplink", port: UPLINK.to_owned(), end, uplink: true, mac, addresses }
}
