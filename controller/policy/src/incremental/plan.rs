//! What a new text changes, if it is little enough to be looked at by itself.

use std::ops::Range;

use super::{
    difference::Difference,
    items::{self, Dirty},
    selectors::Reselected,
    shift::Shift,
    unnamed::Renamed,
};
use crate::{
    Compiled,
    diagnostic::Diagnostics,
    model::{Demand, Endpoint, Invariant, Model, Rule},
    moment::Moment,
    parse::{self, Rest, Section},
    source::{Sources, Span},
    yaml,
};

/// Rules or invariants that took the place of others, and text that moved.
#[derive(Debug)]
pub struct Plan {
    /// What moves, by its place in the old text.
    pub shift: Shift,
    /// How many lines further down it stands.
    pub lines: i64,
    /// The places of the items that are gone, in the old text.
    pub gone: Range<Span>,
    /// What took their place.
    pub instead: Instead,
    /// What behind it is called otherwise now.
    pub renamed: Renamed,
    /// Selectors that took the place of others; nothing: they are what they were.
    pub reselected: Option<Reselected>,
}

/// Items that took the place of others in the model.
#[derive(Debug)]
pub enum Instead {
    /// Nothing did: only the moment is another.
    Nothing,
    Rules(Range<usize>, Vec<Rule>),
    Invariants(Range<usize>, Vec<Invariant>),
}

impl Plan {
    /// Compares texts and moments. `None`: the whole policy has to be compiled.
    pub fn new(
        last: &Compiled,
        moment_then: &Moment,
        sources: &Sources,
        moment: &Moment,
    ) -> Option<Self> {
        if !same_ends(&last.model, moment_then, moment) {
            return None;
        }
        let then = &last.model.sources;
        let Some((file, difference)) = one_difference(then, sources)? else {
            return Some(Self::nothing());
        };
        if then.files()[file as usize].is_list() {
            return None;
        }
        let (old, new) =
            (then.files()[file as usize].text(), sources.files()[file as usize].text());
        let rules: Vec<Span> = last.model.rules.iter().map(|r| r.span).collect();
        let invariants: Vec<Span> = last.model.invariants.iter().map(|i| i.span).collect();
        let find = |change: Range<usize>| {
            let in_rules = items::dirty(old, file, &rules, change.clone());
            in_rules.map(|dirty| (dirty, Section::Rules)).or_else(|| {
                let dirty = items::dirty(old, file, &invariants, change)?;
                let section = section_of(&last.model.invariants[dirty.items.clone()])?;
                Some((dirty, section))
            })
        };
        let change = difference.start..difference.old_end;
        let lines_now = |dirty: &Dirty| {
            let end = (dirty.bytes.end as i64 + difference.shift()) as usize;
            new.get(dirty.bytes.start..end).filter(|lines| items::are_items(lines, dirty.indent))
        };
        let (mut dirty, mut section) = find(change.clone())?;
        if lines_now(&dirty).is_none() {
            // Where no item begins any more, the lines belong to the item before.
            (dirty, section) = find(dirty.bytes.start.checked_sub(1)?..change.end)?;
        }
        let lines = lines_now(&dirty)?;
        let rest = Rest { sources, moment, names: &last.names, services: &last.model.services };
        let now = dirty.bytes.start..dirty.bytes.start + lines.len();
        let part = read(&rest, section, file, now)?;
        let breaks = |text: &str| text.bytes().filter(|&b| b == b'\n').count() as i64;
        let lines = breaks(lines) - breaks(&old[dirty.bytes.clone()]);
        let shift = Shift { file, from: dirty.bytes.end as u32, by: difference.shift() };
        let gone = lines_of(file, &dirty.bytes);
        let renamed = Renamed::new(&last.model, shift, lines)?;
        let (instead, reselected) = instead(&last.model, section, dirty, part)?;
        Some(Self { shift, lines, gone, instead, renamed, reselected })
    }

    fn nothing() -> Self {
        Self {
            shift: Shift { file: 0, from: 0, by: 0 },
            lines: 0,
            gone: lines_of(0, &(0..0)),
            instead: Instead::Nothing,
            renamed: Renamed::default(),
            reselected: None,
        }
    }
}

