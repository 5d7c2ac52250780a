//! Daemons that die, tools that are missing, tables that somebody flushes.

use portcullis_lab::{Space, process::wait_for};

use crate::site::{HOST, Listener, NIC, Site, WORLD, datagram};

const POLICY: &str = "rules:
  - { name: out, allow: { from: web, to: world, for: udp/53 } }
  - { name: site, allow: { from: world, to: web, for: tcp/443 } }
publish:
  - { name: site, at: host, for: tcp/8443, to: web, port: 443 }
";

/// Tables such as others have: they let our traffic pass.
fn others(host: &Space) {
    host.sh("nft add table inet theirs").unwrap();
    host.sh("nft add chain inet theirs forward { type filter hook forward priority 0 ; }").unwrap();
    host.sh("nft add rule inet theirs forward iifname nobody0 counter drop comment \"theirs\"")
        .unwrap();
    host.sh("nft add table ip nat").unwrap();
    host.sh("nft add chain ip nat PREROUTING { type nat hook prerouting priority -100 ; }")
        .unwrap();
    host.sh("nft add rule ip nat PREROUTING tcp dport 9 dnat to 192.0.2.9").unwrap();
}

/// `nft -j list ruleset` of everybody else, byte for byte, handles included.
fn foreign(site: &Site) -> String {
    let all = site.host.space().sh("nft -j list ruleset").unwrap();
    let all: serde_json::Value = serde_json::from_str(&all).unwrap();
    let ours = |o: &&serde_json::Value| {
        let object = o.as_object().and_then(|o| o.values().next()).unwrap();
        let name = object["table"].as_str().or(object["name"].as_str()).unwrap_or_default();
        !name.starts_with("portcullis")
    };
    let rest: Vec<_> = all["nftables"].as_array().unwrap().iter().filter(ours).collect();
    serde_json::to_string(&rest).unwrap()
}

#[test]
fn a_restart_leaves_one_table_and_down_leaves_none() {
    let site = Site::with("plod", POLICY, others);
    let (theirs, ours) = (foreign(&site), site.own_table());
    assert!(theirs.contains("\"theirs\"") && ours.contains("dnat ip to 10.7.1.10:443"), "{ours}");
    let web = Listener::new(site.space("web"), 443);
    let (mut line, _) = web.connect(&site.world, (HOST, 8443)).unwrap();
    site.host.kill_daemon().unwrap();
    assert!(line.works(), "nobody needs the daemon");
    assert_eq!(datagram(site.space("web"), &site.world, (WORLD, 53)), Some(HOST.into()));
    site.host.up().unwrap();
    assert_eq!(site.own_table(), ours);
    assert!(line.works());
    site.apply(POLICY).unwrap();
    assert_eq!((site.own_table(), foreign(&site)), (ours, theirs.clone()));
    site.host.down().unwrap();
    assert_eq!((site.own_table().as_str(), foreign(&site)), ("", theirs));
    assert!(!site.forwards(NIC));
}

#[test]
fn down_after_a_crash_leaves_nothing() {
    let site = Site::with("ploc", POLICY, others);
    let theirs = foreign(&site);
    site.host.kill_daemon().unwrap();
    site.host.down().unwrap();
    assert_eq!((site.own_table().as_str(), foreign(&site)), ("", theirs));
    assert!(!site.forwards(NIC));
}

#[test]
fn a_table_that_somebody_flushed_comes_back() {
    let site = Site::new("plol", POLICY);
    let ours = site.own_table();
    site.host.space().sh("nft flush ruleset").unwrap();
    wait_for("our table", 15, || site.own_table() == ours).unwrap();
    assert_eq!(datagram(site.space("web"), &site.world, (WORLD, 53)), Some(HOST.into()));
}

#[test]
fn without_nft_nothing_changes() {
    let site = Site::new("plon", POLICY);
    let (ours, generation) = (site.own_table(), site.status()["generation"].clone());
    // A daemon that finds no program.
    site.host.kill_daemon().unwrap();
    let mut command = site.host.command(&["up"]);
    command.env("PATH", "/nonexistent");
    site.host.space().run(command, 30).unwrap().success().unwrap();
    let status = site.status();
    assert_eq!((&status["generation"], site.own_table()), (&generation, ours.clone()));
    let problems = status["problems"].to_string();
    assert!(problems.contains("install the package"), "{status:#}");
    assert_eq!(datagram(site.space("web"), &site.world, (WORLD, 53)), Some(HOST.into()));
    // A policy that wants other host rules is refused, before anything changed.
    let other = POLICY.replace("tcp/8443", "tcp/9443");
    let refused = site.apply(&other).unwrap_err().to_string();
    assert!(refused.contains("install the package"), "{refused}");
    assert_eq!((&site.status()["generation"], site.own_table()), (&generation, ours));
}
