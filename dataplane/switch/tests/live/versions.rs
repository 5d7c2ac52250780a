//! Other versions of the programs, at every hook at once: the filter of all ports, the lane of a tap
//! and the gate of an uplink change over under traffic. None of that is lost, what may not pass never
//! does, and a version that the verifier refuses changes nothing.

use std::{net::IpAddr, sync::Arc, time::Duration};

use aya::maps::{Map, MapData, PerCpuArray};
use portcullis_image::Image;
use portcullis_lab::{
    capture::Capture,
    frame::{Mac, Udp, holds},
    hammer::Hammer,
    other_build::{self, HOOKS},
    process::wait_for,
    stream::Stream,
};
use portcullis_pipeline::{LAYOUT_VERSION, layout::PORTS};
use portcullis_ports::link;
use portcullis_switch::{Gate, GateStatus, Hook, Origin, StartReport, Switch, Version};

use crate::{
    bed::{class, ip},
    site::{GUESTS, STRANGER_MAC, Site, policy},
};

const PORT: u16 = 9000;
const FORBIDDEN: &[u8] = b"FORBIDDEN-FRAME";

fn rules() -> Arc<Image> {
    policy(&[(class::PC1, class::PC2), (class::WORLD, class::WEB)])
}

fn start(site: &Site, version: &Version<'_>) -> (Switch, StartReport) {
    let (mut switch, report) = Switch::start_with(site.config.clone(), version).unwrap();
    let installed = switch.install(rules(), &site.specs(), &[]).unwrap();
    assert!(installed.ports.iter().all(|port| port.open), "{installed:?}");
    (switch, report)
}

/// Frames that the lane of the first tap has taken.
fn by_the_lane(site: &Site) -> u64 {
    let pin = format!("bpf/v{LAYOUT_VERSION}/maps/LANE_HITS");
    let map = MapData::from_pin(site.config.run_dir.join(pin)).unwrap();
    let map = Map::from_map_data(map).unwrap();
    let hits = PerCpuArray::<_, u64>::try_from(map).unwrap();
    let tap = link::get("t-pc1").unwrap().index;
    hits.get(&(tap % PORTS), 0).unwrap().iter().sum()
}

fn datagram(from: (Mac, &str), to: usize) -> Udp {
    let to_mac = rules().nics[to].mac.octets();
    let (from_mac, from) = (from.0, ip(from.1));
    Udp { from_mac, to_mac, from, to: ip(GUESTS[to].1), port: PORT + 1, ttl: 64 }
}

/// What runs all the time: a stream by the lane, one by the gate, and two who try what they may not.
struct Traffic {
    streams: [Stream; 2],
    hammers: [Hammer; 2],
    captures: [Capture; 2],
}

impl Traffic {
    fn start(site: &Site) -> Self {
        let stream = |from: &str, (to, address): (&str, &str)| {
            let address: IpAddr = ip(address);
            Stream::start(site.space(from), site.space(to), address, PORT).unwrap()
        };
        let back = datagram((rules().nics[1].mac.octets(), GUESTS[1].1), 0);
        let spoofed = datagram((STRANGER_MAC, GUESTS[0].1), 2);
        let hammer = |from: &str, frame: &Udp| {
            let (space, frames) = (site.space(from), vec![frame.frame(FORBIDDEN)]);
            Hammer::at_pace(Duration::from_millis(2), space, "eth0", frames)
        };
        Self {
            captures: ["pc1", "web"].map(|to| Capture::start(site.space(to), "eth0").unwrap()),
            streams: [stream("pc1", GUESTS[1]), stream("world", GUESTS[2])],
            hammers: [hammer("pc2", &back), hammer("world", &spoofed)],
        }
    }

    /// Nothing was lost, nothing forbidden passed.
    fn end(self) {
        for hammer in self.hammers {
            assert!(hammer.sent() > 100);
        }
        for stream in self.streams {
            let report = stream.finish();
            assert!(report.sent > 500, "{}", report.sent);
            assert!(report.missing.is_empty(), "lost {:?} of {}", report.missing, report.sent);
        }
        for capture in self.captures {
            assert!(!capture.saw(|seen| holds(&seen.head, FORBIDDEN)));
        }
    }
}

