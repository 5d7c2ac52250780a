//! The dense tables: which row judges a pair of classes, and what it says of each service.

use std::collections::HashMap;

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
}

impl RuleKey {
    /// Who wins inside a tier: the smaller rank, then the smaller id.
    fn rank(&self) -> u32 {
        match self.action {
            Action::Deny => 0,
            Action::Pass => 1,
            Action::Allow => 2,
        }
    }
}

/// Bits that a rule's id needs beside its rank.
const ID_BITS: u32 = 24;
/// No rule.
const NONE: u32 = u32::MAX;

/// Rows and verdicts, every row once.
pub struct Rows {
    /// By `src * classes + dst`.
    pub rows: Vec<u32>,
    /// By `row * services + service`.
    pub cells: Vec<u32>,
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

/// Rules with the same `from` and `to`: they apply to the same pairs.
struct Group {
    from: u32,
    to: u32,
    /// Indexes of the rules; of several that say the same for the same services only the first.
    rules: Vec<u32>,
}

/// Which groups apply to a pair: the last one, and the history before it. History 0 is empty.
struct History {
    before: u32,
    group: u32,
}

/// Builds the tables. The work grows with the pairs that rules speak about, not with rules times
/// pairs.
pub fn build(input: &Input<'_>) -> Result<Rows, TooManyCells> {
    let groups = groups(input.rules);
    let (mut rows, histories) = pairs(input, &groups);
    let mut row_of = vec![NONE; histories.len()];
    let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
    let mut cells = Vec::new();
    let mut scratch = Scratch::new(input.service_classes);
    for cell in &mut rows {
        let history = *cell as usize;
        if row_of[history] == NONE {
            let row = scratch.row(input, &groups, &histories, *cell);
            let next = known.len() as u32;
            row_of[history] = *known.entry(row).or_insert_with_key(|row| {
                cells.extend_from_slice(row);
                next
            });
            if cells.len() as u64 > input.limit {
                return Err(TooManyCells(cells.len() as u64));
            }
        }
        *cell = row_of[history];
    }
    Ok(Rows { rows, cells })
}

fn groups(rules: &[RuleKey]) -> Vec<Group> {
    let mut ids: HashMap<(u32, u32), usize> = HashMap::new();
    let mut said = std::collections::HashSet::new();
    let mut groups: Vec<Group> = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        let id = *ids.entry((rule.from, rule.to)).or_insert_with(|| {
            groups.push(Group { from: rule.from, to: rule.to, rules: Vec::new() });
            groups.len() - 1
        });
        if said.insert((id, rule.services, rule.tier as u8, rule.rank())) {
            groups[id].rules.push(i as u32);
        }
    }
    groups
}

/// The history of each pair. Pairs with equal histories are judged alike.
fn pairs(input: &Input<'_>, groups: &[Group]) -> (Vec<u32>, Vec<History>) {
    let mut of_pair = vec![0u32; input.classes * input.classes];
    let mut histories = vec![History { before: 0, group: NONE }];
    // The history that each one becomes by the group at hand, and for which group that holds.
    let mut next: Vec<(u32, u32)> = vec![(0, NONE)];
    for (g, group) in groups.iter().enumerate() {
        let g = g as u32;
        for &src in (input.endpoints)(group.from) {
            let row = &mut of_pair[src as usize * input.classes..][..input.classes];
            for &dst in (input.endpoints)(group.to) {
                let pair = &mut row[dst as usize];
                let old = *pair as usize;
                if next[old].1 != g {
                    next[old] = (histories.len() as u32, g);
                    histories.push(History { before: *pair, group: g });
                    next.push((0, NONE));
                }
                *pair = next[old].0;
            }
        }
    }
    (of_pair, histories)
}

/// The best rule of each tier for each service class: rank << ID_BITS | id.
struct Scratch {
    platform: Vec<u32>,
    tenant: Vec<u32>,
}

impl Scratch {
    fn new(services: usize) -> Self {
        Self { platform: vec![NONE; services], tenant: vec![NONE; services] }
    }

    fn row(
        &mut self,
        input: &Input<'_>,
        groups: &[Group],
        histories: &[History],
        mut history: u32,
    ) -> Vec<u32> {
        self.platform.fill(NONE);
        self.tenant.fill(NONE);
        while history != 0 {
            let History { before, group } = histories[history as usize];
            for &rule in &groups[group as usize].rules {
                self.apply(input, rule);
            }
            history = before;
        }
        self.platform.iter().zip(&self.tenant).map(|(&p, &t)| decide(p, t).0).collect()
    }

    fn apply(&mut self, input: &Input<'_>, rule: u32) {
        let key = &input.rules[rule as usize];
        let best = match key.tier {
            Tier::Platform => &mut self.platform,
            Tier::Tenant => &mut self.tenant,
        };
        let offer = key.rank() << ID_BITS | (rule + 1);
        for &service in (input.services)(key.services) {
            let best = &mut best[service as usize];
            *best = (*best).min(offer);
        }
    }
}

/// The order of the tiers: platform deny, pass, allow; tenant deny, allow; default.
fn decide(platform: u32, tenant: u32) -> Cell {
    let passes = platform == NONE || platform >> ID_BITS == 1;
    let best = if passes { tenant } else { platform };
    if best == NONE {
        return Cell::DEFAULT;
    }
    Cell::new(best >> ID_BITS == 2, best & ((1 << ID_BITS) - 1))
}
