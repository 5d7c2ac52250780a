//! Devices that go away and come back.

use portcullis_lab::{Space, process::wait_for, world::Nic};

use crate::siege::{RUNNING, Siege};

const THIN: &str = "{ name: thin, allow: { from: thin, to: thin, for: any } }";
/// Somebody behind the uplink, and the guest of the same network.
const STRANGER: &str = "10.3.0.99";
const GUEST: &str = "10.3.0.11";
/// The stranger's MAC: the cable is new, the NIC behind it is not.
const MAC: &str = "02:00:00:00:00:99";

/// A cable from the host to the world.
fn plug(siege: &Siege, world: &Space) {
    let name = world.name();
    let host = siege.host().space();
    host.ip(&format!("link add up0 type veth peer name eth0 address {MAC} netns {name}")).unwrap();
    world.ip(&format!("address add {STRANGER}/24 dev eth0")).unwrap();
    world.ip("link set eth0 mtu 1300 up").unwrap();
}

fn reaches(siege: &Siege) -> bool {
    siege.small.space("t1").sh(&format!("ping -c 1 -W 1 {STRANGER}")).is_ok()
}

#[test]
fn an_uplink_that_goes_is_missed_and_taken_back() {
    let mut siege = Siege::new("plU");
    let world = siege.small.lab.space("world").unwrap();
    siege.small.apply(&[RUNNING, THIN]).unwrap();
    siege.small.attach("t1", Nic::Veth).unwrap();
    plug(&siege, &world);
    siege.host().portcullis(&["attach", "uplink", "up0", "--untagged", "thin"]).unwrap();
    assert!(reaches(&siege), "before");
    let status = |siege: &Siege| siege.host().status().unwrap();
    for restarts in [false, true] {
        siege.host().space().ip("link delete up0").unwrap();
        let gone = || status(&siege).port("up0").is_some_and(|p| p["open"] == false);
        wait_for("a word about the uplink", 8, gone).unwrap();
        let told = status(&siege).port("up0").unwrap()["closed"].to_string();
        assert!(told.contains("gone") || told.contains("no interface called up0"), "{told}");
        assert!(!reaches(&siege));
        // A change of the policy meanwhile goes its way.
        siege.small.apply(&[THIN, RUNNING]).unwrap();
        if restarts {
            siege.host().kill_daemon().unwrap();
            siege.host().up().unwrap();
        }
        plug(&siege, &world);
        wait_for("the uplink", 10, || status(&siege).is_open("up0")).unwrap();
        wait_for("a way out", 5, || reaches(&siege)).unwrap();
        siege.is_whole();
        siege.reached += 1;
    }
    // Nobody who is behind it reaches the other networks' guests.
    assert!(world.sh(&format!("ping -c 1 -W 1 {GUEST}")).is_ok());
    siege.end();
}

#[test]
fn a_port_that_was_deleted_comes_back() {
    let mut siege = Siege::new("plD");
    siege.small.attach("t1", Nic::Veth).unwrap();
    siege.host().space().ip("link delete v-t1").unwrap();
    wait_for("a new port", 10, || {
        let status = siege.host().status().unwrap();
        status.is_open("v-t1") && siege.small.space("t1").ip("link show eth0").is_ok()
    })
    .unwrap();
    siege.is_whole();
    siege.reached += 2;
    siege.end();
}
