//! What changes from one policy to another: exactly which connections become allowed and which
//! become denied, in as few lines as possible, with the rule that is responsible.
//!
//! Addresses and numbers are cut along everything that either policy tells apart; pieces that
//! neither tells apart make joint classes, and the two tables of verdicts are compared over
//! those. So the answer is about every connection that there is, without looking at each. A
//! connection that cannot be (an address that no packet carries, two addresses of one machine)
//! does not count; a link-local address counts where both policies have its NIC.

mod bits;
mod blame;
mod cells;
mod declared;
mod group;
mod lines;
mod meet;
mod name_numbers;
mod name_places;
mod numbers;
mod places;
mod rectangles;
mod render;

use std::collections::BTreeMap;

use serde::Serialize;

pub(crate) use self::{
    bits::Bits, group::list, meet::Meeting, name_numbers::NumberNames, numbers::Numbers,
    places::Places,
};
use self::{
    blame::Cause,
    cells::{Cells, side_of},
    lines::{Words, lines},
};
pub use self::{
    blame::{Side, Why},
    cells::Sign,
    declared::{Change, ChangeKind, Subject},
    group::{Group, GroupKind, Services},
};
use crate::{
    Compiled,
    explain::{Example, RuleView},
    model::Purpose,
};

/// Everything that differs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Difference {
    /// Connections that become allowed, by the responsible rules.
    pub allowed: Vec<Line>,
    /// Connections that become denied.
    pub denied: Vec<Line>,
    /// What else differs: networks, guests, the host, observers, ends, invariants.
    pub changes: Vec<Change>,
}

/// Connections that change together.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Who opens them: any of these. In the words of the policy that allows the connections.
    pub from: Vec<Group>,
    /// To whom: any of these.
    pub to: Vec<Group>,
    /// For what: any of these.
    #[serde(rename = "for")]
    pub services: Vec<Services>,
    /// One of them.
    pub witness: Witness,
    /// The responsible rule.
    pub cause: Responsible,
}

/// One connection, with its parts.
#[derive(Clone, Debug, Serialize)]
pub struct Witness {
    /// For people.
    #[serde(flatten)]
    pub example: Example,
    /// What it is for.
    #[serde(skip)]
    pub purpose: Purpose,
    /// Id of the network in which its addresses stand, where they are link-local.
    #[serde(skip)]
    pub network: u32,
    /// Is one of the addresses only known to the hypervisor? Then its place is taken by another
    /// address of the host.
    #[serde(skip)]
    pub stands_in: bool,
}

/// The rule that is responsible for a line.
#[derive(Clone, Debug, Serialize)]
pub struct Responsible {
    /// What became of it.
    pub why: Why,
    /// The policy in which it stands.
    pub side: Side,
    /// The rule.
    pub rule: RuleView,
}

impl Difference {
    /// Is nothing different?
    pub fn is_empty(&self) -> bool {
        self.allowed.is_empty() && self.denied.is_empty() && self.changes.is_empty()
    }

    /// For people: lines that begin with `+`, `-` and `~`.
    pub fn render(&self) -> String {
        render::render(self)
    }
}

/// What changes from one policy to another.
pub fn diff(old: &Compiled, new: &Compiled) -> Difference {
    let places = Places::new([old, new]);
    let numbers = Numbers::new([old, new]);
    let cells = Cells::new(old, new, &places, &numbers);
    let mut difference =
        Difference { changes: declared::changes(old, new), ..Difference::default() };
    let tasks = tasks(&cells);
    if tasks.is_empty() {
        return difference;
    }
    let words = [Words::new(&cells, 0), Words::new(&cells, 1)];
    for ((sign, cause), must) in tasks {
        let lines = lines(&cells, &words[side_of(sign)], (sign, cause), &must);
        match sign {
            Sign::Allowed => difference.allowed.extend(lines),
            Sign::Denied => difference.denied.extend(lines),
        }
    }
    difference
}

/// The services of each pair of joint classes that change.
type Changed = BTreeMap<(usize, usize), Bits>;

/// By who is responsible.
fn tasks(cells: &Cells<'_>) -> BTreeMap<(Sign, Cause), Changed> {
    let mut tasks: BTreeMap<(Sign, Cause), Changed> = BTreeMap::new();
    let classes = cells.places.classes();
    for (src, dst) in (0..classes).flat_map(|s| (0..classes).map(move |d| (s, d))) {
        for (sign, cause, services) in &cells.row(src, dst).by_cause {
            let services = services.and(cells.possible(*sign, src, dst));
            if !services.is_empty() {
                tasks.entry((*sign, *cause)).or_default().insert((src, dst), services);
            }
        }
    }
    tasks
}
