//! The examples in `policies/` hold together and mean what their cases say, asked of the compiled
//! image by `explain` and of the oracle.
//!
//! A line of `policies/cases/NAME.txt` is a connection (from, to, service, verdict and the rule
//! that decides, none for the default), with at least two spaces between columns; `proved` with
//! the names of all invariants; or `at` with a moment for the lines below it.

mod examples;

use std::collections::BTreeSet;

use portcullis_policy::{
    Compiled, Moment, Sources, Verdict, compile_at, compile_unproved_at, explain,
    generate::Connections,
    model::{
        Action, Demand, Invariant, Kind, Model, Outside, Ports, Purpose, Rule, Sources16, Tier,
    },
    oracle,
    until::{self, End},
};

/// When the cases are asked: nothing that an example has in it has ended by then.
const NOW_UNIX_S: u64 = 1_800_000_000;

/// What the lines of a file of cases are about.
#[derive(Default)]
struct Cases {
    connections: Vec<(Moment, [String; 5])>,
    proved: BTreeSet<String>,
}

impl Cases {
    fn read(name: &str) -> Self {
        let path = format!("{}/../../policies/cases/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let mut cases = Self::default();
        let mut moment = Moment::at(NOW_UNIX_S);
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let columns: Vec<&str> =
                line.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
            match columns[..] {
                [] => {}
                ["proved", names] => {
                    cases.proved.extend(names.split(' ').map(str::to_owned));
                }
                ["at", when] => match until::read(when) {
                    Ok(End::At(second)) => moment = Moment::at(second),
                    _ => panic!("{path}: {line}"),
                },
                [from, to, service, verdict, ref rule @ ..] if rule.len() < 2 => {
                    let rule = rule.first().copied().unwrap_or("");
                    let row = [from, to, service, verdict, rule].map(str::to_owned);
                    cases.connections.push((moment.clone(), row));
                }
                _ => panic!("{path}: {line}"),
            }
        }
        cases
    }
}

fn compiled(sources: &Sources, moment: &Moment) -> Compiled {
    compile_at(sources, moment).unwrap_or_else(|d| panic!("{d}"))
}

/// What `explain` says that the case does not.
fn explained(compiled: &Compiled, row: &[String; 5]) -> Option<String> {
    let [from, to, service, verdict, rule] = row;
    let e = match explain(compiled, from, to, service) {
        Ok(e) => e,
        Err(e) => return Some(e.to_string()),
    };
    let said = match e.verdict {
        Verdict::Allowed => "allowed",
        Verdict::Denied => "denied",
        Verdict::Mixed => "mixed",
    };
    let by = e.answers[0].rule.as_ref().map_or("", |r| r.name.as_str());
    let same = (said, by) == (verdict.as_str(), rule.as_str());
    (!same).then(|| e.render())
}

/// A policy of one rule, which allows what somebody asks about: the oracle then says of any
/// connection whether the question is about it.
fn scope(model: &Model, rule: Rule) -> Model {
    let mut scope = Model { rules: vec![rule], ..model.clone() };
    let lans = scope.networks.iter_mut().filter(|n| n.kind == Kind::Lan);
    lans.for_each(|n| n.kind = Kind::Plain);
    scope
}

/// The corners of what a service covers.
fn purposes(ports: &Ports) -> Vec<Purpose> {
    let Ports { protocol, first, last, source } = *ports;
    let sources = match source {
        Sources16::ALL => [Purpose::new(protocol, 0).source; 2],
        Sources16 { first, last } => [first, last],
    };
    let both = |number| sources.map(|source| Purpose { protocol, number, source });
    [first, last].into_iter().flat_map(both).collect()
}

/// What the oracle says about every connection that the question is about, between all places
/// where answers may change. Returns how many there are.
fn judged(model: &Model, rule: &Rule, mut each: impl FnMut(&oracle::Judgement, &str)) -> usize {
    let scope = scope(model, rule.clone());
    let addresses: Vec<_> = Connections::new(&scope, 1).addresses().collect();
    let ports = rule.services.iter().flat_map(|s| &s.ports);
    let purposes: Vec<Purpose> = ports.flat_map(purposes).collect();
    let mut count = 0;
    for &src in &addresses {
        let others = addresses.iter().filter(|dst| dst.is_ipv4() == src.is_ipv4() && **dst != src);
        for &dst in others {
            if !oracle::evaluate(&scope, src, dst, purposes[0]).allowed {
                continue;
            }
            for &purpose in &purposes {
                let told = oracle::evaluate(model, src, dst, purpose);
                each(&told, &format!("{src} -> {dst} {purpose:?}"));
                count += 1;
            }
        }
    }
    count
}