/// Numbers of the programs at the hooks, and the kernel's hashes over their instructions.
fn hooks(switch: &Switch) -> Vec<(u32, String)> {
    let programs = switch.status().unwrap().programs;
    let of = |name: &&str| programs.iter().find(|program| program.name == *name).unwrap();
    HOOKS.iter().map(of).map(|program| (program.id, program.tag.clone())).collect()
}

fn gate(switch: &Switch) -> GateStatus {
    let ports = switch.status().unwrap().ports;
    ports.into_iter().find_map(|port| port.gate).unwrap()
}

/// Lane and gate are there, and work.
fn both_work(site: &Site, switch: &Switch) {
    let ports = switch.status().unwrap().ports;
    assert!(ports.iter().any(|port| port.name == "t-pc1" && port.lane), "{ports:?}");
    let (lane, before) = (by_the_lane(site), gate(switch));
    // The generic gate sends nothing straight: the frame is a packet buffer by then.
    let sends = site.gate == Gate::Native;
    let works = || {
        let now = gate(switch);
        let sent = !sends || now.sent > before.sent + 50;
        by_the_lane(site) > lane + 50 && sent && now.dropped > before.dropped + 50
    };
    let done = wait_for("traffic by lane and gate", 20, works);
    done.unwrap_or_else(|e| panic!("{e}: {} by the lane, {:?}", by_the_lane(site), gate(switch)));
}

fn every_hook_changes_over(site: &Site, hook: Hook) {
    let ours = Version { hook, ..Version::default() };
    let object = other_build::harmless(ours.object);
    let other = Version { object: &object, hook };
    let (mut switch, report) = start(site, &ours);
    assert_eq!((report.programs, report.hook), (Origin::Loaded, hook));
    let _pumps = site.pumps();
    switch.set_lane("t-pc1", true).unwrap();
    let traffic = Traffic::start(site);
    both_work(site, &switch);
    let first = hooks(&switch);

    // An upgrade, and a downgrade.
    let mut before = first.clone();
    for version in [&other, &ours] {
        drop(switch);
        let report;
        (switch, report) = start(site, version);
        assert_eq!(report.programs, Origin::Replaced);
        assert!(report.notices.is_empty(), "{report:?}");
        let now = hooks(&switch);
        for (now, before) in now.iter().zip(&before) {
            assert!(now.0 != before.0 && now.1 != before.1, "{now:?} after {before:?}");
        }
        both_work(site, &switch);
        before = now;
    }
    assert!(before.iter().zip(&first).all(|(now, first)| now.1 == first.1), "the first version");

    // A version that the verifier refuses, for one of its programs.
    for program in HOOKS {
        drop(switch);
        let object = other_build::refused(ours.object, program);
        let refused = Version { object: &object, hook };
        let error = Switch::start_with(site.config.clone(), &refused).err().expect("refused");
        assert!(error.to_string().contains("whatever ran before still runs"), "{error}");
        let report;
        (switch, report) = start(site, &ours);
        assert_eq!(
            (report.programs, hooks(&switch)),
            (Origin::Reused, before.clone()),
            "{program}"
        );
    }
    both_work(site, &switch);
    traffic.end();
    drop(switch);
    Switch::remove(&site.config).unwrap();
}

fn change_over(tag: &str, hook: Hook, gate: Gate) {
    let site = Site::new(tag, gate);
    let inside = || {
        every_hook_changes_over(&site, hook);
        Ok(())
    };
    site.host.enter(inside).unwrap();
    assert!(!site.config.run_dir.join("bpf").exists());
}

#[test]
fn the_best_hook_and_a_native_gate_lose_nothing() {
    change_over("lvn", Version::default().hook, Gate::Native);
}

/// What kernels without tcx have, on every kernel.
#[test]
fn clsact_and_a_generic_gate_lose_nothing() {
    change_over("lvg", Hook::Clsact, Gate::Generic);
}
