//! Guests that somebody else runs beside the switch.

use std::process::{Command, Stdio};

use portcullis_lab::{process::wait_for, small::Small, tap::Wire, world::Nic};
use serde_json::Value;

fn entry<'v>(found: &'v Value, device: &str) -> Option<&'v Value> {
    found.as_array()?.iter().find(|entry| entry["device"] == device)
}

#[test]
fn taps_and_their_holders_are_found_where_they_are_attached() {
    let small = Small::with("pdd", &[], &[("r1", Nic::Tap)]).unwrap();
    let space = small.host.space();
    space.ip("link add br0 type bridge").unwrap();
    let _held = Wire::new(space, "t1").unwrap();
    space.ip("link set t1 master br0").unwrap();
    let nic = "link add nic0 type veth peer name nic1";
    for line in [nic, "link add link nic0 name mv0 type macvtap"] {
        space.ip(line).unwrap();
    }
    let found = small.host.json(&["discover"]).unwrap();

    let port = entry(&found, &small.guest("r1").port).unwrap();
    assert_eq!((&port["at"]["to"], &port["known"]["by"]), (&"port".into(), &"port".into()));
    assert_eq!((&port["known"]["guest"], &port["known"]["open"]), (&"r1".into(), &true.into()));
    let tap = entry(&found, "t1").unwrap();
    assert_eq!((&tap["kind"], &tap["at"]["name"]), (&"tap".into(), &"br0".into()));
    // This test is in another namespace than its tap, so nobody is seen holding it.
    assert_eq!((&tap["known"]["by"], &tap["monitor"]), (&"no".into(), &Value::Null));
    let macvtap = entry(&found, "mv0").unwrap();
    assert_eq!((&macvtap["kind"], &macvtap["at"]["name"]), (&"macvtap".into(), &"nic0".into()));
    let human = small.host.portcullis(&["discover"]).unwrap();
    assert!(human.contains("bridge br0") && human.contains("unknown"), "{human}");
}

#[test]
fn without_a_switch_everything_is_unknown() {
    let small = Small::new("pdw").unwrap();
    small.host.down().unwrap();
    let _held = Wire::new(small.host.space(), "t1").unwrap();
    let found = small.host.run(&["discover"]).unwrap();
    assert_eq!(found.code(), 0);
    assert!(found.stdout.contains("t1"), "{}", found.stdout);
    assert!(found.stderr.contains("no switch runs here"), "{}", found.stderr);
}

/// A guest of QEMU on a tap of its own.
fn qemu(small: &Small) -> std::process::Child {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-machine", "none", "-nodefaults", "-display", "none", "-name", "stray"]);
    command.args(["-netdev", "tap,id=n,ifname=q1,script=no,downscript=no"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    small.host.space().spawn(command).unwrap()
}

#[test]
fn qemus_guest_is_found_by_the_tap_that_it_holds() {
    let small = Small::with("pdg", &[], &[]).unwrap();
    let mut child = qemu(&small);
    let found = || small.host.json(&["discover"]).unwrap();
    let held = || entry(&found(), "q1").is_some_and(|tap| tap["monitor"].is_object());
    wait_for("QEMU's tap", 20, held).unwrap();
    let all = found();
    let tap = entry(&all, "q1").unwrap();
    assert_eq!((&tap["guest"], &tap["monitor"]["name"]), (&"stray".into(), &"QEMU".into()));
    assert_eq!(tap["monitor"]["pid"], child.id());
    assert_eq!(tap["policy"], "stray: { network: NETWORK, ip: auto }");
    child.kill().unwrap();
    child.wait().unwrap();
}
