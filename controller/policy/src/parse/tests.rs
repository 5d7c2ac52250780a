//! What the text becomes, asked of the model and of the oracle.

use std::net::IpAddr;

use super::model;
use crate::{
    Diagnostics, Moment, Sources,
    model::{Model, Protocol, Purpose},
    oracle,
};

const WORLD: &str = "\
networks:
  lan: { vlan: 10, subnets: [10.0.0.0/24], gateway: true }
  dmz: { vlan: 20, subnets: [10.2.0.0/24], gateway: true }
labels: { quarantine: \"cut off until somebody looked at it\", red: , blue: \"\" }
guests:
  a: { network: lan, ip: 10.0.0.11, labels: [red, blue] }
  b: { network: lan, ip: 10.0.0.12, labels: [red] }
  c: { network: dmz, ip: 10.2.0.13, labels: [blue] }
  fw: { nics: [{ network: lan }, { network: dmz }], forwards: false }
";

fn read_at(text: &str, moment: &Moment) -> (Model, Diagnostics) {
    let sources = Sources::new([("t.yaml", format!("{WORLD}{text}"))]);
    let mut diags = Diagnostics::new(&sources);
    let (model, _) = model(&sources, moment, &mut diags);
    (model, diags)
}

fn read(text: &str) -> Model {
    let (model, diags) = read_at(text, &Moment::default());
    assert!(diags.is_empty(), "{diags}");
    model
}

/// Which of the guests a, b and c, the host and the world the endpoint covers.
fn covered(endpoint: &str) -> String {
    let rule = format!("rules: [{{ allow: {{ from: {endpoint}, to: any, for: ssh }} }}]\n");
    covered_in(&rule)
}

fn covered_in(text: &str) -> String {
    let model = read(text);
    let who = [
        ('a', "10.0.0.11"),
        ('b', "10.0.0.12"),
        ('c', "10.2.0.13"),
        ('h', "10.0.0.1"),
        ('w', "8.8.8.8"),
    ];
    let to: IpAddr = "10.2.0.99".parse().expect("an address");
    let allowed = |addr: &str| {
        let from = addr.parse().expect("an address");
        oracle::evaluate(&model, from, to, (Protocol::Tcp, 22)).allowed
    };
    who.into_iter().filter(|(_, addr)| allowed(addr)).map(|(name, _)| name).collect()
}

#[test]
fn selectors_combine_what_they_name() {
    assert_eq!(covered("{ all of: [red, blue] }"), "a");
    assert_eq!(covered("{ any of: [red, blue] }"), "abc");
    assert_eq!(covered("{ not: red }"), "chw");
    assert_eq!(covered("{ not: [red, world] }"), "ch");
    assert_eq!(covered("{ all of: [lan, { not: blue }] }"), "b");
    assert_eq!(covered("[host, { all of: [blue, { any of: [a, c] }, { not: [lan] }] }]"), "ch");
    assert_eq!(covered("{ all of: [10.0.0.0/28, { not: 10.0.0.12 }] }"), "ah");
    assert_eq!(covered("quarantine"), "");
}

#[test]
fn selectors_stand_in_sets_too() {
    let rule = "rules: [{ allow: { from: s, to: any, for: ssh } }]\n";
    assert_eq!(covered_in(&format!("sets: {{ s: {{ all of: [red, blue] }} }}\n{rule}")), "a");
    assert_eq!(covered_in(&format!("sets: {{ s: [c, {{ not: [lan, dmz] }}] }}\n{rule}")), "chw");
    let except = "sets: { s: { members: [lan, host], except: { all of: [red, blue] } } }\n";
    assert_eq!(covered_in(&format!("{except}{rule}")), "bh");
}

#[test]
fn sets_reach_themselves_through_selectors() {
    let text = "sets: { s: { all of: [red, t] }, t: { members: [any], except: [{ not: [s] }] } }\n";
    let (_, diags) = read_at(text, &Moment::default());
    let codes: Vec<_> = diags.items().iter().map(|d| d.code()).collect();
    assert_eq!(codes, ["PC0105"]);
}

#[test]
fn source_ports_are_asked_for() {
    let model = read("rules: [{ allow: { from: a, to: c, for: tcp/2049 from 600-1023 } }]\n");
    let [from, to] = ["10.0.0.11", "10.2.0.13"].map(|a| a.parse().expect("an address"));
    let allowed = |source| {
        let purpose = Purpose { protocol: Protocol::Tcp, number: 2049, source };
        oracle::evaluate(&model, from, to, purpose).allowed
    };
    assert_eq!([599, 600, 1023, 1024].map(allowed), [false, true, true, false]);
}

const DEBUG: &str = "rules:
  - { name: debug, until: 8h, allow: { from: a, to: c, for: ssh } }
  - { name: dated, until: 2026-12-01, allow: { from: b, to: c, for: ssh } }
";

#[test]
fn a_duration_counts_from_the_first_apply() {
    let start = 1_796_000_000;
    let (model, _) = read_at(DEBUG, &Moment::at(start));
    let anchors = model.anchors();
    assert_eq!(anchors.values().copied().collect::<Vec<_>>(), [start]);
    let ends: Vec<_> = model.rules.iter().flat_map(|r| &r.until).map(|u| u.at_unix_s).collect();
    assert_eq!(ends, [start + 8 * 3600, 1_796_083_200]);

    // The same rule later, with a comment and other white space: it goes on, and ends.
    let later = Moment { now_unix_s: start + 9 * 3600, since_unix_s: anchors.clone() };
    let moved =
        DEBUG.replace("rules:\n", "rules:\n\n  # moved\n").replace("until: 8h", "until:  8h");
    let (again, _) = read_at(&moved, &later);
    assert_eq!(again.anchors(), anchors);
    assert!(again.rules[0].is_expired(later.now_unix_s) && again.rules[1].is_expired(u64::MAX));

    // Another rule under the same name begins anew.
    let (changed, _) = read_at(&DEBUG.replace("to: c", "to: dmz"), &later);
    assert_eq!(changed.anchors().values().copied().collect::<Vec<_>>(), [later.now_unix_s]);
}

#[test]
fn at_no_moment_nothing_has_expired() {
    let model = read(DEBUG);
    assert!(model.rules.iter().all(|r| !r.is_expired(model.now_unix_s)));
}

#[test]
fn rules_observe_and_log() {
    let text = "rules:
  - { name: a, mode: observe, log: true, tier: platform, pass: { from: a, to: c, for: ssh } }
  - { name: b, mode: enforce, log: { rate: 50/s }, deny: { from: a, to: c, for: ssh } }
  - { name: c, log: false, owner: ops, ticket: OPS-1, allow: { from: a, to: c, for: ssh } }
";
    let model = read(text);
    let options = |i: usize| {
        let rule = &model.rules[i];
        (rule.observe, rule.log.map(|l| l.events_per_s))
    };
    assert_eq!([0, 1, 2].map(options), [(true, Some(10)), (false, Some(50)), (false, None)]);
    assert_eq!(model.rules[2].owner.as_deref(), Some("ops"));
    assert_eq!(model.rules[2].ticket.as_deref(), Some("OPS-1"));
}

#[test]
fn labels_can_be_declared() {
    let model = read("");
    let labels: Vec<_> =
        model.labels.iter().map(|l| (l.name.as_str(), l.declared, l.guests.len())).collect();
    assert_eq!(labels, [("quarantine", true, 0), ("red", true, 2), ("blue", true, 2)]);
    let forwards: Vec<_> = model.guests.iter().map(|g| g.forwards).collect();
    assert_eq!(forwards, [true, true, true, false]);
}
