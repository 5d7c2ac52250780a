//! Endpoints where they are used, and `sets:`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Builder, reader};
use crate::{
    diagnostic::Diagnostic,
    model::{Endpoint, Set, Term},
    problem::Problem,
    yaml::{Key, Node, Value},
};

impl Builder<'_> {
    /// A list of endpoints, meaning all of them together.
    pub fn terms(&mut self, node: &Node, what: &'static str) -> Vec<Term> {
        let items = reader::list(node, what, self.diags);
        if items.is_empty() && matches!(node.value, Value::List(_)) {
            self.diags.report(Problem::EmptySelector { what: what.into() }, node.span);
        }
        items.iter().filter_map(|item| self.term(item)).collect()
    }

    fn term(&mut self, node: &Node) -> Option<Term> {
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
        if !matches!(node.value, Value::Map(_)) {
            set.members = self.terms(node, "a set");
            return set;
        }
        let Some(table) = reader::table(node, "a set", &["members", "except"], self.diags) else {
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
            if reaches(&self.model.sets, start) {
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

const ENDPOINT: &str = "guest, label, network or set";

/// Does a set reach itself through its members?
fn reaches(sets: &[Set], start: usize) -> bool {
    let parts = |i: usize| {
        let terms = sets[i].members.iter().chain(&sets[i].except);
        terms.filter_map(|t| match t.endpoint {
            Endpoint::Set(j) if j < sets.len() => Some(j),
            _ => None,
        })
    };
    let mut seen = vec![false; sets.len()];
    let mut open: Vec<usize> = parts(start).collect();
    while let Some(i) = open.pop() {
        if i == start {
            return true;
        }
        if !std::mem::replace(&mut seen[i], true) {
            open.extend(parts(i));
        }
    }
    false
}

/// Names begin with a letter and hold neither `:` nor `/`: what is neither is meant as an
/// address, and gets the address's error message when it is none.
fn looks_like_address(text: &str) -> bool {
    text.contains([':', '/'])
        || text.parse::<IpAddr>().is_ok()
        || text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}
