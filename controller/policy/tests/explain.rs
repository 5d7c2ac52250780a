//! What `explain` says, to people and to programs.

use portcullis_policy::{
    Compiled, ExplainError, Moment, Sources, Verdict, compile, compile_at, explain, explain_flow,
};

const POLICY: &str = "\
networks:
  lan: { vlan: 10, subnets: [10.10.0.0/24], gateway: true, kind: lan }
  dmz: { vlan: 20, subnets: [10.20.0.0/24], gateway: true, kind: dmz }
  cut: { vlan: 30, subnets: [10.30.0.0/24] }
guests:
  pc1: { network: lan, ip: 10.10.0.11 }
  pc2: { network: lan, ip: 10.10.0.12 }
  web1: { network: dmz, ip: 10.20.0.5 }
  box: { network: cut, ip: 10.30.0.5 }
rules:
  - { name: web, allow: { from: lan, to: web1, for: http }, owner: ops, ticket: T-1 }
  - { name: not-pc2, deny: { from: pc2, to: web1, for: any } }
never:
  - { name: quiet, from: dmz, to: lan }
";

fn compiled() -> Compiled {
    compile(&Sources::new([("p.yaml", POLICY)])).unwrap_or_else(|d| panic!("{d}"))
}

#[test]
fn allowed_names_the_rule_and_its_line() {
    let e = explain(&compiled(), "pc1", "web1", "http").expect("an answer");
    assert_eq!(
        e.render(),
        "\
pc1 -> web1, http: allowed

allowed: pc1 (10.10.0.11) -> web1 (10.20.0.5), tcp/80
  by web (tenant allow, owner ops, ticket T-1) at p.yaml:11:5
    11 | - { name: web, allow: { from: lan, to: web1, for: http }, owner: ops, ticket: T-1 }
  way: from `lan` through the gateway to `dmz`
"
    );
}

#[test]
fn denied_says_what_would_have_to_change() {
    let e = explain(&compiled(), "pc1", "web1", "ssh").expect("an answer");
    assert_eq!(
        e.render(),
        "\
pc1 -> web1, ssh: denied

denied: pc1 (10.10.0.11) -> web1 (10.20.0.5), tcp/22
  by default: no rule speaks about it
  way: from `lan` through the gateway to `dmz`
  to allow it: add `ssh` to `for` of the rule `web` (at p.yaml:11:53)
  to allow it: add a rule that allows it: `{ name: allow-question, allow: { from: pc1, to: web1, for: ssh } }` (at p.yaml:12:63)
"
    );
}

#[test]
fn different_answers_are_all_given() {
    let e = explain(&compiled(), "lan", "web1", "http").expect("an answer");
    assert_eq!(e.verdict, Verdict::Mixed);
    let by: Vec<_> =
        e.answers.iter().map(|a| (a.allowed, a.rule.as_ref().map(|r| r.name.as_str()))).collect();
    assert_eq!(by, [(true, Some("web")), (false, Some("not-pc2"))]);
    assert_eq!(e.answers[1].runners_up[0].name, "web");
    assert!(e.answers[1].advice[0].contains("not-pc2"), "{:?}", e.answers[1].advice);
}

#[test]
fn invariants_and_missing_gateways_are_told() {
    let e = explain(&compiled(), "web1", "pc1", "ssh").expect("an answer");
    let names: Vec<_> = e.answers[0].invariants.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["kind:dmz:dmz", "quiet"]);
    assert_eq!(
        e.answers[0].advice,
        ["nothing, as long as the invariant `quiet` at p.yaml:14:5 forbids it"]
    );
    assert!(e.answers[0].edits.is_empty());
    let e = explain(&compiled(), "pc1", "box", "ssh").expect("an answer");
    assert!(e.notes[0].contains("`cut` has no gateway"), "{:?}", e.notes);
    assert_eq!(e.answers[0].way, "none: `cut` has no IPv4 gateway, so no packet gets there");
}

#[test]
fn programs_get_the_same() {
    let e = explain(&compiled(), "pc2", "web1", "tcp/80").expect("an answer");
    let json = serde_json::to_value(&e).expect("JSON");
    assert_eq!(json["verdict"], "denied");
    let answer = &json["answers"][0];
    assert_eq!(answer["rule"]["name"], "not-pc2");
    assert_eq!(answer["rule"]["file"], "p.yaml");
    assert_eq!(answer["rule"]["line"], 12);
    assert_eq!(answer["rule"]["action"], "deny");
    assert_eq!(answer["rule"]["tier"], "tenant");
    assert_eq!(answer["example"]["from_addr"], "10.10.0.12");
    assert_eq!(answer["example"]["service"], "tcp/80");
}

