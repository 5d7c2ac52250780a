//! Ports come, go, pass and do not pass.

use portcullis_ports::{
    address::{self, Prefixed},
    link, tap,
    veth::{Peer, create},
};
use portcullis_switch::{Closed, Error, Gate, Hook, PortKind, PortSpec, Switch, Version};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::bed::{Bed, class, dropped, image, ip, is_silent, namespace, reaches, socket, veth};

const ALLOWED: &[(u32, u32)] = &[(class::PC1, class::PC2), (class::PC1, class::WEB)];

#[test]
fn what_a_rule_allows_passes_and_nothing_else() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        let installed = switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        assert!(installed.ports.iter().all(|p| p.open), "{installed:?}");
        allowed_and_denied(bed, &switch);
    });
}

#[test]
fn clsact_does_the_same() {
    Bed::new().run(|bed| {
        let clsact = Version { hook: Hook::Clsact, ..Version::default() };
        let (mut switch, report) = Switch::start_with(bed.config.clone(), &clsact).unwrap();
        assert_eq!(report.hook, Hook::Clsact);
        switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        allowed_and_denied(bed, &switch);
        drop(switch);
        let (mut switch, report) = Switch::start_with(bed.config.clone(), &clsact).unwrap();
        assert_eq!(report.filtered.len(), 3 + 3, "{report:?}");
        switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        allowed_and_denied(bed, &switch);
        switch.detach("port1").unwrap();
    });
}

fn allowed_and_denied(bed: &Bed, switch: &Switch) {
    for (a, b, c) in [
        ("10.10.0.11:0", "10.10.0.12:0", "10.20.0.11:0"),
        ("[fd00:10::b]:0", "[fd00:10::c]:0", "[fd00:20::b]:0"),
    ] {
        let (pc1, pc2, web) = (socket(&bed.pc1, a), socket(&bed.pc2, b), socket(&bed.web, c));
        assert!(is_silent(&pc2, &pc1), "nothing allows {b} to {a}");
        assert!(reaches(&pc1, &pc2), "{a} to {b}");
        assert!(reaches(&pc2, &pc1), "the answer");
        assert!(reaches(&pc1, &web), "routed: {a} to {c}");
        assert!(is_silent(&web, &pc2), "nothing allows {c} to {b}");
    }
    assert!(dropped(switch, "no-rule") > 0);
    let hits = switch.status().unwrap().rules;
    assert!(hits.iter().any(|r| r.rule == "rule-1" && r.hits >= 2), "{hits:?}");
}

#[test]
fn the_host_has_its_leg() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        switch.install(image(&[(class::HOST, class::PC1)]), &bed.specs(), &[]).unwrap();
        for (h, g) in [("10.10.0.1:0", "10.10.0.11:0"), ("[fd00:10::1]:0", "[fd00:10::b]:0")] {
            let host = socket(&bed.host, h);
            let pc1 = socket(&bed.pc1, g);
            assert!(is_silent(&pc1, &host), "{g} to {h}");
            assert!(reaches(&host, &pc1), "{h} to {g}");
            assert!(reaches(&pc1, &host), "the answer");
        }
    });
}

#[test]
fn a_new_policy_cuts_what_it_no_longer_allows() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        let web = socket(&bed.web, "10.20.0.11:0");
        assert!(reaches(&pc1, &pc2) && reaches(&pc1, &web));
        switch.install(image(&ALLOWED[1..]), &bed.specs(), &[]).unwrap();
        assert!(is_silent(&pc1, &pc2) && is_silent(&pc2, &pc1), "revoked");
        assert!(reaches(&web, &pc1), "untouched");
        switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        assert!(reaches(&pc1, &pc2) && reaches(&web, &pc1));
    });
}

#[test]
fn a_port_whose_interface_is_lost_for_good_stops_nobody() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        link::delete(link::get("port3").unwrap().index).unwrap();
        tap::create("port3", 1, "portcullis:another").unwrap();
        for _ in 0..2 {
            let installed = switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
            let open: Vec<bool> = installed.ports.iter().map(|p| p.open).take(3).collect();
            assert_eq!(open, [true, true, false], "{installed:?}");
        }
        link::delete(link::get("port3").unwrap().index).unwrap();
        let installed = switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        assert!(installed.ports.iter().all(|p| p.open), "{installed:?}");
    });
}

