//! Interfaces that nobody declared, beside ports of the switch in a bridge.

use std::time::{Duration, Instant};

use portcullis_lab::{
    Space,
    frame::{BROADCAST, holds, strange},
    patience,
    process::wait_for,
    small::Small,
    tap::Wire,
    world::Nic,
};

/// How soon somebody is told and kept out.
const SOON: Duration = Duration::from_secs(1);
const UPLINK: &str = "up0";
const WORD: &[u8] = b"FROM-NOBODY";

/// A host whose uplink is in a bridge, which is down.
fn bridged() -> (Small, Wire) {
    let small = Small::with("pds", &[], &[("r1", Nic::Veth)]).unwrap();
    let space = small.host.space();
    let world = Wire::new(space, UPLINK).unwrap();
    space.ip("link add br0 type bridge").unwrap();
    space.ip("link set up0 master br0").unwrap();
    (small, world)
}

fn send(from: &Wire) {
    from.send(&strange([2, 0, 0, 0, 0, 9], BROADCAST, 0x88b5, WORD)).unwrap();
}

/// Is it told as a port that passes nothing, and among what is not as it should be?
fn is_kept_out(small: &Small, name: &str) -> bool {
    let status = small.host.status().unwrap();
    let problems = status.0["problems"].to_string();
    let stranger = status
        .port(name)
        .is_some_and(|port| port["kind"] == "stranger" && port["closed_by"]["why"] == "stranger");
    stranger && problems.contains(&format!("{name} shares br0 with an uplink"))
}

fn within_a_second(what: &str, done: impl FnMut() -> bool) {
    let begin = Instant::now();
    wait_for(what, 10, done).unwrap();
    let took = begin.elapsed();
    println!("{what}: after {took:?}");
    assert!(took < patience::limit(SOON), "{what}: after {took:?}");
}

fn master(space: &Space, name: &str) -> bool {
    space.ip(&format!("link show {name}")).unwrap().contains(" master ")
}

#[test]
fn a_tap_beside_an_uplink_is_kept_out_and_told() {
    let (small, world) = bridged();
    let space = small.host.space();
    space.ip("link set br0 up").unwrap();
    let first = Wire::new(space, "t1").unwrap();
    space.ip("link set t1 master br0").unwrap();
    // The bridge would carry it.
    send(&first);
    assert!(world.seen.wait_for(|seen| holds(&seen.head, WORD)).is_some());

    small.host.portcullis(&["attach", "uplink", UPLINK, "--untagged", "red"]).unwrap();
    within_a_second("the uplink's neighbour", || is_kept_out(&small, "t1"));
    let second = Wire::new(space, "t2").unwrap();
    space.ip("link set t2 master br0").unwrap();
    within_a_second("a new neighbour", || is_kept_out(&small, "t2"));
    let heard = |world: &Wire| world.seen.frames().iter().filter(|f| holds(&f.head, WORD)).count();
    let before = heard(&world);
    for stranger in [&first, &second] {
        send(stranger);
    }
    wait_for("the drops", 5, || {
        let status = small.host.status().unwrap();
        ["t1", "t2"].iter().all(|name| status.port(name).unwrap()["traffic"]["dropped"] == 1)
    })
    .unwrap();
    // Nor while the daemon is dead, nor when the next one starts.
    small.host.kill_daemon().unwrap();
    send(&first);
    small.host.up().unwrap();
    send(&first);
    wait_for("the drops", 5, || {
        let status = small.host.status().unwrap();
        status.port("t1").unwrap()["traffic"]["dropped"] == 3
    })
    .unwrap();
    assert_eq!(heard(&world), before);

    // Whoever leaves the bridge, or goes, is let alone.
    space.ip("link set t1 nomaster").unwrap();
    drop(second);
    within_a_second("nobody left", || {
        let status = small.host.status().unwrap();
        status.port("t1").is_none()
            && status.port("t2").is_none()
            && !status.0["problems"].to_string().contains("br0")
    });
}

#[test]
fn a_port_that_is_put_into_a_bridge_is_taken_out() {
    // The bridge is down: what it would send by the port itself passes no filter until then.
    let (small, _world) = bridged();
    let space = small.host.space();
    space.ip("link set v-r1 master br0").unwrap();
    within_a_second("its way out", || !master(space, "v-r1"));
    assert!(small.host.status().unwrap().is_open("v-r1"));
    assert!(master(space, UPLINK), "what is not ours is left alone");
}
