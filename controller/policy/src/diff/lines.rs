//! Lines: rectangles with names, a witness, and the responsible rule.

use super::{
    Changed, Line, Responsible, Sign, Witness,
    bits::Bits,
    blame::{Cause, Side},
    cells::{Cells, Reach, side_of},
    group::{Group, Services},
    name_numbers::NumberNames,
    name_places::PlaceNames,
    places::{Extent, Place},
    rectangles::{Rectangle, Task, cover},
};
use crate::{
    explain::{self, Example, describe},
    model::{Protocol, Purpose},
};

/// The names of one of the policies.
pub struct Words<'a> {
    places: PlaceNames<'a, 2>,
    numbers: NumberNames<'a, 2>,
}

impl<'a> Words<'a> {
    /// The names of the old policy (0) or of the new one (1).
    pub fn new(cells: &Cells<'a>, side: usize) -> Self {
        let compiled = [cells.old, cells.new][side];
        Self {
            places: PlaceNames::new(cells.places, side, compiled),
            numbers: NumberNames::new(cells.numbers, compiled),
        }
    }
}

/// The lines of one responsible rule.
pub fn lines(
    cells: &Cells<'_>,
    words: &Words<'_>,
    (sign, cause): (Sign, Cause),
    must: &Changed,
) -> Vec<Line> {
    let Reach { from, to, services } = cells.reach(cause);
    let all = Bits::all(cells.numbers.len());
    // What changes in the same way, as far as the rule speaks about it; and what cannot be.
    let may = |src: usize, dst: usize| {
        let mut may = all.without(cells.possible(sign, src, dst));
        let row = cells.row(src, dst);
        if let (true, true, Some(changed)) = (from.has(src), to.has(dst), &row.changed) {
            may.add(&changed[sign as usize].and(&services));
        }
        must.get(&(src, dst)).into_iter().for_each(|own| may.add(own));
        may
    };
    let line = |rectangle: &Rectangle| {
        let witness = witness(cells, sign, rectangle, must)?;
        let (from, to, services) = name(cells, words, rectangle, &may);
        Some(Line { from, to, services, witness, cause: responsible(cells, cause) })
    };
    let rectangles = cover(Task { must: must.clone(), may: &may });
    // Every rectangle has a connection that must be covered, so none is lost here.
    rectangles.iter().filter_map(line).collect()
}

/// Names for a rectangle: first for its sources, then for its destinations with all of these,
/// then for its services with all of both.
fn name(
    cells: &Cells<'_>,
    words: &Words<'_>,
    rectangle: &Rectangle,
    may: &dyn Fn(usize, usize) -> Bits,
) -> (Vec<Group>, Vec<Group>, Vec<Services>) {
    let Rectangle { from, to, services } = rectangle;
    let classes = cells.places.classes();
    let set = |of: &std::collections::BTreeSet<usize>| Bits::which(classes, |c| of.contains(&c));
    let also_from = Bits::which(classes, |c| to.iter().all(|&d| services.is_within(&may(c, d))));
    let from = words.places.of_classes(&set(from), &also_from);
    let also_to =
        Bits::which(classes, |c| from.classes.iter().all(|s| services.is_within(&may(s, c))));
    let to = words.places.of_classes(&set(to), &also_to);
    let mut also_for = Bits::all(cells.numbers.len());
    for src in from.classes.iter() {
        to.classes.iter().for_each(|dst| also_for = also_for.and(&may(src, dst)));
    }
    (from.groups, to.groups, words.numbers.of_classes(services, &also_for))
}

/// A connection of a rectangle that must be covered: between declared addresses if there is one.
fn witness(
    cells: &Cells<'_>,
    sign: Sign,
    rectangle: &Rectangle,
    must: &Changed,
) -> Option<Witness> {
    let side = side_of(sign);
    let pairs = rectangle.from.iter().flat_map(|&s| rectangle.to.iter().map(move |&d| (s, d)));
    let found = pairs.filter_map(|pair| {
        let service = must.get(&pair)?.and(&rectangle.services).iter().next()?;
        let purpose = cells.numbers.example(service)?;
        let meeting = &cells.meetings[side];
        let v4 = (purpose.protocol != Protocol::Icmpv6).then(|| meeting.pair(pair.0, pair.1, true));
        let v6 =
            || meeting.pair(pair.0, pair.1, false).filter(|_| purpose.protocol != Protocol::Icmp);
        let (src, dst) = v4.flatten().or_else(v6)?;
        Some((src, dst, purpose))
    });
    let place = |at: usize| &cells.places.all[at];
    let best = found.min_by_key(|&(src, dst, _)| {
        let rank = |at: usize| match place(at).extent {
            Extent::Point(_) => 0,
            Extent::Region(_) => 1,
            Extent::Local(..) => 2,
            Extent::HostItself => 3,
        };
        rank(src) + rank(dst)
    });
    best.and_then(|(src, dst, purpose)| spell(cells, side, (place(src), place(dst)), purpose))
}

fn spell(
    cells: &Cells<'_>,
    side: usize,
    (src, dst): (&Place<2>, &Place<2>),
    purpose: Purpose,
) -> Option<Witness> {
    let compiled = [cells.old, cells.new][side];
    let (from, to) = (src.views[side], dst.views[side]);
    let from_addr = from.example?;
    // Two machines of one region.
    let to_addr = if std::ptr::eq(src, dst) { to.other? } else { to.example? };
    let network = [src, dst].into_iter().find(|p| matches!(p.extent, Extent::Local(..)));
    let network = network.and_then(|p| p.views[side].network).map_or(0, |n| n as u32 + 1);
    let example = Example {
        from: describe(compiled, from.atom),
        from_addr: explain::ip(from_addr),
        to: describe(compiled, to.atom),
        to_addr: explain::ip(to_addr),
        service: explain::show_purpose(purpose),
    };
    let stands_in = [src, dst].iter().any(|p| p.extent == Extent::HostItself);
    Some(Witness { example, purpose, network, stands_in })
}

fn responsible(cells: &Cells<'_>, cause: Cause) -> Responsible {
    let compiled = match cause.side {
        Side::Old => cells.old,
        Side::New => cells.new,
    };
    let rule = explain::view(compiled, &compiled.build.expanded.rules[cause.rule]);
    Responsible { why: cause.why, side: cause.side, rule }
}
