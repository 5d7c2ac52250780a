//! The dense tables: which row judges a pair of classes, and what it says of each service.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use portcullis_pipeline::policy::Cell;

use crate::model::{Action, Tier};

/// A rule as numbers.
#[derive(Clone, Copy)]
pub struct RuleKey {
    /// Endpoint list of `from`.
    pub from: u32,
    /// Endpoint list of `to`.
    pub to: u32,
    /// Service list of `for`.
    pub services: u32,
    pub tier: Tier,
    pub action: Action,
    /// Does it decide nothing, and only count what it would?
    pub observe: bool,
    /// When it ends; the end of time for one that does not.
    pub until_unix_s: u64,
}

impl RuleKey {
    /// The order of strength: who decides first. Of equals the one that lasts longest does, of
    /// these the smaller id.
    fn strength(&self) -> u8 {
        match (self.tier, self.action) {
            (Tier::Platform, Action::Deny) => 0,
            (Tier::Platform, Action::Pass) => 1,
            (Tier::Platform, Action::Allow) => 2,
            // Below the tenants there is nothing: the parser refuses `pass` there.
            (Tier::Tenant, Action::Deny | Action::Pass) => 3,
            (Tier::Tenant, Action::Allow) => 4,
        }
    }
}

/// A cell that a platform `pass` left to the tenants. No cell of an image has this bit.
const PASSED: u32 = 1 << 30;
/// No state, no group, no row.
const NONE: u32 = u32::MAX;
/// States that may live at once, in cells over the limit: a few differ by `pass` alone, and are
/// one row in the end.
const SLACK: u64 = 4;

/// Rows and verdicts, every row once.
pub struct Rows {
    /// By `src * classes + dst`.
    pub rows: Vec<u32>,
    /// By `row * services + service`.
    pub cells: Vec<u32>,
    /// What the cells would be if observing rules decided too; empty where there are none.
    pub shadows: Vec<u32>,
}

/// The tables would hold more than this many cells.
#[derive(Debug, PartialEq, Eq)]
pub struct TooManyCells(pub u64);

/// What the tables are made from.
pub struct Input<'a> {
    /// Rule id - 1 to rule.
    pub rules: &'a [RuleKey],
    /// Classes of an endpoint list, ascending.
    pub endpoints: &'a dyn Fn(u32) -> &'a [u32],
    /// Classes of a service list, ascending.
    pub services: &'a dyn Fn(u32) -> &'a [u32],
    /// Number of identity classes.
    pub classes: usize,
    /// Number of service classes.
    pub service_classes: usize,
    /// Most cells that the tables can hold.
    pub limit: u64,
}

/// Rules of one strength with the same `from` and `to`: they apply to the same pairs.
struct Group {
    strength: u8,
    from: u32,
    to: u32,
    /// Ids of the rules; of several for the same services only the one that is named.
    rules: Vec<u32>,
}

/// Builds the tables, the strongest rules first.
///
/// Pairs that are judged alike so far share a state. A group of rules moves each state once, and
/// then only looks up where the pairs go: so the work grows with the pairs that groups speak
/// about and with the distinct rows, not with rules times pairs times services.
pub fn build<'a>(input: &'a Input<'a>) -> Result<Rows, TooManyCells> {
    let ranks = ranks(input.rules);
    let groups = groups(input.rules, &ranks);
    let mut states = States::new(input, ranks);
    let mut of_pair = vec![0u32; input.classes * input.classes];
    for (g, group) in groups.iter().enumerate() {
        for &src in (input.endpoints)(group.from) {
            let row = &mut of_pair[src as usize * input.classes..][..input.classes];
            for &dst in (input.endpoints)(group.to) {
                let pair = &mut row[dst as usize];
                *pair = states.step(*pair, g as u32, group);
            }
        }
        states.settle()?;
    }
    finish(input, of_pair, &states)
}

/// For each rule its place among all, those that last longest first, then as in the text: of
/// equally strong rules the one with the smallest rank is named.
fn ranks(rules: &[RuleKey]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rules.len() as u32).collect();
    order.sort_by_key(|&i| Reverse(rules[i as usize].until_unix_s));
    let mut ranks = vec![0; rules.len()];
    for (rank, &i) in (0..).zip(&order) {
        ranks[i as usize] = rank;
    }
    ranks
}

fn groups(rules: &[RuleKey], ranks: &[u32]) -> Vec<Group> {
    let mut order: Vec<usize> = (0..rules.len()).collect();
    order.sort_by_key(|&i| ranks[i]);
    let mut ids: HashMap<(u8, u32, u32), usize> = HashMap::new();
    let mut said = HashSet::new();
    let mut groups: Vec<Group> = Vec::new();
    for i in order {
        let rule = &rules[i];
        let (strength, from, to) = (rule.strength(), rule.from, rule.to);
        let id = *ids.entry((strength, from, to)).or_insert_with(|| {
            groups.push(Group { strength, from, to, rules: Vec::new() });
            groups.len() - 1
        });
        if said.insert((id, rule.services, rule.observe)) {
            groups[id].rules.push(i as u32 + 1);
        }
    }
    groups.sort_by_key(|g| g.strength);
    groups
}