#[test]
fn what_would_fill_a_table_is_refused_before_it_is_written() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        let first = switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap().generation;
        let many: Vec<_> = (0..70_000_u32)
            .map(|n| std::net::Ipv4Addr::from_bits(0x0b00_0000 + n).into())
            .collect();
        let refused = switch.install(image(&ALLOWED[1..]), &bed.specs(), &many).unwrap_err();
        assert!(matches!(refused, Error::TooLarge { what: "addresses", .. }), "{refused}");
        assert_eq!(switch.status().unwrap().generation, first);
        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        assert!(reaches(&pc1, &pc2));
        switch.install(image(ALLOWED), &bed.specs(), &many[..60_000]).unwrap();
        assert!(reaches(&pc1, &pc2));
    });
}

#[test]
fn ports_come_and_go_in_place() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        let specs = bed.specs();
        let early = switch.attach(&specs[0]).unwrap();
        assert_eq!((early.open, early.closed), (false, Some(Closed::NoPolicy)));
        switch.install(image(ALLOWED), &specs[..1], &[]).unwrap();
        let status = switch.attach(&specs[1]).unwrap();
        assert!(status.open, "{status:?}");
        assert_eq!(status.addresses, [ip("10.10.0.12"), ip("fd00:10::c")]);

        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        assert!(reaches(&pc1, &pc2) && reaches(&pc2, &pc1));
        let again = switch.attach(&specs[1]).unwrap_err();
        assert!(matches!(again, Error::PortExists { .. }), "{again}");

        switch.detach("port2").unwrap();
        assert!(link::find("port2").unwrap().is_none());
        assert!(matches!(switch.detach("port2"), Err(Error::NoSuchPort { .. })));
        switch.attach(&specs[1]).unwrap();
        let address = pc2.local_addr().unwrap().to_string();
        drop(pc2);
        let pc2 = socket(&bed.pc2, &address);
        assert!(reaches(&pc1, &pc2), "the old connection finds the new interface");
        assert!(reaches(&pc2, &pc1));
    });
}

#[test]
fn a_port_without_a_place_is_closed_and_says_why() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        let mut specs = bed.specs();
        specs[1].guest = Some("nobody".into());
        specs[2].kind = PortKind::Veth {
            netns: Some("/run/netns/portcullis-not-there".into()),
            peer: "eth0".into(),
            configure: true,
        };
        let installed = switch.install(image(ALLOWED), &specs, &[]).unwrap();
        assert!(installed.ports[0].open);
        assert_eq!(
            installed.ports[1].closed,
            Some(Closed::UnknownGuest { guest: "nobody".into() })
        );
        let Some(Closed::Failed { error }) = &installed.ports[2].closed else { panic!() };
        assert!(error.contains("portcullis-not-there"), "{error}");
        // The guest comes up all the same: nothing that it sends goes anywhere.
        bed.pc2
            .run(|| {
                let eth0 = link::get("eth0").unwrap();
                link::set_up(eth0.index, true).unwrap();
                let own = Prefixed { addr: ip("10.10.0.12"), len: 24 };
                address::add(eth0.index, own).unwrap();
            })
            .unwrap();
        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        assert!(is_silent(&pc2, &pc1) && is_silent(&pc1, &pc2));
        let taken = PortSpec { name: "port9".into(), ..veth("x", "pc1", &bed.web) };
        let refused = switch.attach(&taken).unwrap_err();
        assert!(refused.to_string().contains("port1"), "{refused}");
        assert!(link::find("port9").unwrap().is_none(), "nothing left half made");
    });
}

#[test]
fn names_in_use_are_refused_and_nothing_is_left() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        tap::create("port1", 1, "somebody else").unwrap();
        let error = switch.attach(&bed.specs()[0]).unwrap_err();
        assert!(error.to_string().contains("choose another name"), "{error}");
        assert_eq!(link::get("port1").unwrap().alias, "somebody else");

        tap::create("pc-dmz", 1, "somebody else").unwrap();
        let before = switch.status().unwrap().generation;
        let error = switch.install(image(ALLOWED), &bed.specs()[1..], &[]).unwrap_err();
        assert!(error.to_string().contains("pc-dmz"), "{error}");
        assert_eq!(switch.status().unwrap().generation, before);
        let alias = portcullis_ports::alias_of(&bed.config.instance);
        assert!(link::list_ours(&alias).unwrap().is_empty());
    });
}

