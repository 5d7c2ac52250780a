//! The verdict table: which row judges a pair of classes, and what it says of each service.

use super::{
    classes::Classes,
    limits::largest,
    order::{NOBODY, Order, RuleKey},
    paths::{Group, Paths, groups},
    rowset::{RowSet, Rows, TooManyCells},
    services::ServiceClasses,
};
use crate::model::Tier;

/// What the table is made from.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Rule id - 1 to rule.
    pub rules: &'a [RuleKey],
    /// Identity classes.
    pub classes: &'a Classes,
    /// Service classes.
    pub services: &'a ServiceClasses,
    /// What is too much.
    pub limits: Limits,
}

/// What is too much.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Cells of the table.
    pub cells: u64,
    /// Nodes of the tree of paths: memory while compiling.
    pub nodes: u64,
    /// Times that a rule is applied to a pair or to a cell: time while compiling.
    pub steps: u64,
}

/// What was too much, how much, and the rules that made most of it.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMuch {
    pub what: &'static str,
    pub got: u64,
    pub limit: u64,
    /// Indexes of rules, each with its share.
    pub by: Vec<(u32, u64)>,
}

/// Builds the table.
pub fn build(input: &Input<'_>) -> Result<Rows, TooMuch> {
    let all = (0..input.rules.len() as u32).collect();
    let mut set = input.row_set();
    let of_pair = judge(input, all, None, &mut set)?;
    Ok(set.finish(of_pair))
}

/// The row of each pair of classes as these rules judge it. With a mask only the pairs in it are
/// judged; all others get some row.
pub fn judge(
    input: &Input<'_>,
    rules: Vec<u32>,
    mask: Option<&[bool]>,
    set: &mut RowSet,
) -> Result<Vec<u32>, TooMuch> {
    let groups = groups(input.rules, rules.clone(), input.classes);
    let classes = input.classes.len();
    let mut of_pair = vec![0; classes * classes];
    let paths = walk(input, &groups, mask, &mut of_pair)?;
    let order = Order::new(input.rules, rules);
    let row_of_node = rows_of(input, order, &groups, &paths, &of_pair, set)?;
    of_pair.iter_mut().for_each(|pair| *pair = row_of_node[*pair as usize]);
    Ok(of_pair)
}

impl Input<'_> {
    /// Where the rows go.
    pub fn row_set(&self) -> RowSet {
        RowSet::new(self.services.len(), self.is_observed(), self.limits.cells)
    }

    /// Does some rule only observe?
    pub fn is_observed(&self) -> bool {
        self.rules.iter().any(|r| r.observe)
    }
}

/// Moves every pair to the node of its groups.
fn walk(
    input: &Input<'_>,
    groups: &[Group],
    mask: Option<&[bool]>,
    of_pair: &mut [u32],
) -> Result<Paths, TooMuch> {
    let classes = input.classes;
    let steps = groups.iter().map(|g| g.pairs(classes)).sum::<u64>();
    if steps > input.limits.steps {
        let by = largest(groups.iter().map(|g| (g.rules[0], g.pairs(classes))));
        let (what, limit) = ("pairs of classes times rules", input.limits.steps);
        return Err(TooMuch { what, got: steps, limit, by });
    }
    let mut paths = Paths::new();
    for (g, group) in (0..).zip(groups) {
        for &src in classes.of_list(group.from) {
            let first = src as usize * classes.len();
            for &dst in classes.of_list(group.to) {
                let pair = first + dst as usize;
                if mask.is_none_or(|mask| mask[pair]) {
                    of_pair[pair] = paths.step(of_pair[pair], g);
                }
            }
        }
        if paths.len() as u64 > input.limits.nodes {
            let (what, limit) = ("combinations of rules", input.limits.nodes);
            return Err(TooMuch {
                what,
                got: paths.len() as u64,
                limit,
                by: widest(groups, &paths),
            });
        }
    }
    Ok(paths)
}

/// The groups that made most nodes, each by its first rule.
fn widest(groups: &[Group], paths: &Paths) -> Vec<(u32, u64)> {
    let mut made = vec![0; groups.len()];
    paths.nodes().for_each(|(_, node)| made[node.group as usize] += 1);
    largest(groups.iter().map(|g| g.rules[0]).zip(made))
}

