//! A flow table that is full.

use portcullis_lab::{capture::Injector, process::wait_for, small::Small};

use crate::siege::{GUESTS, OTHER, RUNNING, Siege};

const FILL: &str = "{ name: fill, allow: { from: r3, to: r2, for: udp/10000-19999 } }";
/// The smallest table that there can be.
const FLOWS: u32 = 1024;

#[test]
fn a_full_flow_table_stops_no_change_and_no_flow() {
    let mut small = Small::new("plF").unwrap();
    small.host.down().unwrap();
    small.host.portcullis(&["up", "--flows", &FLOWS.to_string()]).unwrap();
    small.apply(&[RUNNING, FILL]).unwrap();
    for (name, nic) in GUESTS {
        small.attach(name, *nic).unwrap();
    }
    let mut siege = Siege::at(small);
    let filler = Injector::new(siege.small.space("r3"), "eth0").unwrap();
    for port in 10_000..12_000 {
        filler.send(&siege.small.datagram("r3", "r2", false, port).frame(b"FILL")).unwrap();
    }
    let status = || siege.host().status().unwrap();
    let drops = || status().drops("flow-table-full");
    wait_for("a full table", 5, || drops() > 500).unwrap();
    // A whole change, and one of the slot in use, while there is no room for anything.
    siege.small.apply(&[FILL, OTHER, RUNNING]).unwrap();
    let space = siege.small.lab.space("b1").unwrap().path();
    let space = space.to_string_lossy();
    let attach = ["attach", "veth", "v-b1", "--guest", "b1", "--netns", &space];
    siege.host().portcullis(&attach).unwrap();
    assert!(status().is_open("v-b1"));
    siege.is_open();
    assert!(status().0["flows"]["used"].as_u64().unwrap() > u64::from(FLOWS) * 9 / 10);
    // Closed, and by name: a new connection finds no room, whatever the policy says.
    let before = drops();
    let sender = Injector::new(siege.small.space("r1"), "eth0").unwrap();
    sender.send(&siege.small.datagram("r1", "r2", false, 9005).frame(b"NO ROOM")).unwrap();
    wait_for("a drop", 2, || drops() > before).unwrap();
    siege.reached += 2;
    siege.end();
}