/// A range of places that holds everything that begins in these bytes.
fn lines_of(file: u32, bytes: &Range<usize>) -> Range<Span> {
    let at = |byte: usize| Span { file, start: byte as u32, end: 0 };
    at(bytes.start)..at(bytes.end)
}

/// Does the other moment change no rule?
fn same_ends(model: &Model, then: &Moment, now: &Moment) -> bool {
    then == now
        || model.rules.iter().filter_map(|r| Some((r, r.until.as_ref()?))).all(|(rule, until)| {
            let expires = rule.is_expired(then.now_unix_s) != rule.is_expired(now.now_unix_s);
            let moves = until.anchor.as_ref().is_some_and(|anchor| {
                let since = now.since_unix_s.get(&anchor.key).copied();
                since.unwrap_or(now.now_unix_s) != anchor.since_unix_s
            });
            !expires && !moves
        })
}

/// The one file that changed and where; `None` inside if none did, outside if it is more.
fn one_difference(then: &Sources, now: &Sources) -> Option<Option<(u32, Difference)>> {
    let (then, now) = (then.files(), now.files());
    if then.len() != now.len() || then.iter().zip(now).any(|(a, b)| a.name() != b.name()) {
        return None;
    }
    let mut found = None;
    for (i, (a, b)) in (0..).zip(then.iter().zip(now)) {
        if let Some(difference) = Difference::between(a.text(), b.text())
            && found.replace((i, difference)).is_some()
        {
            return None;
        }
    }
    Some(found)
}

/// The section that invariants stand in, if it is one.
fn section_of(invariants: &[Invariant]) -> Option<Section> {
    let section = |i: &Invariant| match i.demand {
        Demand::Always => Section::Always,
        Demand::Never | Demand::NeverUnnamed => Section::Never,
    };
    let first = section(invariants.first()?);
    invariants.iter().all(|i| section(i) == first).then_some(first)
}

/// Reads lines again; `None` if anything is to be said about them.
fn read(rest: &Rest<'_>, section: Section, file: u32, bytes: Range<usize>) -> Option<Model> {
    let mut diags = Diagnostics::new(rest.sources);
    if rest.sources.files()[file as usize].text()[bytes.clone()].trim().is_empty() {
        return Some(Model::default());
    }
    let root = yaml::lines(rest.sources, file, bytes, &mut diags)?;
    let part = parse::part(rest, section, &root, &mut diags)?;
    diags.is_empty().then_some(part)
}

/// Puts new items in the place of old ones, if what they say depends on themselves alone.
fn instead(
    model: &Model,
    section: Section,
    dirty: Dirty,
    part: Model,
) -> Option<(Instead, Option<Reselected>)> {
    let Dirty { items, followed, .. } = dirty;
    let Model { mut rules, invariants, selectors, .. } = part;
    // A list whose last item went is no list any more.
    if rules.is_empty() && invariants.is_empty() && !followed {
        return None;
    }
    if section == Section::Rules {
        let names: Vec<&str> = rules.iter().map(|r| r.name.as_str()).collect();
        if clash(&names, model.rules.iter().map(|r| r.name.as_str()), &items) {
            return None;
        }
        let reselected = Reselected::new(model, &items, &mut rules, selectors);
        return Some((Instead::Rules(items, rules), reselected));
    }
    let names: Vec<&str> = invariants.iter().map(|i| i.name.as_str()).collect();
    let clash = clash(&names, model.invariants.iter().map(|i| i.name.as_str()), &items);
    let selects = |i: &Invariant| {
        i.from.iter().chain(&i.to).any(|t| matches!(t.endpoint, Endpoint::Selector(_)))
    };
    let selects = !selectors.is_empty() || model.invariants[items.clone()].iter().any(selects);
    (!clash && !selects).then_some((Instead::Invariants(items, invariants), None))
}

/// Has one of these names another item already?
fn clash<'a>(names: &[&str], others: impl Iterator<Item = &'a str>, but: &Range<usize>) -> bool {
    let others = others.enumerate().filter(|(i, _)| !but.contains(i));
    let taken = others.map(|(_, name)| name).any(|name| names.contains(&name));
    taken || names.iter().enumerate().any(|(i, name)| names[..i].contains(name))
}