/// The row of each node that some pair stands at.
fn rows_of(
    input: &Input<'_>,
    order: Order,
    groups: &[Group],
    paths: &Paths,
    of_pair: &[u32],
    set: &mut RowSet,
) -> Result<Vec<u32>, TooMuch> {
    refuse_slow(input, groups, paths)?;
    let mut wanted = vec![false; paths.len()];
    of_pair.iter().for_each(|&node| wanted[node as usize] = true);
    let tree = paths.tree();
    let mut judge = Judge { input, order, observed: input.is_observed(), row: Vec::new() };
    let mut row_of_node = vec![0; paths.len()];
    let mut arrive = |node: usize, voices: &mut [u32]| {
        if let Some(group) = paths.group(node) {
            judge.hear(&groups[group as usize], voices);
        }
        if wanted[node] {
            row_of_node[node] = set.intern(judge.row(voices)).map_err(|TooManyCells(got)| {
                let (limit, by) = (input.limits.cells, widest(groups, paths));
                TooMuch { what: "verdict cells", got, limit, by }
            })?;
        }
        Ok(tree.children(node))
    };
    // Nodes on the way down that have children left, each with what was heard there. The child
    // with most below it comes last and goes on with the very same voices: so no more of these
    // wait than the logarithm of the nodes.
    let mut voices = vec![NOBODY; Judge::planes(input) * input.services.len()];
    let mut open = vec![(arrive(0, &mut voices)?, voices)];
    while let Some((children, voices)) = open.last_mut() {
        let Some((&child, rest)) = children.split_first() else {
            open.pop();
            continue;
        };
        let mut heard = if rest.is_empty() { std::mem::take(voices) } else { voices.clone() };
        *children = rest;
        if rest.is_empty() {
            open.pop();
        }
        let children = arrive(child as usize, &mut heard)?;
        if !children.is_empty() {
            open.push((children, heard));
        }
    }
    Ok(row_of_node)
}

/// Refuses what would take minutes: every node applies its group's rules to a row.
fn refuse_slow(input: &Input<'_>, groups: &[Group], paths: &Paths) -> Result<(), TooMuch> {
    let services =
        |&rule: &u32| input.services.of_list(input.rules[rule as usize].services).len() as u64;
    let cost: Vec<u64> = groups.iter().map(|g| g.rules.iter().map(services).sum()).collect();
    let mut spent = vec![0u64; groups.len()];
    paths.nodes().for_each(|(_, n)| spent[n.group as usize] += cost[n.group as usize]);
    // A row is copied for each node at most.
    let got = spent.iter().sum::<u64>() + (paths.len() * input.services.len()) as u64;
    if got <= input.limits.steps {
        return Ok(());
    }
    let by = largest(groups.iter().map(|g| g.rules[0]).zip(spent));
    Err(TooMuch { what: "cells times rules", got, limit: input.limits.steps, by })
}

/// Turns rules into rows. While it listens, it keeps for each service the first place in the
/// [`Order`] of all rules that speak: of the platform's and of the tenants', and where some rules
/// only observe, the same twice: without them and with them.
struct Judge<'a> {
    input: &'a Input<'a>,
    order: Order,
    observed: bool,
    row: Vec<u32>,
}

impl Judge<'_> {
    fn planes(input: &Input<'_>) -> usize {
        if input.is_observed() { 4 } else { 2 }
    }

    /// Adds what the rules of a group say.
    fn hear(&self, group: &Group, voices: &mut [u32]) {
        let width = self.input.services.len();
        for &rule in &group.rules {
            let key = &self.input.rules[rule as usize];
            let place = self.order.place(rule);
            let services = self.input.services.of_list(key.services);
            let tier = usize::from(key.tier == Tier::Tenant);
            let mut speak = |plane: usize| {
                let plane = &mut voices[plane * width..][..width];
                for &service in services {
                    let first = &mut plane[service as usize];
                    *first = place.min(*first);
                }
            };
            if !key.observe {
                speak(tier);
            }
            if self.observed {
                speak(2 + tier);
            }
        }
    }

    /// The cells that follow, and behind them the shadows.
    fn row(&mut self, voices: &[u32]) -> &[u32] {
        self.row.clear();
        for both in voices.chunks_exact(2 * self.input.services.len()) {
            let (platform, tenant) = both.split_at(self.input.services.len());
            let pairs = platform.iter().zip(tenant);
            self.row.extend(pairs.map(|(&p, &t)| self.order.cell(p, t)));
        }
        &self.row
    }
}
