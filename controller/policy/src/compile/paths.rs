//! Which rules speak about each pair of identity classes, as paths through one tree.
//!
//! Rules with the same `from` and `to` form a group. Every pair begins at the root; a group moves
//! the pairs that it speaks about to a child of where they are. In the end pairs with the same
//! groups stand at the same node, and the groups are those on the way up. The widest groups go
//! first, when nearly all pairs still stand together: then they make few nodes.

use std::cmp::Reverse;

use super::{classes::Classes, order::RuleKey};

/// Rules that speak about the same pairs.
pub struct Group {
    /// Any of the lists that cover these sources.
    pub from: u32,
    /// Any of the lists that cover these destinations.
    pub to: u32,
    /// Indexes of the rules.
    pub rules: Vec<u32>,
}

/// The rules with these indexes in groups, the one about most pairs first.
pub fn groups(rules: &[RuleKey], mut order: Vec<u32>, classes: &Classes) -> Vec<Group> {
    let pair = |r: &RuleKey| (classes.set_of(r.from), classes.set_of(r.to));
    order.sort_unstable_by_key(|&i| (pair(&rules[i as usize]), i));
    let same = |a: &u32, b: &u32| pair(&rules[*a as usize]) == pair(&rules[*b as usize]);
    let group = |of: &[u32]| {
        let RuleKey { from, to, .. } = rules[of[0] as usize];
        Group { from, to, rules: of.to_vec() }
    };
    let mut groups: Vec<Group> = order.chunk_by(same).map(group).collect();
    groups.sort_by_key(|g| (Reverse(g.pairs(classes)), g.rules[0]));
    groups
}

impl Group {
    /// How many pairs it speaks about.
    pub fn pairs(&self, classes: &Classes) -> u64 {
        classes.of_list(self.from).len() as u64 * classes.of_list(self.to).len() as u64
    }
}

/// A node: the group that leads here, and from where.
#[derive(Clone, Copy)]
pub struct Node {
    /// Its parent; a smaller number than its own.
    pub parent: u32,
    /// The group.
    pub group: u32,
}

/// The tree. Node 0 is the root.
pub struct Paths {
    /// All nodes but the root: node `i + 1` is `nodes[i]`.
    nodes: Vec<Node>,
    /// For each node, the last group that moved somebody on from it, and to where.
    moved: Vec<(u32, u32)>,
}

impl Paths {
    /// Only the root.
    pub fn new() -> Self {
        Self { nodes: Vec::new(), moved: vec![(u32::MAX, 0)] }
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len() + 1
    }

    /// All nodes but the root, parents before their children, each with its number.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (usize, Node)> + '_ {
        self.nodes.iter().enumerate().map(|(i, &node)| (i + 1, node))
    }

    /// The group that leads to a node; the root has none.
    pub fn group(&self, node: usize) -> Option<u32> {
        Some(self.nodes[node.checked_sub(1)?].group)
    }

    /// Where a group takes those who stand at a node.
    pub fn step(&mut self, node: u32, group: u32) -> u32 {
        let moved = self.moved[node as usize];
        if moved.0 == group {
            return moved.1;
        }
        self.nodes.push(Node { parent: node, group });
        let child = self.nodes.len() as u32;
        self.moved[node as usize] = (group, child);
        self.moved.push((u32::MAX, 0));
        child
    }

    /// The way down.
    pub fn tree(&self) -> Tree {
        let mut below = vec![1u32; self.len()];
        let mut starts = vec![0u32; self.len() + 1];
        for (i, node) in self.nodes().rev() {
            below[node.parent as usize] += below[i];
            starts[node.parent as usize + 1] += 1;
        }
        (1..starts.len()).for_each(|i| starts[i] += starts[i - 1]);
        let mut free = starts.clone();
        let mut children = vec![0u32; self.nodes.len()];
        for (i, node) in self.nodes() {
            let slot = &mut free[node.parent as usize];
            children[*slot as usize] = i as u32;
            *slot += 1;
        }
        for range in starts.windows(2) {
            let list = &mut children[range[0] as usize..range[1] as usize];
            let heaviest = (0..list.len()).max_by_key(|&i| below[list[i] as usize]);
            if let (Some(i), Some(last)) = (heaviest, list.len().checked_sub(1)) {
                list.swap(i, last);
            }
        }
        Tree { starts, children }
    }
}

/// The nodes below each node.
pub struct Tree {
    starts: Vec<u32>,
    children: Vec<u32>,
}

impl Tree {
    /// The children of a node, the one with most nodes below it last.
    pub fn children(&self, node: usize) -> &[u32] {
        &self.children[self.starts[node] as usize..self.starts[node + 1] as usize]
    }
}
