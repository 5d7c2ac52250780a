//! Tables that are full: nothing opens, what runs goes on without losing a packet, and who finds no
//! room is told why. (That of connections: `tests/lab/tests/faults/full.rs`.)

use std::{net::Ipv6Addr, sync::Arc};

use aya::maps::{HashMap, Map, MapData};
use portcullis_image::{AddressClass, Image, Nic};
use portcullis_lab::{
    capture::Injector, frame, patience::is_stretched, process::wait_for, stream::Stream,
};
use portcullis_pipeline::{
    LAYOUT_VERSION,
    addr::{Addr, Mac},
    layout::{MEMBERS, NeighbourEntry, NeighbourKey, PORTS},
};
use portcullis_ports::link;
use portcullis_switch::{Closed, Error, Gate, Hook, PortKind, PortSpec, Switch, Version};

use crate::{
    bed::{class, ip},
    site::{GUESTS, STRANGER, STRANGER_MAC, Site, policy},
};

const PORT: u16 = 9000;
/// Ports of guests that a network has room for: the host's leg is a member, too.
const ROOM: usize = MEMBERS - 1;

/// Runs a test where the switch is.
fn at(site: &Site, test: impl FnOnce() + Send) {
    site.host
        .enter(|| {
            test();
            Ok(())
        })
        .unwrap();
}

fn stream(site: &Site, to: &str, address: &str) -> Stream {
    let stream = Stream::start(site.space("pc1"), site.space(to), ip(address), PORT).unwrap();
    wait_for("traffic", 5, || stream.sent() > 50).unwrap();
    stream
}

fn lost_nothing(stream: Stream) {
    let report = stream.finish();
    assert!(report.missing.is_empty(), "lost {:?} of {}", report.missing, report.sent);
}

/// As many more guests as find room in `lan`, and one.
fn crowd() -> Vec<String> {
    (0..=ROOM - 2).map(|n| format!("g{n}")).collect()
}

/// The usual policy with the crowd in it.
fn crowded() -> Arc<Image> {
    let mut image = Image::clone(&policy(&[(class::PC1, class::PC2)]));
    for (guest, n) in crowd().into_iter().zip(0x1000_u16..) {
        let addr = Addr::v6(Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, n).octets());
        let mac = Mac(0x02cc_0000_0000 + u64::from(n));
        image.addresses.push(AddressClass { addr, scope: 0, class: class::WEB });
        let limits = portcullis_image::Limits::default();
        image.nics.push(Nic { guest, network: 1, mac, addrs: vec![addr], trunk: None, limits });
    }
    image.addresses.sort();
    Arc::new(image)
}

#[test]
fn a_full_network_takes_no_port_and_serves_those_that_it_has() {
    let site = Site::new("lfm", Gate::Off);
    at(&site, || {
        // Whenever a tcx link or a tap is made the kernel waits for a grace period; for these it does not.
        let clsact = Version { hook: Hook::Clsact, ..Version::default() };
        let mut switch = Switch::start_with(site.config.clone(), &clsact).unwrap().0;
        let away = site.space("world").path();
        let veth = |guest: String| PortSpec {
            name: format!("v-{guest}"),
            kind: PortKind::Veth {
                netns: Some(away.clone()),
                peer: guest.clone(),
                configure: false,
            },
            guest: Some(guest),
            network: None,
        };
        let mut specs = site.specs();
        specs.extend(crowd().into_iter().map(veth));
        let one_more = specs.pop().unwrap();
        let installed = switch.install(crowded(), &specs, &[]).unwrap();
        assert!(installed.ports.iter().all(|port| port.open));
        let _pumps = site.pumps();
        let stream = stream(&site, "pc2", GUESTS[1].1);
        let full = Closed::NetworkFull { network: "lan".into() };
        match switch.attach(&one_more).unwrap_err() {
            Error::Refused { name, closed } => {
                assert_eq!((name, &closed), (one_more.name.clone(), &full));
            }
            other => panic!("{other}"),
        }
        assert!(link::find(&one_more.name).unwrap().is_none(), "nothing left half made");
        // As a daemon that remembers the port: that one is closed, and says why.
        specs.push(one_more.clone());
        let ports = switch.install(crowded(), &specs, &[]).unwrap().ports;
        let closed: Vec<_> = ports.iter().filter(|port| !port.open).collect();
        assert_eq!(closed.len(), 1, "{closed:?}");
        assert_eq!((&closed[0].name, &closed[0].closed), (&one_more.name, &Some(full)));
        // A place that becomes free is taken.
        switch.detach("v-g0").unwrap();
        let status = switch.status().unwrap();
        assert!(status.ports.iter().any(|port| port.name == one_more.name && port.open));
        lost_nothing(stream);
    });
}

