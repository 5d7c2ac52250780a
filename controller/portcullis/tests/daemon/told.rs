//! What the daemon tells: events of logged rules, and what a policy would change.

use portcullis::{
    api::{Difference, EventQuery, Events, Request, Response, Seen, SourceFile},
    error::Error,
};
use portcullis_switch::{self as switch, Flow};

use crate::machine::{Daemon, Machine, policy};

fn event(rule: &str, seen: switch::Seen) -> switch::Event {
    switch::Event {
        unix_ms: 1000,
        generation: 1,
        seen,
        reason: None,
        rule: rule.into(),
        file: Some("p.yaml".into()),
        line: Some(7),
        src: "10.10.0.11".parse().unwrap(),
        dst: "10.10.0.12".parse().unwrap(),
        protocol: 6,
        sport: Some(40_000),
        dport: Some(22),
        icmp: None,
        from_guest: Some("pc1".into()),
        to_guest: Some("pc2".into()),
        from_port: Some("t1".into()),
        to_port: None,
        network: Some("lan".into()),
        bytes: 60,
        suppressed: 0,
    }
}

fn events(daemon: &Daemon, query: EventQuery) -> Events {
    match daemon.ask(&Request::Events(query)).unwrap() {
        Response::Events(events) => events,
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_are_remembered_in_order_and_picked() {
    let machine = Machine::new();
    let daemon = machine.start();
    let told = [
        event("a", switch::Seen::Allowed),
        event("b", switch::Seen::WouldDeny),
        event("a", switch::Seen::Denied),
    ];
    machine.world.kernel().events.extend(told);
    let all = events(&daemon, EventQuery::default());
    let numbers: Vec<_> = all.events.iter().map(|e| (e.number, e.rule.as_str())).collect();
    assert_eq!(numbers, [(1, "a"), (2, "b"), (3, "a")]);
    assert_eq!((all.last, all.missed, all.suppressed, all.lost), (3, 0, 7, 1));
    let observed = events(&daemon, EventQuery { observed: true, ..EventQuery::default() });
    assert_eq!(observed.events.len(), 1);
    assert_eq!(observed.events[0].seen, Seen::WouldDeny);
    let rule = Some("a".to_owned());
    assert_eq!(events(&daemon, EventQuery { after: 1, rule, observed: false }).events.len(), 1);
    assert!(events(&daemon, EventQuery { after: 3, ..EventQuery::default() }).events.is_empty());
    assert_eq!(daemon.status().events.suppressed, 7);
}

fn difference(daemon: &Daemon, text: &str) -> Result<Difference, String> {
    let sources = vec![SourceFile { name: "new.yaml".into(), text: text.into() }];
    match daemon.ask(&Request::Difference { sources, color: false }) {
        Ok(Response::Difference(difference)) => Ok(*difference),
        Ok(Response::Refused(refused)) => Err(refused.rendered),
        Err(Error::Failed(failure)) => Err(failure.message),
        other => panic!("{other:?}"),
    }
}

fn flow(dport: u16) -> Flow {
    Flow {
        src: "10.10.0.1".parse().unwrap(),
        dst: "10.10.0.11".parse().unwrap(),
        protocol: 6,
        sport: 50_000,
        dport,
        network: None,
        state: "open",
        idle_ms: 10,
        rule: Some("web".into()),
    }
}

#[test]
fn a_dry_run_tells_what_would_change_and_changes_nothing() {
    let machine = Machine::new();
    let daemon = machine.start();
    let first = difference(&daemon, &policy(1)).unwrap();
    assert!(first.from.is_none() && first.rendered.contains("1001"), "{}", first.rendered);
    daemon.apply(&policy(1)).unwrap();
    assert_eq!(difference(&daemon, &policy(1)).unwrap().rendered, "");

    // One that is allowed now and would not be, one that is not allowed anyway.
    machine.world.kernel().flows.extend([flow(1001), flow(9)]);
    let changed = difference(&daemon, &policy(2)).unwrap();
    assert_eq!(changed.from, Some(vec!["p.yaml".to_owned()]));
    assert!(changed.rendered.contains("1001") && changed.rendered.contains("1002"));
    assert_eq!((changed.cuts.len(), changed.cuts_total), (1, 1));
    let cut = &changed.cuts[0];
    assert_eq!((cut.dport, cut.to_guest.as_deref()), (1001, Some("pc1")));
    assert_eq!(cut.allowed_by.as_ref().unwrap().rule, "web");
    assert_eq!(cut.denied_by, None);
    assert_eq!(machine.world.kernel().installs, 1);
    assert_eq!(daemon.applied_text(), Some(policy(1)));
}

#[test]
fn a_dry_run_of_a_bad_policy_is_refused_like_an_apply() {
    let machine = Machine::new();
    let daemon = machine.start();
    daemon.apply(&policy(1)).unwrap();
    let refused = difference(&daemon, "networks: 7\n").unwrap_err();
    assert!(refused.contains("new.yaml:1"), "{refused}");
    let never = policy(1) + "never:\n  - { from: host, to: pc1 }\n";
    assert!(difference(&daemon, &never).unwrap_err().contains("never"));
    machine.world.breaks("flows");
    assert!(difference(&daemon, &policy(2)).unwrap_err().contains("flows does not work"));
    assert_eq!(machine.world.kernel().installs, 1);
}
