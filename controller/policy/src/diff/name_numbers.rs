//! Names for sets of services, as few as there can be.

use std::{cell::RefCell, cmp::Reverse, collections::HashMap};

use super::{
    bits::Bits,
    group::Services,
    numbers::{Numbers, Piece},
};
use crate::{
    Compiled, catalogue,
    model::{Ports, Protocol},
};

/// Finds names for services.
pub struct NumberNames<'a, const N: usize> {
    numbers: &'a Numbers<N>,
    names: Vec<Name>,
    /// Task to answer: the same services come again and again.
    known: RefCell<HashMap<(Bits, Bits), Vec<Services>>>,
}

struct Name {
    text: String,
    ports: Vec<Ports>,
    /// Pieces that it has whole, ascending.
    inside: Vec<usize>,
    /// Pieces that it has in part.
    partly: Vec<usize>,
    /// Is it of a whole protocol? Only then exceptions read well.
    wide: bool,
}

impl<'a, const N: usize> NumberNames<'a, N> {
    /// The names that the rules of a policy use come first, then its own, then the built-in ones.
    pub fn new(numbers: &'a Numbers<N>, compiled: &Compiled) -> Self {
        let mut names: Vec<Name> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let model = &compiled.model;
        let used = model.rules.iter().flat_map(|r| &r.services).filter(|s| s.name != "any");
        let own = used.chain(&model.services).map(|s| (s.name.clone(), s.ports.clone()));
        let mut built_in: Vec<&str> = catalogue::names().collect();
        built_in.sort_by_key(|name| name.len());
        let built_in = built_in.into_iter();
        let built_in = built_in.filter_map(|n| Some((n.to_owned(), catalogue::find(n)?)));
        let all = Protocol::ALL.map(Ports::all).to_vec();
        let wide =
            [("any".to_owned(), all), ("proto".to_owned(), vec![Ports::all(Protocol::Proto)])];
        for (text, ports) in wide.into_iter().chain(own).chain(built_in) {
            if seen.insert(text.clone()) {
                names.push(Name::new(text, ports, &numbers.pieces));
            }
        }
        Self { numbers, names, known: RefCell::default() }
    }

    /// Names for some joint classes. Those of `may` can be named with them where that is shorter.
    pub fn of_classes(&self, must: &Bits, may: &Bits) -> Vec<Services> {
        let key = (must.clone(), may.clone());
        if let Some(known) = self.known.borrow().get(&key) {
            return known.clone();
        }
        let has = |bits: &Bits| -> Vec<bool> {
            self.numbers.pieces.iter().map(|p| bits.has(p.class)).collect()
        };
        let left = has(must);
        let ok: Vec<bool> = left.iter().zip(has(may)).map(|(a, b)| *a || b).collect();
        let found = self.cover(left.clone(), &ok, true);
        self.known.borrow_mut().insert(key, found.clone());
        found
    }

    /// Greedy: the name that says most for its length, until nothing is left.
    fn cover(&self, mut left: Vec<bool>, ok: &[bool], except: bool) -> Vec<Services> {
        let mut found = Vec::new();
        loop {
            let offers = self.names.iter().enumerate().filter_map(|(i, name)| {
                let (gain, cost) = self.worth(name, &left, ok, except)?;
                // Everything with a few exceptions says more than any list. Then per name, in
                // hundredths; of equals the shortest, then the first.
                let (worth, wide) = (gain * 100 / cost, name.wide && gain > cost);
                Some(((wide, worth, Reverse(cost), Reverse(i)), name))
            });
            let Some(((_, worth, ..), name)) = offers.max_by_key(|o| o.0) else { break };
            if worth < 100 {
                break;
            }
            let bad = |p: usize| !ok[p] && name.inside.binary_search(&p).is_ok();
            name.inside.iter().filter(|p| ok[**p]).for_each(|&p| left[p] = false);
            let out: Vec<bool> = (0..left.len()).map(bad).collect();
            let may: Vec<bool> = out.iter().zip(ok).map(|(bad, ok)| *bad || !ok).collect();
            let except =
                if out.contains(&true) { self.cover(out, &may, false) } else { Vec::new() };
            found.push(Services { name: name.text.clone(), ports: name.ports.clone(), except });
        }
        found.extend(self.runs(&left).into_iter().flat_map(literals).map(|ports| Services {
            name: ports.to_string(),
            ports: vec![ports],
            except: Vec::new(),
        }));
        found
    }

