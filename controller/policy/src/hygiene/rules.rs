//! Rules without effect: that can never match, that others cover or overrule, that have ended.

use std::collections::BTreeSet;

use hashbrown::HashSet;
use portcullis_pipeline::policy::Cell;

use crate::{
    Compiled,
    compile::RuleKey,
    diagnostic::{Diagnostic, Diagnostics},
    model::{Action, Endpoint, Model, Rule, Term},
    problem::Problem,
    prove::{Reach, Reaches},
    until,
};

/// Other rules that are named in one message.
const NAMED: usize = 3;
/// Cells that are looked at to find out which rules cover another, over all of them.
const WORK: usize = 1_000_000;

/// Warns of each rule that could as well not be there.
pub fn check(compiled: &Compiled, diags: &mut Diagnostics) {
    let build = &compiled.build;
    for rule in &compiled.model.rules {
        if let Some(until) =
            rule.until.as_ref().filter(|_| rule.is_expired(compiled.model.now_unix_s))
        {
            let (name, when) = (rule.name.clone(), until::show(until.at_unix_s));
            let help = "take it out, or give it a new end";
            diags.push(Diagnostic::new(Problem::ExpiredRule { name, when }, rule.span).help(help));
        }
    }
    let decides = deciders(compiled);
    let reaches = Reaches::new(compiled);
    let mut cover = Cover { compiled, work: WORK };
    for (i, (rule, key)) in build.expanded.rules.iter().zip(&build.rules).enumerate() {
        // What a kind says cannot be edited, and says more than one thing.
        if rule.name.contains(':') {
            continue;
        }
        if let Some(diagnostic) = never_matches(compiled, &reaches, rule, key) {
            diags.push(diagnostic);
        } else if !decides[i + 1] && rule.action != Action::Pass && !waits(&compiled.model, rule) {
            diags.push(cover.explain(rule, key));
        }
    }
}

/// Of each rule id: does a cell name it?
fn deciders(compiled: &Compiled) -> Vec<bool> {
    let mut decides = vec![false; compiled.build.expanded.rules.len() + 1];
    for &cell in compiled.image.cells.iter().chain(&compiled.image.shadows) {
        decides[Cell(cell).rule() as usize] = true;
    }
    decides
}

/// Does the rule name a declared label that nobody wears yet? That is warned of by itself.
fn waits(model: &Model, rule: &Rule) -> bool {
    let unworn = |e: Endpoint| matches!(e, Endpoint::Label(l) if model.labels[l].guests.is_empty());
    let mut open: Vec<Endpoint> = rule.from.iter().chain(&rule.to).map(|t| t.endpoint).collect();
    let mut seen = HashSet::new();
    let terms = |list: &[Term]| list.iter().map(|t| t.endpoint).collect::<Vec<_>>();
    while let Some(endpoint) = open.pop() {
        match endpoint {
            _ if !seen.insert(endpoint) => {}
            _ if unworn(endpoint) => return true,
            Endpoint::Set(s) => open.extend(terms(&model.sets[s].members)),
            Endpoint::Selector(s) => open.extend(terms(&model.selectors[s].terms)),
            _ => {}
        }
    }
    false
}

/// No packet can be what the rule speaks about.
fn never_matches(
    compiled: &Compiled,
    reaches: &Reaches<'_>,
    rule: &Rule,
    key: &RuleKey,
) -> Option<Diagnostic> {
    let why = match reaches.of(key.from, key.to, key.services) {
        Reach::Possible => return None,
        Reach::NoWay { .. } if rule.action != Action::Allow => return None,
        Reach::Nobody if waits(&compiled.model, rule) => return None,
        Reach::Nobody => "one of its sides covers no address that a packet could have".to_owned(),
        Reach::Family => "its two sides have no address family in common".to_owned(),
        Reach::Service => "its services belong to the other address family".to_owned(),
        Reach::NoWay { network } => {
            let name = &compiled.model.networks[network].name;
            format!("`{name}` has no gateway, so nothing is routed into or out of it")
        }
    };
    let problem = Problem::NeverMatches { name: rule.name.clone(), why };
    Some(Diagnostic::new(problem, rule.span))
}

/// Finds out which rules decide in place of another.
struct Cover<'a> {
    compiled: &'a Compiled,
    /// Cells that may still be looked at.
    work: usize,
}

impl Cover<'_> {
    fn explain(&mut self, rule: &Rule, key: &RuleKey) -> Diagnostic {
        let (same, against) = self.deciders(rule, key);
        let rules = &self.compiled.build.expanded.rules;
        let name = rule.name.clone();
        let problem = if same.is_empty() && !against.is_empty() {
            Problem::Overruled { name, action: rule.action.name() }
        } else {
            Problem::NeverDecides { name }
        };
        let mut diagnostic = Diagnostic::new(problem, rule.span);
        for (list, verb) in [(&same, "says it already"), (&against, "overrules it")] {
            for &other in list.iter().take(NAMED) {
                let other = &rules[other as usize];
                diagnostic = diagnostic.label(other.span, format!("`{}` {verb}", other.name));
            }
            if list.len() > NAMED {
                diagnostic = diagnostic.help(format!("and {} more", list.len() - NAMED));
            }
        }
        diagnostic
    }

    /// Indexes of the rules that decide what this one speaks about, those of the same action
    /// and the others.
    fn deciders(&mut self, rule: &Rule, key: &RuleKey) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let build = &self.compiled.build;
        let image = &self.compiled.image;
        let cells =
            if rule.observe && !image.shadows.is_empty() { &image.shadows } else { &image.cells };
        let services = build.services.of_list(key.services);
        let mut rows: HashSet<u32> = HashSet::new();
        let (mut same, mut against) = (BTreeSet::new(), BTreeSet::new());
        for &src in build.classes.of_list(key.from) {
            for &dst in build.classes.of_list(key.to) {
                let row = image.rows[(src * image.classes + dst) as usize];
                if !rows.insert(row) || self.work < services.len() {
                    continue;
                }
                self.work -= services.len();
                for &service in services {
                    let cell = Cell(cells[(row * image.services + service) as usize]);
                    let Some(other) = cell.rule().checked_sub(1) else { continue };
                    let allows = rule.action == Action::Allow;
                    if cell.allows() == allows { &mut same } else { &mut against }.insert(other);
                }
            }
        }
        (same, against)
    }
}