/// How pairs are judged so far.
struct States<'a> {
    input: &'a Input<'a>,
    ranks: Vec<u32>,
    /// Where observing rules decide too, in the cells of a state: behind all others, or nowhere.
    shadow: Option<usize>,
    /// The cells of each state; empty for one that no pair is in.
    cells: Vec<Vec<u32>>,
    /// How many pairs are in each state.
    pairs: Vec<u32>,
    /// Where the group at hand moves each state, and for which group that holds.
    moved: Vec<(u32, u32)>,
    /// States that the group at hand moved.
    left: Vec<u32>,
    /// Numbers of states that no pair is in.
    free: Vec<u32>,
}

impl<'a> States<'a> {
    fn new(input: &'a Input<'a>, ranks: Vec<u32>) -> Self {
        let observed = input.rules.iter().any(|r| r.observe);
        let shadow = observed.then_some(input.service_classes);
        Self {
            input,
            ranks,
            shadow,
            cells: vec![vec![0; input.service_classes + shadow.unwrap_or(0)]],
            pairs: vec![(input.classes * input.classes) as u32],
            moved: vec![(0, NONE)],
            left: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Moves one pair from a state, by a group.
    fn step(&mut self, state: u32, g: u32, group: &Group) -> u32 {
        let at = state as usize;
        if self.moved[at].1 != g {
            let to = self.apply(state, group).map_or(state, |cells| self.add(cells));
            self.moved[at] = (to, g);
            if to != state {
                self.left.push(state);
            }
        }
        let to = self.moved[at].0;
        self.pairs[at] -= 1;
        self.pairs[to as usize] += 1;
        to
    }

    fn add(&mut self, cells: Vec<u32>) -> u32 {
        if let Some(state) = self.free.pop() {
            self.cells[state as usize] = cells;
            self.moved[state as usize] = (0, NONE);
            return state;
        }
        self.cells.push(cells);
        self.pairs.push(0);
        self.moved.push((0, NONE));
        self.cells.len() as u32 - 1
    }

    /// A state's cells after a group, `None` if it changes none.
    fn apply(&self, state: u32, group: &Group) -> Option<Vec<u32>> {
        let before = &self.cells[state as usize];
        let mut after: Option<Vec<u32>> = None;
        for &rule in &group.rules {
            let key = &self.input.rules[rule as usize - 1];
            let places = [(!key.observe).then_some(0), self.shadow];
            for place in places.into_iter().flatten() {
                for &service in (self.input.services)(key.services) {
                    let s = place + service as usize;
                    let now = after.as_ref().map_or(before[s], |a| a[s]);
                    if let Some(cell) = self.decide(now, rule, group.strength) {
                        after.get_or_insert_with(|| before.clone())[s] = cell;
                    }
                }
            }
        }
        after
    }

    /// What a rule makes of a cell, `None` to leave it. All stronger rules have spoken, and of
    /// the equally strong some.
    fn decide(&self, cell: u32, rule: u32, strength: u8) -> Option<u32> {
        let passes = strength == 1;
        let open = cell == 0 || cell == PASSED && strength >= 3;
        let decider = Cell(cell).rule();
        let equal_but_weaker = decider != 0
            && self.ranks[decider as usize - 1] > self.ranks[rule as usize - 1]
            && self.input.rules[decider as usize - 1].strength() == strength;
        match (passes, open || equal_but_weaker) {
            (_, false) => None,
            (true, true) => Some(PASSED),
            (false, true) => Some(Cell::new(strength == 2 || strength == 4, rule).0),
        }
    }

    /// Frees the states that the group emptied.
    fn settle(&mut self) -> Result<(), TooManyCells> {
        for state in std::mem::take(&mut self.left) {
            if self.pairs[state as usize] == 0 {
                self.cells[state as usize] = Vec::new();
                self.free.push(state);
            }
        }
        let live = (self.cells.len() - self.free.len()) as u64;
        let cells = live * self.input.service_classes as u64;
        if cells > SLACK * self.input.limit { Err(TooManyCells(cells)) } else { Ok(()) }
    }
}

/// States to rows, numbered as they are met; equal ones once.
fn finish(
    input: &Input<'_>,
    mut of_pair: Vec<u32>,
    states: &States<'_>,
) -> Result<Rows, TooManyCells> {
    let mut row_of = vec![NONE; states.cells.len()];
    let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
    let (mut cells, mut shadows) = (Vec::new(), Vec::new());
    for pair in &mut of_pair {
        let state = *pair as usize;
        if row_of[state] == NONE {
            let row: Vec<u32> = states.cells[state].iter().map(|c| c & !PASSED).collect();
            let next = known.len() as u32;
            row_of[state] = *known.entry(row).or_insert_with_key(|row| {
                let (row, shadow) = row.split_at(input.service_classes);
                cells.extend_from_slice(row);
                shadows.extend_from_slice(shadow);
                next
            });
        }
        *pair = row_of[state];
    }
    let count = cells.len() as u64;
    if count > input.limit {
        return Err(TooManyCells(count));
    }
    Ok(Rows { rows: of_pair, cells, shadows })
}
