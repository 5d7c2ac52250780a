//! Frames that are neither ARP nor IP: of declared EtherTypes among the guests of the network that
//! declares them, and nowhere else.

use portcullis_lab::{
    Lab,
    capture::{Capture, Injector},
    frame::{BROADCAST, holds, parse_mac, strange},
    host::Host,
    world::{Nic, attach},
};

const POLICY: &str = "\
networks:
  red:  { vlan: 10, subnets: [10.1.0.0/24], gateway: true, ethertypes: [0x88b5] }
  blue: { vlan: 20, subnets: [10.2.0.0/24], gateway: true }
guests:
  r1: { network: red }
  r2: { network: red }
  r3: { network: red }
  b1: { network: blue }
  b2: { network: blue }
";
const GUESTS: [&str; 5] = ["r1", "r2", "r3", "b1", "b2"];

#[test]
fn declared_ethertypes_stay_in_their_network() {
    let lab = Lab::new("bar").unwrap();
    let host = Host::new(&lab, "host").unwrap();
    host.up().unwrap();
    host.apply(&lab.file("policy.yaml", POLICY).unwrap()).unwrap();
    let guests = GUESTS.map(|name| attach(&lab, &host, name, Nic::Veth).unwrap());
    let heard = guests.each_ref().map(|g| Capture::start(&g.space, "eth0").unwrap());
    let [r1, r2, _, b1, b2] = guests.each_ref().map(|g| parse_mac(&g.mac).unwrap());
    let red = Injector::new(&guests[0].space, "eth0").unwrap();
    let blue = Injector::new(&guests[3].space, "eth0").unwrap();

    red.send(&strange(r1, BROADCAST, 0x88b5, b"TO-ALL")).unwrap();
    red.send(&strange(r1, r2, 0x88b5, b"TO-R2")).unwrap();
    for listener in &heard[1..3] {
        assert!(listener.wait_for(|seen| holds(&seen.head, b"TO-ALL")).is_some());
    }
    assert!(heard[1].wait_for(|seen| holds(&seen.head, b"TO-R2")).is_some());
    assert!(!heard[2].saw(|seen| holds(&seen.head, b"TO-R2")));

    let before = host.status().unwrap();
    // Undeclared, or declared by another network; and what no bridge passes on.
    red.send(&strange(r1, BROADCAST, 0x88b6, b"LOST")).unwrap();
    blue.send(&strange(b1, b2, 0x88b5, b"LOST")).unwrap();
    red.send(&strange(r1, [1, 0x80, 0xc2, 0, 0, 0x0e], 0x88b5, b"LOST")).unwrap();
    // To nobody there is in this network.
    red.send(&strange(r1, b1, 0x88b5, b"LOST")).unwrap();
    let after = host.status().unwrap();
    assert_eq!(after.drops("ether-type") - before.drops("ether-type"), 3);
    assert_eq!(after.drops("no-listener") - before.drops("no-listener"), 1);
    for listener in &heard {
        assert!(!listener.saw(|seen| holds(&seen.head, b"LOST")));
    }
    for listener in &heard[3..] {
        assert!(!listener.saw(|seen| holds(&seen.head, b"TO-ALL")));
    }
}
