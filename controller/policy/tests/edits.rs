//! Every change of the text that a violation is shown with really mends it: it is made, the
//! policy is compiled again, and the oracle is asked about the same connection.

mod random;

use portcullis_policy::{
    Cause, Compiled, Diagnostic, Edit, Model, Sources, Violation, compile, compile_unproved,
    generate::Size, oracle, violations,
};
use random::with_invariants;

/// More in the long form, `cargo xtask test --long`.
fn policies() -> u64 {
    if std::env::var_os("PORTCULLIS_TEST_LONG").is_some() { 3_000 } else { 250 }
}

fn apply(text: &str, edit: &Edit) -> String {
    let mut text = text.to_owned();
    text.replace_range(edit.span.start as usize..edit.span.end as usize, &edit.text);
    text
}

fn unproved(text: &str) -> Compiled {
    let sources = Sources::new([("random.yaml", text)]);
    compile_unproved(&sources).unwrap_or_else(|d| panic!("{d}\n{text}"))
}

/// Can the connection still break its invariant?
fn still_there(model: &Model, violation: &Violation) -> bool {
    let mut allowed = violation.hops.iter().map(|hop| {
        let (Some(from), Some(to)) = (hop.from.addr, hop.to.addr) else { return false };
        oracle::evaluate_in(model, hop.network, from, to, hop.purpose).allowed
    });
    match &violation.cause {
        Cause::Allowed => {
            let relays = violation.hops.iter().skip(1).map(|hop| &hop.from.name);
            let forwards =
                |name: &String| model.guests.iter().any(|g| g.name == *name && g.forwards);
            relays.into_iter().all(forwards) && allowed.all(|a| a)
        }
        Cause::Denied => !allowed.all(|a| a),
        Cause::NoWay { network } => {
            let gateway = |n: &&portcullis_policy::model::Network| n.name == *network;
            model.networks.iter().find(gateway).is_some_and(|n| n.gateway.is_empty())
        }
    }
}

/// Violations, and how many edits each was shown with.
#[derive(Default)]
struct Count {
    violations: usize,
    helped: usize,
    edits: usize,
}

#[test]
fn every_edit_mends_what_it_is_shown_for() {
    let mut count = Count::default();
    for seed in 0..policies() {
        let text = with_invariants(seed, Size { networks: 3, guests: 4, rules: 6 });
        let Err(diags) = compile(&Sources::new([("random.yaml", text.as_str())])) else { continue };
        let all = violations(&unproved(&text));
        for violation in all.iter().take(6) {
            let (invariant, witness) = (&violation.invariant, violation.summary());
            let shown = diags.items().iter().find(|d| is_about(d, violation));
            let shown = shown.unwrap_or_else(|| panic!("{violation:#?}\n{diags}\n{text}"));
            // What two rules allow is two violations: the other rule has edits of its own.
            let alone = all.iter().filter(|v| v.invariant == *invariant).count() == 1;
            count.violations += 1;
            count.helped += usize::from(!shown.edits.is_empty());
            for edit in &shown.edits {
                count.edits += 1;
                let changed = apply(&text, edit);
                let after = unproved(&changed);
                let mended = !still_there(&after.model, violation);
                let denied = violation.cause == Cause::Denied;
                assert!(mended || !alone && !denied, "{witness}\n{edit:#?}\n{changed}");
                let left = violations(&after);
                let same = left.iter().any(|v| blames(v) == blames(violation));
                assert!(!same, "{witness}\n{edit:#?}\n{changed}");
            }
        }
    }
    let Count { violations, helped, edits } = count;
    println!("{violations} violations, {helped} with edits, {edits} edits, all of which help");
    assert!(violations > 100 && helped * 10 > violations * 8, "too few edits to mean anything");
}

/// Is this message the one about a violation?
fn is_about(d: &Diagnostic, violation: &Violation) -> bool {
    let code = match violation.cause {
        Cause::Allowed => ["PC0601", "PC0603"].contains(&d.code()),
        Cause::Denied => d.code() == "PC0602",
        Cause::NoWay { .. } => d.code() == "PC0604",
    };
    let message = d.problem.to_string();
    let named = message.contains(&format!("`{}`", violation.invariant));
    code && named && message.contains(&violation.summary())
}

/// Who is to blame for what: the invariant, the rule, and the relays.
fn blames(v: &Violation) -> (String, Cause, Vec<String>, Vec<String>) {
    let relays = v.hops.iter().skip(1).map(|h| h.from.name.clone()).collect();
    let rule = v.hops.last().map(|h| h.rule_name.clone());
    let witness = (v.cause == Cause::Denied).then(|| v.summary());
    (v.invariant.clone(), v.cause.clone(), rule.into_iter().chain(witness).collect(), relays)
}
