//! What `explain` says, to people and to programs.

use portcullis_policy::{Compiled, ExplainError, Sources, Verdict, compile, explain};

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
  to allow it: add `ssh` to `for` of the rule `web` at p.yaml:11:5
  to allow it: add a rule: - { name: NAME, allow: { from: pc1, to: web1, for: ssh } }
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
    assert!(e.answers[1].advice[0].contains("narrow `not-pc2` at p.yaml:12:5"));
}

#[test]
fn invariants_and_missing_gateways_are_told() {
    let e = explain(&compiled(), "web1", "pc1", "ssh").expect("an answer");
    let names: Vec<_> = e.answers[0].invariants.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["kind:dmz:dmz", "quiet"]);
    assert!(e.answers[0].advice.iter().any(|a| a.contains("`quiet` at p.yaml:14:5")));
    let e = explain(&compiled(), "pc1", "box", "ssh").expect("an answer");
    assert!(e.notes[0].contains("`cut` has no gateway"), "{:?}", e.notes);
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
