//! Denied sets, merged: addresses of the outside that nobody here hears of, whatever the rules
//! say; and the table of chunks that the data plane looks them up in.

use portcullis_pipeline::{
    addr::Addr,
    denied::{EDGES, GROUP_NETS, GROUPS, LEAF_WORDS, LEAVES, key, part},
    layout::{DENIED_WORDS, DeniedChunk},
};

/// Addresses, both ends of each range included; ascending, and between two ranges there is always
/// an address that is not denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denied {
    /// IPv4.
    pub v4: Vec<(u32, u32)>,
    /// IPv6, without the mapped addresses and without multicast.
    pub v6: Vec<(u128, u128)>,
}

/// Chunks by [`key`], in its order.
pub type Chunks = Vec<(u32, Box<DeniedChunk>)>;

impl Denied {
    /// Is nothing denied?
    pub fn is_empty(&self) -> bool {
        self.ranges() == 0
    }

    /// Ranges of both families.
    pub fn ranges(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Is an address in one of the ranges?
    pub fn contains(&self, addr: Addr) -> bool {
        if addr.is_v4() {
            return within(&self.v4, addr.low32());
        }
        within(&self.v6, u128::from(addr.hi) << 64 | u128::from(addr.lo))
    }

    /// The table, for a bank.
    pub fn chunks(&self, bank: u32) -> Chunks {
        let mut chunks = self.chunks_v4(bank);
        chunks.extend(self.chunks_v6(bank));
        chunks
    }

    fn chunks_v4(&self, bank: u32) -> Chunks {
        let nets = Nets::of(&self.v4);
        let mut groups: Chunks = Vec::new();
        let mut leaf = 0_u32;
        for (group, sorts) in &nets.groups {
            let number = key(bank, part::GROUPS, group / GROUPS);
            let at = (group % GROUPS) as usize * 2;
            let words = &mut last_chunk(&mut groups, number).words;
            words[at] = u64::from(sorts.wholly) << 32 | u64::from(sorts.partly);
            words[at + 1] = leaf.into();
            leaf += sorts.partly.count_ones();
        }
        for (leaf, bits) in (0_u32..).zip(&nets.leaves) {
            let number = key(bank, part::LEAVES, leaf / LEAVES);
            let at = (leaf % LEAVES * LEAF_WORDS) as usize;
            last_chunk(&mut groups, number).words[at..at + bits.len()].copy_from_slice(bits);
        }
        groups
    }

    fn chunks_v6(&self, bank: u32) -> Chunks {
        if self.v6.is_empty() {
            return Vec::new();
        }
        // Where a range begins and behind its end. No range reaches the last address of all.
        let ends = self.v6.iter().flat_map(|&(first, last)| [first, last.saturating_add(1)]);
        // Before them an edge that every address is behind, so that odd ones begin ranges.
        let edges: Vec<u128> = std::iter::once(0).chain(ends).collect();
        let fences: Vec<u128> = edges.iter().copied().step_by(EDGES as usize).collect();
        let roots: Vec<u128> = fences.iter().copied().step_by(EDGES as usize).collect();
        let parts = [(part::EDGES, edges), (part::FENCES, fences), (part::ROOT, roots)];
        parts.iter().flat_map(|(part, places)| edge_chunks(bank, *part, places)).collect()
    }
}

fn within<T: Ord + Copy>(ranges: &[(T, T)], at: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= at);
    behind.checked_sub(1).is_some_and(|i| ranges[i].1 >= at)
}

/// The chunk with this key, which is the last one or a new one.
fn last_chunk(chunks: &mut Chunks, key: u32) -> &mut DeniedChunk {
    if chunks.last().is_none_or(|(last, _)| *last != key) {
        chunks.push((key, Box::new(DeniedChunk { words: [0; DENIED_WORDS] })));
    }
    let at = chunks.len() - 1;
    &mut chunks[at].1
}

fn edge_chunks(bank: u32, part: u32, places: &[u128]) -> Chunks {
    let chunk = |(number, places): (u32, &[u128])| {
        // Behind the last one: no packet's address.
        let mut chunk = Box::new(DeniedChunk { words: [u64::MAX; DENIED_WORDS] });
        for (at, place) in places.iter().enumerate() {
            (chunk.words[2 * at], chunk.words[2 * at + 1]) = ((place >> 64) as u64, *place as u64);
        }
        (key(bank, part, number), chunk)
    };
    (0..).zip(places.chunks(EDGES as usize)).map(chunk).collect()
}

/// The /24s of a group, a bit each.
#[derive(Clone, Copy, Default)]
struct Sorts {
    partly: u32,
    wholly: u32,
}

/// IPv4 by /24.
#[derive(Default)]
struct Nets {
    /// Those with anything denied, ascending.
    groups: Vec<(u32, Sorts)>,
    /// Of /24s that are denied in part, ascending.
    leaves: Vec<[u64; LEAF_WORDS as usize]>,
    /// The /24 of the last leaf.
    open: Option<u32>,
}

impl Nets {
    fn of(ranges: &[(u32, u32)]) -> Self {
        let mut nets = Self::default();
        for &(first, last) in ranges {
            let (from, to) = (first >> 8, last >> 8);
            for net in from..=to {
                let low = if net == from { first & 0xff } else { 0 };
                let high = if net == to { last & 0xff } else { 0xff };
                nets.add(net, low, high);
            }
        }
        nets
    }

    /// Addresses of one /24 are denied, by their last byte.
    fn add(&mut self, net: u32, low: u32, high: u32) {
        let (group, bit) = (net / GROUP_NETS, 1 << (net % GROUP_NETS));
        if self.groups.last().is_none_or(|(last, _)| *last != group) {
            self.groups.push((group, Sorts::default()));
        }
        let at = self.groups.len() - 1;
        let sorts = &mut self.groups[at].1;
        if (low, high) == (0, 0xff) {
            sorts.wholly |= bit;
            return;
        }
        sorts.partly |= bit;
        if self.open != Some(net) {
            self.open = Some(net);
            self.leaves.push([0; LEAF_WORDS as usize]);
        }
        let at = self.leaves.len() - 1;
        for byte in low..=high {
            self.leaves[at][byte as usize / 64] |= 1 << (byte % 64);
        }
    }
}
