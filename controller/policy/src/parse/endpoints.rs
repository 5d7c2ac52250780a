//! Endpoints where they are used, and `sets:`.

use ipnet::IpNet;

use super::{Builder, keys, reader};
use crate::{
    diagnostic::Diagnostic,
    model::{Combine, Endpoint, Model, Selector, Set, Term},
    problem::Problem,
    yaml::{Key, Node, Value},
};

const ENDPOINT: &str = "guest, label, network or set";
/// How a selector says how its terms go together.
const COMBINE: &[(&str, &str, Combine)] = &[
    ("all of", "`all of`", Combine::All),
    ("any of", "`any of`", Combine::Any),
    ("not", "`not`", Combine::Not),
];
/// Kept for names of the outside world whose addresses are looked up and pinned.
pub const DOMAIN: &str = "domain";

impl Builder<'_> {
    /// A list of endpoints, meaning all of them together.
    pub fn terms(&mut self, node: &Node, what: &'static str) -> Vec<Term> {
        let items = match &node.value {
            Value::Map(_) => std::slice::from_ref(node),
            _ => reader::list(node, what, self.diags),
        };
        reader::refuse_empty(node, what, self.diags);
        items.iter().filter_map(|item| self.term(item)).collect()
    }

    fn term(&mut self, node: &Node) -> Option<Term> {
        if let Value::Map(entries) = &node.value {
            return self.selector(node, entries);
        }
        let text = reader::text(node, "an endpoint", self.diags)?;
        let endpoint = match self.names.find(text) {
            Some(endpoint) => endpoint,
            None if looks_like_address(text) => Endpoint::Prefix(self.literal(text, node)?),
            None => {
                self.names.unknown(text, node.span, ENDPOINT, |_| true, self.diags);
                return None;
            }
        };
        Some(Term { endpoint, span: node.span })
    }

    /// `{ all of: [...] }`, `{ any of: [...] }` or `{ not: ... }`.
    fn selector(&mut self, node: &Node, entries: &[(Key, Node)]) -> Option<Term> {
        if let Some((key, _)) = entries.iter().find(|(key, _)| key.text == DOMAIN) {
            let what = "domain names as endpoints".to_owned();
            let help = "list its addresses, under a name in `sets:`";
            self.diags
                .push(Diagnostic::new(Problem::NotSupportedYet { what }, key.span).help(help));
            return None;
        }
        let table = reader::table(node, "a selector", keys::SELECTOR, self.diags)?;
        let mut said = COMBINE.iter().filter_map(|&(word, what, combine)| {
            let of = table.get(word)?;
            Some((word, what, combine, of))
        });
        let Some((word, what, combine, of)) = said.next() else {
            if entries.is_empty() {
                self.diags.report(Problem::EmptySelector { what: "a selector".into() }, node.span);
            }
            return None;
        };
        if let Some((other, ..)) = said.next() {
            let problem = Problem::TwoCombinations { first: word, second: other };
            let at = table.key(other).map_or(node.span, |k| k.span);
            let help = "put one inside the other: `all of: [web, { not: test }]`";
            self.diags.push(Diagnostic::new(problem, at).help(help));
        }
        let terms = self.terms(of, what);
        if terms.is_empty() {
            return None;
        }
        let index = self.model.selectors.len();
        self.model.selectors.push(Selector { span: node.span, combine, terms });
        Some(Term { endpoint: Endpoint::Selector(index), span: node.span })
    }

    /// An address or a prefix.
    fn literal(&mut self, text: &str, node: &Node) -> Option<IpNet> {
        if !text.contains('/') {
            return reader::address(text, node.span, self.diags).map(IpNet::from);
        }
        let net = reader::prefix(text, node.span, self.diags)?;
        match reader::unusable_block(net) {
            Some(why) => {
                self.diags.report(Problem::UnusablePrefix { got: net, why }, node.span);
                None
            }
            None => Some(net),
        }
    }

    /// Sets may name each other in any order, so all get their names first.
    pub fn declare_sets(&mut self, sets: &[&(Key, Node)]) {
        for (i, (key, _)) in sets.iter().enumerate() {
            self.names.declare(key, Endpoint::Set(i), self.diags);
        }
        for (key, node) in sets {
            let set = self.set(key, node);
            self.model.sets.push(set);
        }
        self.refuse_cycles();
    }

    /// A list of members, or `{ members: [...], except: [...] }`.
    fn set(&mut self, key: &Key, node: &Node) -> Set {
        let mut set =
            Set { name: key.text.clone(), span: key.span, members: vec![], except: vec![] };
        let selects = |(key, _): &(Key, Node)| {
            let key = key.text.as_str();
            key == DOMAIN || keys::SELECTOR.contains(&key)
        };
        let is_table = match &node.value {
            Value::Map(entries) => !entries.first().is_some_and(selects),
            _ => false,
        };
        if !is_table {
            set.members = self.terms(node, "a set");
            return set;
        }
        let Some(table) = reader::table(node, "a set", keys::SET, self.diags) else {
            return set;
        };
        if let Some(node) = table.need("members", key.span, self.diags) {
            set.members = self.terms(node, "`members`");
        }
        if let Some(node) = table.get("except") {
            set.except = self.terms(node, "`except`");
        }
        set
    }

    /// Reports each set that reaches itself, and empties it so that nobody walks in circles.
    fn refuse_cycles(&mut self) {
        for start in 0..self.model.sets.len() {
            if reaches(&self.model, start) {
                let set = &mut self.model.sets[start];
                let problem = Problem::SetCycle { name: set.name.clone() };
                self.diags.push(
                    Diagnostic::new(problem, set.span)
                        .help("take the set out of its own members, or out of theirs"),
                );
                set.members.clear();
                set.except.clear();
            }
        }
    }
}

/// Does a set reach itself through its members?
fn reaches(model: &Model, start: usize) -> bool {
    let mut seen = vec![false; model.sets.len()];
    let mut open = named_by(model, start);
    while let Some(i) = open.pop() {
        if i == start {
            return true;
        }
        if !std::mem::replace(&mut seen[i], true) {
            open.extend(named_by(model, i));
        }
    }
    false
}

/// The sets that a set names, directly or inside a selector.
fn named_by(model: &Model, set: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let mut open: Vec<Endpoint> = Vec::new();
    let endpoints = |terms: &[Term]| terms.iter().map(|t| t.endpoint).collect::<Vec<_>>();
    open.extend(endpoints(&model.sets[set].members));
    open.extend(endpoints(&model.sets[set].except));
    while let Some(endpoint) = open.pop() {
        match endpoint {
            Endpoint::Set(i) if i < model.sets.len() => found.push(i),
            Endpoint::Selector(i) => open.extend(endpoints(&model.selectors[i].terms)),
            _ => {}
        }
    }
    found
}

/// Names begin with a letter and hold neither `:` nor `/`: what is no name is meant as an
/// address, and gets the address's error message when it is none.
fn looks_like_address(text: &str) -> bool {
    text.contains([':', '/']) || text.starts_with(|c: char| c.is_ascii_digit())
}
