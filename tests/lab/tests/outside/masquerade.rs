//! Guests travel under the host's address, or under their own.

use portcullis_lab::process::wait_for;

use crate::site::{HOST, Listener, NIC, Site, WORLD, datagram};

const RULES: &str = "rules:
  - { name: out, allow: { from: [web, db], to: world, for: [tcp/80, udp/53] } }
  - { name: names, allow: { from: web, to: host, for: udp/53 } }
";

#[test]
fn guests_go_out_under_the_hosts_address_and_only_as_the_rules_say() {
    let site = Site::new("plom", RULES);
    let listener = Listener::new(&site.world, 80);
    let (mut line, seen) = listener.connect(site.space("web"), (WORLD, 80)).expect("out");
    assert!(seen == HOST && line.works(), "{seen}");
    assert_eq!(datagram(site.space("web"), &site.world, (WORLD, 53)), Some(HOST.into()));
    // Not by a rule: another port, and a guest that has none.
    assert_eq!(datagram(site.space("web"), &site.world, (WORLD, 54)), None);
    assert_eq!(datagram(site.space("mute"), &site.world, (WORLD, 53)), None);
    // Routed: under its own address. The world has no way back, as long as nobody tells it.
    assert_eq!(datagram(site.space("db"), &site.world, (WORLD, 53)), Some([10, 7, 2, 10].into()));
    assert!(listener.connect(site.space("db"), (WORLD, 80)).is_none());
    site.world.ip(&format!("route add 10.7.2.0/24 via {HOST}")).unwrap();
    let (mut routed, seen) = listener.connect(site.space("db"), (WORLD, 80)).expect("routed");
    assert!(seen.to_string() == "10.7.2.10" && routed.works(), "{seen}");
    // The host is somebody of his own: his own address outside is his, whoever is masqueraded.
    let host = site.host.space();
    assert_eq!(datagram(site.space("web"), host, (HOST, 53)), Some([10, 7, 1, 10].into()));
    assert_eq!(datagram(site.space("mute"), host, (HOST, 53)), None);
    assert_eq!(datagram(site.space("web"), host, (HOST, 54)), None);
    let status = site.status();
    assert_eq!(status["networks"][0]["outside"], "masquerade");
    assert_eq!(status["problems"], serde_json::json!([]), "{status:#}");
    assert_eq!(status["foreign"], serde_json::json!([]));
}

#[test]
fn forwarding_is_switched_on_where_it_is_needed_and_off_again() {
    let site = Site::new("plof", RULES);
    let host = site.host.space();
    host.ip("link add other0 type veth peer name other1").unwrap();
    host.ip("link set other0 up").unwrap();
    host.ip("addr add 192.168.77.1/24 dev other0").unwrap();
    for (interface, on) in [(NIC, true), ("pc-front", true), ("pc-back", true), ("other0", false)] {
        assert_eq!(site.forwards(interface), on, "{interface}");
    }
    // What comes in there for somebody else's network is forwarded as little as before.
    assert!(site.own_table().contains("iifname \"out0\" oifname != {"), "{}", site.own_table());
    // Somebody makes a router of the host: then nothing of it is ours any more.
    host.sysctl("net/ipv4/ip_forward", "1").unwrap();
    wait_for("the guard to be taken away", 10, || !site.own_table().contains("guarded")).unwrap();
    site.host.down().unwrap();
    assert!(site.forwards(NIC), "it was switched on by somebody else meanwhile");
}

#[test]
fn a_change_of_the_uplink_needs_nobody() {
    let site = Site::new("plou", RULES);
    let host = site.host.space();
    let asked = || datagram(site.space("web"), &site.world, (WORLD, 53));
    assert_eq!(asked(), Some(HOST.into()));
    host.ip(&format!("link set {NIC} down")).unwrap();
    assert_eq!(asked(), None);
    let status = site.status();
    let problem = status["problems"][0].as_str().unwrap_or_default();
    assert!(problem.contains("no IPv4 default route") && problem.contains("front"), "{status:#}");
    // It comes back with another address.
    host.ip(&format!("addr del {HOST}/24 dev {NIC}")).unwrap();
    host.ip(&format!("addr add 198.51.100.77/24 dev {NIC}")).unwrap();
    host.ip(&format!("link set {NIC} up")).unwrap();
    host.ip(&format!("route add default via {WORLD}")).unwrap();
    assert_eq!(asked(), Some([198, 51, 100, 77].into()));
    assert_eq!(site.status()["problems"], serde_json::json!([]));
    // Another NIC takes its place, and nobody ever said that it forwards.
    host.ip("link set out0 name wan1")
        .or_else(|_| {
            host.ip("link set out0 down")?;
            host.ip("link set out0 name wan1")?;
            host.ip("link set wan1 up")?;
            host.ip(&format!("route add default via {WORLD}"))
        })
        .unwrap();
    host.sysctl("net/ipv4/conf/wan1/forwarding", "0").unwrap();
    wait_for("the new uplink to forward", 10, || site.forwards("wan1")).unwrap();
    assert_eq!(asked(), Some([198, 51, 100, 77].into()));
}
