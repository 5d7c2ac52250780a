//! From lists where the first match decides to rules where order does not matter.
//!
//! What a gate rejects may always be a deny rule, because a connection has to pass all its
//! gates and deny beats allow. So a denying step becomes a deny rule as it stands, if no step
//! before it in its gate accepts any of the same; if one does, what it denies is taken out of
//! the accepting steps behind it instead. Where several gates meet, the first one's accepting
//! steps become the allow rules, and what the others reject is denied.

use crate::{
    flatten::{FlatGate, Step},
    grid::{Possible, Shape},
    program::{Line, Target},
};

/// More rules than anybody would want to have.
const RULES_MAX: usize = 20_000;

/// A rule in the making.
#[derive(Clone, Debug)]
pub struct Piece<'a> {
    /// Does it allow?
    pub allow: bool,
    /// Which connections.
    pub shape: Shape,
    /// The line that it comes from.
    pub line: &'a Line,
    /// Is it logged?
    pub log: bool,
}

/// What came of a source.
pub struct Unordered<'a> {
    /// The rules: order does not matter, deny beats allow.
    pub pieces: Vec<Piece<'a>>,
    /// Lines that never decide anything, because lines before them decide it all.
    pub dead: Vec<&'a Line>,
    /// Log lines that no rule could take over.
    pub unlogged: Vec<&'a Line>,
}

/// There would be too many rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {RULES_MAX} rules are needed to say without order what these lists say")]
pub struct TooMany;

/// Takes the order out.
pub fn unorder<'a>(gates: &[FlatGate<'a>], possible: &Possible) -> Result<Unordered<'a>, TooMany> {
    let gates: Vec<Ordered<'a, '_>> =
        gates.iter().map(|gate| Ordered::new(gate, possible)).collect();
    let mut allows = Vec::new();
    let mut denied = Vec::new();
    for (i, gate) in gates.iter().enumerate() {
        let before = gates[..i].iter().map(|g| &g.gate.region);
        let primary = gate.gate.region.minus_all(before).ok_or(TooMany)?;
        allows.extend(gate.allows(&primary)?);
        check(allows.len())?;
    }
    for (i, gate) in gates.iter().enumerate() {
        let before: Vec<&Shape> = gates[..i].iter().map(|g| &g.gate.region).collect();
        let (whole, partial) = gate.denies(&before, &allows)?;
        denied.extend(whole);
        allows = without(allows, &partial, possible)?;
        check(denied.len() + allows.len())?;
    }
    let mut pieces: Vec<Piece<'a>> = allows;
    drop_covered(&mut pieces);
    pieces.extend(denied);
    merge(&mut pieces);
    Ok(Unordered { pieces, dead: dead(&gates), unlogged: unlogged(&gates) })
}

fn check(rules: usize) -> Result<(), TooMany> {
    if rules > RULES_MAX { Err(TooMany) } else { Ok(()) }
}

/// A gate, and for each of its steps whether it can be a deny rule as it stands.
struct Ordered<'a, 'g> {
    gate: &'g FlatGate<'a>,
    possible: &'g Possible,
    steps: Vec<Decides<'a, 'g>>,
}

struct Decides<'a, 'g> {
    step: &'g Step<'a>,
    log: bool,
    /// It denies, and nothing before it accepts any of it.
    plain_deny: bool,
    /// Steps before it leave nothing to it.
    dead: bool,
}

impl<'a, 'g> Ordered<'a, 'g> {
    fn new(gate: &'g FlatGate<'a>, possible: &'g Possible) -> Self {
        let mut steps: Vec<Decides<'a, 'g>> = Vec::new();
        let mut logs: Vec<&Shape> = Vec::new();
        for step in &gate.steps {
            if step.line.target == Target::Log {
                logs.push(&step.shape);
                continue;
            }
            let before = || steps.iter().map(|d| d.step);
            let accepts = |s: &&Step<'_>| s.line.target == Target::Accept;
            let left = step.shape.minus_all(before().map(|s| &s.shape));
            steps.push(Decides {
                step,
                log: step.line.log || logs.iter().any(|l| step.shape.is_within(l)),
                plain_deny: step.line.target == Target::Drop
                    && !before().filter(accepts).any(|s| s.shape.meets(&step.shape)),
                dead: left.is_some_and(|left| left.is_empty()),
            });
        }
        Self { gate, possible, steps }
    }