#[test]
fn a_place_that_another_port_has_is_refused() {
    let site = Site::new("lfp", Gate::Off);
    at(&site, || {
        let mut switch = Switch::start(site.config.clone()).unwrap().0;
        let specs = site.specs();
        let rules = policy(&[(class::PC1, class::PC2)]);
        switch.install(rules.clone(), &specs[..3], &[]).unwrap();
        let _pumps = site.pumps();
        let stream = stream(&site, "pc2", GUESTS[1].1);
        // The table of ports has a place for each interface index, modulo its length.
        let index = link::get("t-pc1").unwrap().index + PORTS;
        site.host.ip("link del up0").unwrap();
        site.host.ip(&format!("link add up0 index {index} type veth peer name away")).unwrap();
        let taken = Closed::IndexTaken { port: "t-pc1".into() };
        match switch.attach(&specs[3]).unwrap_err() {
            Error::Refused { name, closed } => assert_eq!((&*name, &closed), ("up0", &taken)),
            other => panic!("{other}"),
        }
        let ports = switch.install(rules, &specs, &[]).unwrap().ports;
        let up0 = ports.iter().find(|port| port.name == "up0").unwrap();
        assert_eq!((up0.open, &up0.closed), (false, &Some(taken)));
        assert!(ports.iter().all(|port| port.open || port.name == "up0"), "{ports:?}");
        lost_nothing(stream);
    });
}

/// Neighbours that the switch knows.
fn neighbours(site: &Site) -> usize {
    let pin = format!("bpf/v{LAYOUT_VERSION}/maps/NEIGHBOURS");
    let map = MapData::from_pin(site.config.run_dir.join(pin)).unwrap();
    let map = Map::from_map_data(map).unwrap();
    HashMap::<_, [u8; KEY], [u8; ENTRY]>::try_from(map).unwrap().keys().count()
}

const KEY: usize = size_of::<NeighbourKey>();
const ENTRY: usize = size_of::<NeighbourEntry>();

/// Somebody outside who has more addresses than the switch can learn gives the honest ones away, which
/// have to be asked for again; no packet is lost by that.
#[test]
fn a_flood_of_neighbours_stops_no_flow() {
    let site = Site::new("lfn", Gate::Off);
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        site.host.sysctl(key, "1").unwrap();
    }
    at(&site, || {
        let mut switch = Switch::start(site.config.clone()).unwrap().0;
        let rules = policy(&[(class::PC1, class::WORLD)]);
        switch.install(rules.clone(), &site.specs(), &[]).unwrap();
        let _pumps = site.pumps();
        site.space("pc1").ip("route add default via 10.10.0.1").unwrap();
        let stream = stream(&site, "world", STRANGER);
        wait_for("the neighbour", 5, || neighbours(&site) > 0).unwrap();
        let world = Injector::new(site.space("world"), "eth0").unwrap();
        // A simulated processor would take minutes for the whole table.
        let (many, enough) = if is_stretched() { (500, 400) } else { (20_000, 12_000) };
        for n in 0..many {
            let address = Ipv6Addr::from_bits(ip6("fd00:30::1:0").to_bits() + n);
            world.send(&frame::advertisement(STRANGER_MAC, address, address)).unwrap();
        }
        wait_for("a full table", 10, || neighbours(&site) > enough).unwrap();
        // Every connection looks for its way again.
        for _ in 0..3 {
            switch.install(rules.clone(), &site.specs(), &[]).unwrap();
            let sent = stream.sent();
            wait_for("traffic", 5, || stream.sent() > sent + 50).unwrap();
        }
        lost_nothing(stream);
    });
}

fn ip6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}
