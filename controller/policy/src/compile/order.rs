//! Rules as numbers, and the order in which they decide.

use std::cmp::Reverse;

use portcullis_pipeline::policy::Cell;

use crate::model::{Action, Tier};

/// A rule as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Who decides first inside a tier.
    fn strength(&self) -> u8 {
        match self.action {
            Action::Deny => 0,
            Action::Pass => 1,
            Action::Allow => 2,
        }
    }

    /// Does the rule let through what it decides?
    pub fn allows(&self) -> bool {
        self.action == Action::Allow
    }
}

/// Some rules, the one that decides before all others first: the stronger action, of equals the
/// one that lasts longest, of these the first in the text. What decides a connection is then the
/// smallest place among the platform's rules about it, and the smallest among the tenants'.
pub struct Order {
    /// Place of each rule that takes part.
    places: Vec<u32>,
    /// What the rule at each place makes of a connection.
    says: Vec<Says>,
}

/// What a rule makes of a connection that it decides.
#[derive(Clone, Copy)]
enum Says {
    /// This.
    Cell(u32),
    /// The tier below decides.
    Pass,
}

/// No rule's place.
pub const NOBODY: u32 = u32::MAX;

impl Order {
    /// Of the rules with these indexes, ascending.
    pub fn new(rules: &[RuleKey], mut order: Vec<u32>) -> Self {
        order.sort_by_key(|&i| {
            let rule = &rules[i as usize];
            (rule.strength(), Reverse(rule.until_unix_s))
        });
        let mut places = vec![NOBODY; rules.len()];
        for (place, &i) in (0..).zip(&order) {
            places[i as usize] = place;
        }
        let says = order.iter().map(|&i| match &rules[i as usize] {
            rule if rule.action == Action::Pass => Says::Pass,
            rule => Says::Cell(Cell::new(rule.allows(), i + 1).0),
        });
        Self { places, says: says.collect() }
    }

    /// The place of a rule.
    pub fn place(&self, rule: u32) -> u32 {
        self.places[rule as usize]
    }

    /// The cell that follows from the first platform rule and the first tenant rule.
    pub fn cell(&self, platform: u32, tenant: u32) -> u32 {
        [platform, tenant]
            .into_iter()
            .filter(|&place| place != NOBODY)
            .find_map(|place| match self.says[place as usize] {
                Says::Cell(cell) => Some(cell),
                Says::Pass => None,
            })
            .unwrap_or(Cell::DEFAULT.0)
    }
}
