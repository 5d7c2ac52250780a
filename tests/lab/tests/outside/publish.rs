//! The world reaches guests at the host's address, where a rule says so.

use std::net::Ipv4Addr;

use crate::site::{HOST, Listener, Site, WORLD, datagram};

const SITE: &str = "  - { name: site, allow: { from: world, to: web, for: tcp/443 } }\n";
const OTHER: &str =
    "  - { name: other, allow: { from: world, to: db, for: [tcp/22, udp/5000] } }\n";
const PUBLISH: &str = "publish:
  - { name: site, at: 198.51.100.1, for: tcp/8443, to: web, port: 443 }
  - { name: quiet, at: host, for: tcp/8080, to: mute, port: 80 }
  - { name: shell, at: host, for: tcp/22, to: db }
  - { name: game, at: host, for: udp/5000, to: db }
";

fn policy(rules: &[&str], publish: &str) -> String {
    format!("rules:\n{}{publish}", rules.concat())
}

#[test]
fn the_world_reaches_what_is_published_and_allowed() {
    let site = Site::new("plop", &policy(&[SITE, OTHER], PUBLISH));
    let (web, mute) =
        (Listener::new(site.space("web"), 443), Listener::new(site.space("mute"), 80));
    let shell = Listener::new(site.space("db"), 22);
    let (mut line, seen) = web.connect(&site.world, (HOST, 8443)).expect("published");
    assert!(line.works());
    assert_eq!(seen, WORLD, "the guest sees who it is");
    assert!(shell.connect(&site.world, (HOST, 22)).is_some());
    assert_eq!(datagram(&site.world, site.space("db"), (HOST, 5000)), Some(WORLD.into()));
    // Published, and no rule: the rules decide.
    assert!(mute.connect(&site.world, (HOST, 8080)).is_none());
    // Not published: the host's own port, on which nobody listens.
    assert!(web.connect(&site.world, (HOST, 443)).is_none());
    // For guests the address is the host's, and no rule lets them to the host.
    assert!(web.connect(site.space("db"), (HOST, 8443)).is_none());
    let warned = site.host.run(&["check", &site.lab.dir().join("policy.yaml").to_string_lossy()]);
    let warned = warned.unwrap();
    let line = "published: site at 198.51.100.1 tcp/8443 -> web tcp/443";
    assert!(warned.stdout.contains(line), "{warned:?}");
    assert!(warned.stderr.contains("PC1291") && warned.stderr.contains("to: mute"), "{warned:?}");
    let explained = site.host.portcullis(&[
        "explain",
        "--from",
        "world",
        "--to",
        "web",
        "--service",
        "tcp/443",
    ]);
    assert!(explained.unwrap().contains("published at 198.51.100.1 tcp/8443 as `site`"));
    let status = site.host.portcullis(&["status"]).unwrap();
    assert!(status.contains("site       198.51.100.1  tcp/8443  10.7.1.10:443"), "{status}");
}

#[test]
fn what_is_taken_back_is_cut_when_apply_returns() {
    let site = Site::new("plor", &policy(&[SITE, OTHER], PUBLISH));
    let (web, shell) = (Listener::new(site.space("web"), 443), Listener::new(site.space("db"), 22));
    let connect = || web.connect(&site.world, (HOST, 8443)).map(|(line, _)| line);
    let (mut by_rule, mut kept) =
        (connect().unwrap(), shell.connect(&site.world, (HOST, 22)).unwrap().0);
    assert!(by_rule.works() && kept.works());
    // The rule goes.
    site.apply(&policy(&[OTHER], PUBLISH)).unwrap();
    assert!(!by_rule.works() && kept.works());
    assert!(connect().is_none());
    // It comes back; then the publishing goes, and the rule stays.
    site.apply(&policy(&[SITE, OTHER], PUBLISH)).unwrap();
    let mut by_place = connect().unwrap();
    assert!(by_place.works() && kept.works());
    let without = PUBLISH
        .replace("  - { name: site, at: 198.51.100.1, for: tcp/8443, to: web, port: 443 }\n", "");
    site.apply(&policy(&[SITE, OTHER], &without)).unwrap();
    assert!(!by_place.works(), "a translation outlived its rule");
    assert!(kept.works(), "another one was cut");
    assert!(connect().is_none());
}

#[test]
fn an_address_that_the_host_lost_is_told() {
    let site = Site::new("ploa", &policy(&[SITE, OTHER], PUBLISH));
    let host = site.host.space();
    host.ip("addr add 198.51.100.2/24 dev out0").unwrap();
    host.ip(&format!("addr del {HOST}/24 dev out0")).unwrap();
    host.ip("addr add 198.51.100.2/24 dev out0").ok();
    host.ip(&format!("route replace default via {WORLD}")).unwrap();
    let status = site.status();
    let problems = status["problems"].to_string();
    assert!(
        problems.contains("site is published at 198.51.100.1, which is no address"),
        "{status:#}"
    );
    // What is published at any address is there under the new one.
    let shell = Listener::new(site.space("db"), 22);
    assert!(shell.connect(&site.world, (Ipv4Addr::new(198, 51, 100, 2), 22)).is_some());
}