#[test]
fn questions_that_have_no_answer() {
    let c = compiled();
    let told = |from, to, service| match explain(&c, from, to, service) {
        Ok(e) => e.render(),
        Err(e) => e.to_string(),
    };
    assert_eq!(
        told("pc3", "web1", "ssh"),
        "no guest, label, network or set is called `pc3`; did you mean `pc1`?"
    );
    assert_eq!(told("pc1", "web1", "shs"), "no service is called `shs`; did you mean `ssh`?");
    assert!(matches!(
        explain(&c, "pc1", "2001:db8::1", "ssh"),
        Err(ExplainError::NoConnection { .. })
    ));
}

/// Every change that is proposed does what it says, and breaks nothing.
#[test]
fn advice_holds() {
    let c = compiled();
    for (from, to, service) in
        [("pc1", "web1", "ssh"), ("pc2", "web1", "http"), ("pc1", "host", "ping")]
    {
        let e = explain(&c, from, to, service).expect("an answer");
        assert_eq!(e.verdict, Verdict::Denied);
        let edits = &e.answers[0].edits;
        assert!(!edits.is_empty(), "{}", e.render());
        for edit in edits {
            let mut text = POLICY.to_owned();
            text.replace_range(edit.start as usize..edit.end as usize, &edit.text);
            let changed = compile(&Sources::new([("p.yaml", text.as_str())]));
            let changed = changed.unwrap_or_else(|d| panic!("{}: {d}\n{text}", edit.title));
            let after = explain(&changed, from, to, service).expect("an answer");
            assert_eq!(after.verdict, Verdict::Allowed, "{}\n{text}", edit.title);
        }
    }
}

const MORE: &str = "\
networks:
  lan: { vlan: 10, subnets: [10.10.0.0/24], gateway: true }
guests:
  pc1: { network: lan, ip: 10.10.0.11, labels: [admin] }
  pc2: { network: lan, ip: 10.10.0.12 }
  files: { network: lan, ip: 10.10.0.5 }
rules:
  - { name: nfs, allow: { from: pc1, to: files, for: tcp/2049 from 600-1023 } }
  - { name: debug, allow: { from: pc2, to: files, for: ssh }, until: 2026-12-01 }
  - { name: trial, deny: { from: pc2, to: files, for: ssh }, mode: observe }
";

#[test]
fn flows_and_source_ports_are_told_apart() {
    let c = compile(&Sources::new([("p.yaml", MORE)])).unwrap_or_else(|d| panic!("{d}"));
    let flow = |text| explain_flow(&c, text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(flow("tcp 10.10.0.11:700 -> 10.10.0.5:2049").verdict, Verdict::Allowed);
    assert_eq!(flow("tcp 10.10.0.11:7000 -> files:2049").verdict, Verdict::Denied);
    assert_eq!(flow("tcp pc1 -> files:2049").verdict, Verdict::Mixed);
    let e = explain(&c, "10.10.0.11:700", "files", "tcp/2049").expect("an answer");
    assert_eq!((e.verdict, e.answers[0].way.as_str()), (Verdict::Allowed, "inside `lan`"));
    assert!(matches!(explain_flow(&c, "tcp pc1"), Err(ExplainError::BadFlow { .. })));
}

#[test]
fn ends_and_observers_are_told() {
    // Three days before.
    let now = Moment::at(1_796_083_200 - 3 * 86_400);
    let c = compile_at(&Sources::new([("p.yaml", MORE)]), &now).unwrap_or_else(|d| panic!("{d}"));
    let text = explain(&c, "pc2", "files", "ssh").expect("an answer").render();
    assert!(text.contains("    until 2026-12-01T00:00:00Z, in 3 days\n"), "{text}");
    assert!(
        text.contains(
            "would be denied by trial (tenant deny) at p.yaml:10:5, which only observes\n"
        ),
        "{text}"
    );
    assert!(!text.contains("also about it"), "{text}");
}

#[test]
fn selectors_are_endpoints_too() {
    let c = compile(&Sources::new([("p.yaml", MORE)])).unwrap_or_else(|d| panic!("{d}"));
    let e = explain(&c, "{ all of: [lan, { not: admin }] }", "files", "ssh").expect("an answer");
    assert_eq!(e.from, "{ all of: [lan, { not: admin }] }");
    assert_eq!(e.verdict, Verdict::Mixed);
    let bad = explain(&c, "{ all of: [lan, admim] }", "files", "ssh").unwrap_err().to_string();
    assert!(bad.contains("did you mean `admin`?"), "{bad}");
}
