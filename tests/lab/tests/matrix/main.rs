//! The offload matrix: packets with something left to do, of every kind, from every kind of port
//! to every other, by the filter (tcx, or clsact where there is no tcx), by the fast lane of taps and
//! the gate of uplinks (XDP).
//! Every cell arrives valid at the receiver or is dropped by name, and the matrix is printed.

mod cell;
mod flood;
mod site;
mod wire;

use cell::{Cell, Fate, Kind};
use site::Site;

/// From whom to whom.
const PAIRS: [(&str, &str); 8] = [
    ("t1", "t2"),
    ("t1", "v2"),
    ("t1", "uplink"),
    ("v1", "t2"),
    ("v1", "v2"),
    ("v1", "uplink"),
    ("uplink", "t2"),
    ("uplink", "v2"),
];

/// What must come of it.
fn is_right(kind: Kind, from: &str, fate: &Fate) -> bool {
    let whole = matches!(fate, Fate::Arrived { frames: 1, cut: false, .. });
    let dropped = |reason: &str| *fate == Fate::Dropped(vec![reason.to_owned()]);
    let uplink = from == "uplink";
    match kind {
        Kind::Plain | Kind::PartialChecksum | Kind::Jumbo | Kind::Tso => whole,
        Kind::Uso => whole || *fate == Fate::Unknown,
        Kind::OwnTag if uplink => whole,
        Kind::OwnTag => dropped("tagged-frame"),
        Kind::ForeignTag => dropped(if uplink { "unknown-vlan" } else { "tagged-frame" }),
        // No stack sends it. A receiver may be able to take it all the same.
        Kind::OverMtu => whole || matches!(fate, Fate::Refused | Fate::DroppedBehind),
        Kind::Fragments => matches!(fate, Fate::Arrived { frames: 3, .. }),
    }
}

/// Fills the matrix and prints it; returns the cells that are not right.
fn fill(site: &Site, pairs: &[(&'static str, &'static str)], way: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut port = 20_000;
    for (from, to) in pairs {
        for kind in Kind::ALL {
            let fates = [false, true].map(|v6| {
                port += 1;
                let (from, to) = (site.station(from), site.station(to));
                Cell { site, from, to, kind, v6, port }.run()
            });
            let both = if fates[0] == fates[1] {
                fates[0].to_string()
            } else {
                format!("{} (IPv6: {})", fates[0], fates[1])
            };
            println!("{way:<6} {:<16} {:<20} {both}", format!("{from} to {to}"), kind.word());
            if !fates.iter().all(|fate| is_right(kind, from, fate)) {
                wrong.push(format!("{way} {from} to {to}, {}: {both}", kind.word()));
            }
        }
    }
    wrong
}

#[test]
fn every_cell_by_the_filter() {
    let site = Site::new("plx", "off");
    let wrong = fill(&site, &PAIRS, "filter");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// In front of a tap's filter stands the lane's program: it sends on what is for it, and leaves the
/// rest as it was.
#[test]
fn every_cell_by_the_fast_lane() {
    let site = Site::new("ply", "off");
    let wrong = flood::with_lane(&site, || fill(&site, &PAIRS[..3], "lane"));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// In front of the uplink's filter stands a gate, in the driver or behind it.
#[test]
fn every_cell_of_the_uplink_by_its_gate() {
    for (tag, xdp) in [("plgn", "native"), ("plgg", "generic")] {
        let site = Site::new(tag, xdp);
        let status = site.host.status().unwrap();
        assert_eq!(status.port("trunk0").unwrap()["xdp"]["mode"], xdp);
        let pairs = [PAIRS[2], PAIRS[6], PAIRS[7]];
        let wrong = fill(&site, &pairs, xdp);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[test]
fn the_judge_knows_a_wrong_checksum() {
    cell::self_check();
}