    /// How many literals a name saves, and how many names it takes.
    fn worth(
        &self,
        name: &Name,
        left: &[bool],
        ok: &[bool],
        except: bool,
    ) -> Option<(usize, usize)> {
        if !name.inside.iter().any(|&p| left[p]) || name.partly.iter().any(|&p| !ok[p]) {
            return None;
        }
        let marked = |wanted: &dyn Fn(usize) -> bool| {
            let mut marks = vec![false; left.len()];
            name.inside.iter().filter(|p| wanted(**p)).for_each(|&p| marks[p] = true);
            self.runs(&marks).into_iter().map(|run| literals(run).len()).sum::<usize>()
        };
        let bad = name.inside.iter().any(|&p| !ok[p]);
        if bad && !(except && name.wide) {
            return None;
        }
        let cost = if bad { 1 + marked(&|p| !ok[p]) } else { 1 };
        Some((marked(&|p| left[p]), cost))
    }

    /// Neighbouring pieces as one.
    fn runs(&self, marks: &[bool]) -> Vec<Ports> {
        let mut runs: Vec<Ports> = Vec::new();
        let marked = self.numbers.pieces.iter().zip(marks).filter(|(_, mark)| **mark);
        let mut pieces: Vec<Ports> = marked.map(|(p, _)| p.ports).collect();
        pieces.sort_by_key(|p| (p.protocol, p.first, p.last, p.source));
        // Neighbouring source ports of the same numbers, then neighbouring numbers.
        pieces.dedup_by(|next, p| {
            let same = (p.protocol, p.first, p.last) == (next.protocol, next.first, next.last);
            let joins = same && p.source.last.checked_add(1) == Some(next.source.first);
            if joins {
                p.source.last = next.source.last;
            }
            joins
        });
        pieces.sort_by_key(|p| (p.protocol, p.source, p.first));
        for p in pieces {
            match runs.last_mut() {
                Some(run)
                    if (run.protocol, run.source) == (p.protocol, p.source)
                        && run.last.checked_add(1) == Some(p.first) =>
                {
                    run.last = p.last;
                }
                _ => runs.push(p),
            }
        }
        runs
    }
}

impl Name {
    fn new(text: String, ports: Vec<Ports>, pieces: &[Piece]) -> Self {
        let (mut inside, mut partly) = (Vec::new(), Vec::new());
        for (i, piece) in pieces.iter().enumerate() {
            if ports.iter().any(|p| contains(p, &piece.ports)) {
                inside.push(i);
            } else if ports.iter().any(|p| meets(p, &piece.ports)) {
                partly.push(i);
            }
        }
        let wide = ports.iter().all(|p| p.first == 0 && p.last == u16::MAX);
        Self { text, ports, inside, partly, wide }
    }
}

fn contains(outer: &Ports, inner: &Ports) -> bool {
    outer.protocol == inner.protocol
        && outer.first <= inner.first
        && inner.last <= outer.last
        && (!outer.protocol.has_ports()
            || outer.source.first <= inner.source.first && inner.source.last <= outer.source.last)
}

fn meets(a: &Ports, b: &Ports) -> bool {
    a.protocol == b.protocol
        && a.first <= b.last
        && b.first <= a.last
        && (!a.protocol.has_ports()
            || a.source.first <= b.source.last && b.source.first <= a.source.last)
}

/// A run of numbers as it can be written: ICMP has no ranges, only types and codes.
fn literals(run: Ports) -> Vec<Ports> {
    let is_icmp = matches!(run.protocol, Protocol::Icmp | Protocol::Icmpv6);
    if !is_icmp || run.first == 0 && run.last == u16::MAX {
        return vec![run];
    }
    let mut all = Vec::new();
    let mut next = u32::from(run.first);
    while next <= u32::from(run.last) {
        let whole = next & 0xff == 0 && next + 0xff <= u32::from(run.last);
        let last = if whole { next + 0xff } else { next };
        all.push(Ports::range(run.protocol, next as u16, last as u16));
        next = last + 1;
    }
    all
}