#[test]
fn what_is_not_asked_for_any_more_goes() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        let installed = switch.install(image(ALLOWED), &bed.specs()[..2], &[]).unwrap();
        assert_eq!(installed.removed, ["port3"]);
        assert!(link::find("port3").unwrap().is_none());
    });
}

#[test]
fn an_uplink_is_the_way_out_and_is_given_back() {
    let outside = namespace();
    let bed = Bed::new();
    bed.run(|bed| {
        uplink_pair(&outside, "10.30.0.9");
        let mut switch = bed.start();
        let mut specs = bed.specs();
        specs.push(wan_uplink("up0"));
        switch.install(image(&[(class::PC1, class::WORLD)]), &specs, &[]).unwrap();
        let up0 = link::get("up0").unwrap();
        assert!(up0.up && up0.promiscuous);

        let (pc1, world) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&outside, "10.30.0.9:0"));
        assert!(is_silent(&world, &pc1));
        // The first packets go by the host's stack, which finds the neighbour.
        assert!((0..5).any(|_| reaches(&pc1, &world)));
        assert!(reaches(&world, &pc1), "the answer");

        drop(switch);
        let report = Switch::remove(&bed.config).unwrap();
        assert_eq!(report.uplinks, ["up0"]);
        let up0 = link::get("up0").unwrap();
        assert!(!up0.up && !up0.promiscuous, "as it was");
    });
}

fn wan_uplink(name: &str) -> PortSpec {
    PortSpec {
        name: name.into(),
        kind: PortKind::Uplink { tagged: vec![], untagged: Some("wan".into()), xdp: Gate::Auto },
        guest: None,
        network: None,
    }
}

/// A NIC called up0 here, whose other end is a host outside.
fn uplink_pair(outside: &portcullis_ports::Netns, addr: &str) {
    let peer = Peer { name: "eth0".into(), mac: None };
    let nic = create("up0", &peer, Some(outside), "a physical NIC").unwrap();
    assert!(!nic.up);
    outside
        .run(|| {
            let eth0 = link::get("eth0").unwrap();
            address::add(eth0.index, Prefixed { addr: ip(addr), len: 24 }).unwrap();
            link::set_up(eth0.index, true).unwrap();
            address::default_route(eth0.index, ip("10.30.0.1")).unwrap();
        })
        .unwrap();
}

#[test]
fn a_tap_is_ready_for_its_guest() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        let spec = PortSpec {
            name: "vm1".into(),
            kind: PortKind::Tap { queues: 2 },
            guest: Some("pc1".into()),
            network: None,
        };
        switch.install(image(ALLOWED), &[spec], &[]).unwrap();
        let vm1 = link::get("vm1").unwrap();
        assert!(vm1.up);
        let queue = tap::open_queue("vm1", 2).unwrap();
        assert_eq!(tap::header_size(&queue).unwrap(), tap::VNET_HEADER);
        switch.detach("vm1").unwrap();
        assert!(link::find("vm1").unwrap().is_none());
    });
}

#[test]
fn a_failed_install_changes_nothing() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        uplink_pair(&bed.web, "10.30.0.9");
        let mut specs = bed.specs()[..2].to_vec();
        specs.push(wan_uplink("up0"));
        let generation = switch.install(image(ALLOWED), &specs, &[]).unwrap().generation;
        drop(switch);
        // Also in a process that has not installed anything yet.
        let mut switch = bed.start();
        let names = || {
            let mut names: Vec<_> = link::list().unwrap().into_iter().map(|l| l.name).collect();
            names.sort();
            names
        };
        tap::create("pc-office", 1, "somebody else").unwrap();
        let before = names();
        let mut other = (*image(ALLOWED)).clone();
        other.networks[1].name = "office".into();
        let error = switch.install(other.into(), &specs, &[]).unwrap_err();
        assert!(error.to_string().contains("pc-office"), "{error}");
        assert_eq!(names(), before);
        assert_eq!(switch.status().unwrap().generation, generation);
        assert!(link::get("up0").unwrap().promiscuous, "still the uplink");
        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        assert!(reaches(&pc1, &pc2) && reaches(&pc2, &pc1));
    });
}

#[test]
fn without_privileges_it_does_not_start() {
    Bed::new().run(|bed| {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        let start = || {
            set_capabilities(None, sets).unwrap();
            Switch::start(bed.config.clone()).err().expect("no privileges").to_string()
        };
        let error = std::thread::scope(|s| s.spawn(start).join().unwrap());
        assert!(error.contains("CAP_SYS_ADMIN"), "{error}");
    });
}