/// The question as a rule, in a policy that has it as its last one.
fn question(sources: &Sources, moment: &Moment, row: &[String; 5]) -> (Model, Rule) {
    let [from, to, service, ..] = row;
    let text =
        format!("rules: [{{ allow: {{ from: \"{from}\", to: \"{to}\", for: {service} }} }}]");
    let files = sources.files().iter().map(|f| (f.name().to_owned(), f.text().to_owned()));
    let both = Sources::new(files.chain([("question".to_owned(), text)]));
    let asked = compile_unproved_at(&both, moment).unwrap_or_else(|d| panic!("{d}"));
    let mut model = asked.model;
    let rule = model.rules.pop().expect("the question");
    (model, rule)
}

/// What the oracle says that the case does not.
fn overruled(sources: &Sources, moment: &Moment, row: &[String; 5]) -> Option<String> {
    let (model, rule) = question(sources, moment, row);
    let mut wrong = None;
    let asked = judged(&model, &rule, |told, what| {
        let verdict = if told.allowed { "allowed" } else { "denied" };
        if verdict != row[3] {
            wrong = Some(format!("the oracle: {what} {told:?}"));
        }
    });
    wrong.or_else(|| (asked == 0).then(|| "it is about nothing".to_owned()))
}

#[test]
fn the_examples_mean_what_their_cases_say() {
    let mut wrong = String::new();
    for name in examples::names() {
        let sources = examples::example(&name);
        let cases = Cases::read(&name);
        assert!(cases.connections.len() >= 5, "{name}");
        for (moment, row) in &cases.connections {
            let said = explained(&compiled(&sources, moment), row);
            for said in said.into_iter().chain(overruled(&sources, moment, row)) {
                wrong += &format!("{name}: {}\n{said}\n\n", row.join("  "));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Names of all invariants, those of kinds among them.
fn invariants(model: &Model) -> BTreeSet<String> {
    let kinds = model.networks.iter().flat_map(|n| match n.kind {
        Kind::Dmz => vec![format!("kind:dmz:{}", n.name)],
        Kind::Isolated => ["in", "out"].map(|way| format!("kind:isolated:{}:{way}", n.name)).into(),
        Kind::Plain | Kind::Lan | Kind::External => vec![],
    });
    let closed = model.networks.iter().filter(|n| n.outside == Some(Outside::None));
    let closed = closed.flat_map(|n| ["in", "out"].map(|way| format!("outside:{}:{way}", n.name)));
    model.invariants.iter().map(|i| i.name.clone()).chain(kinds).chain(closed).collect()
}

fn as_rule(invariant: &Invariant) -> Rule {
    let Invariant { name, span, from, to, services, .. } = invariant.clone();
    let (tier, action) = (Tier::Tenant, Action::Allow);
    let (owner, ticket, until, observe, log) = (None, None, None, false, None);
    Rule { name, span, tier, action, from, to, services, owner, ticket, until, observe, log }
}

#[test]
fn the_examples_are_taken_without_a_warning() {
    let said = |name: String| match compile_at(&examples::example(&name), &Moment::at(NOW_UNIX_S)) {
        Ok(compiled) => compiled.warnings.to_string(),
        Err(refused) => refused.to_string(),
    };
    let said: String = examples::names().into_iter().map(said).collect();
    assert!(said.is_empty(), "{said}");
}

#[test]
fn the_examples_invariants_hold() {
    for name in examples::names() {
        let compiled = compiled(&examples::example(&name), &Moment::at(NOW_UNIX_S));
        assert_eq!(Cases::read(&name).proved, invariants(&compiled.model), "{name}");
        // The proof says so; here the oracle looks for itself.
        for invariant in &compiled.model.invariants {
            let wanted = invariant.demand == Demand::Always;
            let asked = judged(&compiled.model, &as_rule(invariant), |told, what| {
                assert_eq!(told.allowed, wanted, "{name}: {} {what} {told:?}", invariant.name);
            });
            assert!(asked > 0, "{name}: {} is about nothing", invariant.name);
        }
    }
}

#[test]
fn the_examples_use_the_whole_language() {
    let texts: String = examples::names()
        .iter()
        .flat_map(|n| {
            examples::example(n).files().iter().map(|f| f.text().to_owned()).collect::<Vec<_>>()
        })
        .collect();
    let words = [
        "all of:",
        "not:",
        "except:",
        " from 600-1023",
        "until: 2w",
        "until: 2030",
        "mode: observe",
        "log: true",
        "rate:",
        "labels:\n",
        "forwards: false",
        "include:",
        "tier: platform",
        "pass:",
        "owner:",
        "ticket:",
        "kind: lan",
        "kind: dmz",
        "kind: isolated",
        "kind: external",
        "outside: masquerade",
        "outside: none",
        "publish:\n",
        "at: host",
        "port: 22",
    ];
    for word in words {
        assert!(texts.contains(word), "no example shows `{word}`");
    }
}