    /// The accepting steps inside of some connections, without what steps before them deny,
    /// unless a deny rule will say it.
    fn allows(&self, inside: &[Shape]) -> Result<Vec<Piece<'a>>, TooMany> {
        let mut pieces = Vec::new();
        for (k, at) in self.steps.iter().enumerate() {
            if at.step.line.target != Target::Accept || at.dead {
                continue;
            }
            let taken = || {
                let before = self.steps[..k].iter();
                before.filter(|d| d.step.line.target == Target::Drop && !d.plain_deny)
            };
            for region in inside {
                let whole = self.possible.trim(&at.step.shape.and(region));
                if whole.is_empty() {
                    continue;
                }
                let left = whole.minus_all(taken().map(|d| &d.step.shape)).ok_or(TooMany)?;
                let left = left.iter().map(|shape| self.possible.trim(shape));
                pieces.extend(left.filter(|shape| !shape.is_empty()).map(|shape| Piece {
                    allow: true,
                    shape,
                    line: at.step.line,
                    log: at.log,
                }));
            }
        }
        Ok(pieces)
    }

    /// The denying steps, as far as they are needed against some allow rules: those that can be
    /// rules, and those that are better taken out of the allow rules, because "all services but
    /// these" is hundreds of numbers. `before` are the regions of gates whose allow rules reach
    /// into this one.
    fn denies(
        &self,
        before: &[&Shape],
        allows: &[Piece<'a>],
    ) -> Result<(Vec<Piece<'a>>, Vec<Shape>), TooMany> {
        let (mut pieces, mut partial) = (Vec::new(), Vec::new());
        for (k, at) in self.steps.iter().enumerate() {
            if at.step.line.target != Target::Drop || at.dead {
                continue;
            }
            let mut shapes = Vec::new();
            if at.plain_deny {
                shapes.push(at.step.shape.clone());
            } else {
                let accepted = || {
                    let earlier = self.steps[..k].iter();
                    earlier.filter(|d| d.step.line.target == Target::Accept).map(|d| &d.step.shape)
                };
                for region in before {
                    let there = at.step.shape.and(region);
                    shapes.extend(there.minus_all(accepted()).ok_or(TooMany)?);
                }
            }
            let needed = |shape: &Shape| allows.iter().any(|a| a.shape.meets(shape));
            let mut shapes: Vec<Shape> =
                shapes.iter().map(|shape| self.possible.trim(shape)).collect();
            shapes.retain(|shape| !shape.is_empty() && needed(shape));
            if !at.plain_deny {
                let every =
                    |s: &Shape| Shape { services: self.gate.region.services.clone(), ..s.clone() };
                let is_whole = |s: &Shape| self.possible.trim(&every(s)).is_within(s);
                let (whole, rest) = shapes.into_iter().partition(is_whole);
                shapes = whole;
                partial.extend::<Vec<Shape>>(rest);
            }
            pieces.extend(shapes.into_iter().map(|shape| Piece {
                allow: false,
                shape,
                line: at.step.line,
                log: at.log,
            }));
        }
        Ok((pieces, partial))
    }
}

/// Allow rules without some connections.
fn without<'a>(
    pieces: Vec<Piece<'a>>,
    taken: &[Shape],
    possible: &Possible,
) -> Result<Vec<Piece<'a>>, TooMany> {
    let mut left = Vec::new();
    for piece in pieces {
        let shapes = piece.shape.minus_all(taken.iter()).ok_or(TooMany)?;
        let shapes = shapes.iter().map(|shape| possible.trim(shape)).filter(|s| !s.is_empty());
        left.extend(shapes.map(|shape| Piece { shape, ..piece.clone() }));
        check(left.len())?;
    }
    Ok(left)
}

/// Lines that are reached, and decide nothing wherever they are reached.
fn dead<'a>(gates: &[Ordered<'a, '_>]) -> Vec<&'a Line> {
    let all = || gates.iter().flat_map(|g| &g.steps);
    let alive = |line: &Line| all().any(|d| !d.dead && std::ptr::eq(d.step.line, line));
    distinct(all().filter(|d| d.dead && !alive(d.step.line)).map(|d| d.step.line))
}

/// Log lines after which no deciding step is within what they log.
fn unlogged<'a>(gates: &[Ordered<'a, '_>]) -> Vec<&'a Line> {
    let is_log = |s: &&Step<'a>| s.line.target == Target::Log;
    let used = |line: &Line| {
        gates.iter().any(|g| {
            let shapes = g.gate.steps.iter().filter(|s| std::ptr::eq(s.line, line));
            shapes.clone().any(|log| {
                g.steps.iter().any(|d| !d.dead && d.log && d.step.shape.is_within(&log.shape))
            })
        })
    };
    let logs = gates.iter().flat_map(|g| &g.gate.steps).filter(is_log);
    distinct(logs.map(|s| s.line).filter(|line| !used(line)))
}

fn distinct<'a>(lines: impl Iterator<Item = &'a Line>) -> Vec<&'a Line> {
    let mut seen: Vec<&'a Line> = Vec::new();
    for line in lines {
        if !seen.iter().any(|s| std::ptr::eq(*s, line)) {
            seen.push(line);
        }
    }
    seen
}

/// Leaves out allow rules that another one says already.
fn drop_covered(pieces: &mut Vec<Piece<'_>>) {
    let mut kept: Vec<Piece<'_>> = Vec::new();
    for piece in pieces.drain(..) {
        let covers = |k: &Piece<'_>| piece.shape.is_within(&k.shape) && (k.log || !piece.log);
        if !kept.iter().any(covers) {
            kept.push(piece);
        }
    }
    *pieces = kept;
}

/// Puts the pieces of one line together that differ in one side only: the rule of a security
/// group that many guests use is one rule.
fn merge(pieces: &mut Vec<Piece<'_>>) {
    let mut i = 0;
    while i < pieces.len() {
        let partner =
            (i + 1..pieces.len()).find_map(|j| Some((j, joined(&pieces[i], &pieces[j])?)));
        match partner {
            Some((j, shape)) => {
                pieces[i].shape = shape;
                pieces.remove(j);
            }
            None => i += 1,
        }
    }
}

fn joined(a: &Piece<'_>, b: &Piece<'_>) -> Option<Shape> {
    let same_line = a.line.place == b.line.place && a.line.text == b.line.text;
    if a.allow != b.allow || a.log != b.log || !same_line {
        return None;
    }
    let (from, to, services) = (
        a.shape.from == b.shape.from,
        a.shape.to == b.shape.to,
        a.shape.services == b.shape.services,
    );
    let mut shape = a.shape.clone();
    match (from, to, services) {
        (true, _, true) => shape.to = shape.to.or(&b.shape.to),
        (_, true, true) => shape.from = shape.from.or(&b.shape.from),
        (true, true, _) => shape.services = shape.services.or(&b.shape.services),
        _ => return None,
    }
    Some(shape)
}
