//! The banks that hold denied sets. A policy that denies what the one before did finds it there
//! and writes nothing; another one is written beside it, read back and compared, and the old one
//! is freed when nothing in force names it any more.

use std::{collections::HashMap, fmt::Debug, sync::Arc};

use aya::maps::IterableMap;
use portcullis_image::Denied;
use portcullis_pipeline::{
    denied::{EDGES, GROUP_NETS, GROUPS, LEAF_WORDS, LEAVES, bank_of, key, part},
    layout::{DENIED_BANKS, DENIED_CHUNKS, DeniedChunk, GenerationEntry},
};
use zerocopy::FromBytes;

use crate::{
    batch::Sizes,
    error::{Error, Result},
    maps::{Maps, name},
    pieces,
    validate::Difference,
    writer::bytes,
};

/// What the banks hold, as far as this process knows.
pub struct Banks {
    /// By bank, from 1. `None`: nobody knows.
    held: [Option<Arc<Denied>>; DENIED_BANKS as usize],
    /// By bank, from 1: may it hold anything?
    filled: [bool; DENIED_BANKS as usize],
    /// The one that the generation in force names; 0: it denies nothing.
    used: u32,
}

impl Banks {
    /// Those that a process before this one has left, in the slot of this generation.
    pub fn of(maps: &Maps, generation: u32) -> Result<Self> {
        let entry = maps.generations.get(&(generation & 1), 0);
        let entry = entry.map_err(Error::map("read", name::GENERATIONS))?;
        let entry = GenerationEntry::read_from_bytes(&entry).expect("an entry of that size");
        Ok(Self { held: [None, None], filled: [true; 2], used: entry.denied.min(DENIED_BANKS) })
    }

    /// The bank of the generation in force.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// The bank that holds these sets. They are written first, unless one holds them already.
    pub fn settle(&mut self, maps: &mut Maps, denied: &Arc<Denied>) -> Result<u32> {
        if denied.is_empty() {
            return Ok(0);
        }
        let has = |bank: u32| {
            let held = self.held[bank as usize - 1].as_ref();
            held.is_some_and(|held| Arc::ptr_eq(held, denied) || held == denied)
        };
        let bank = if self.used == 1 { 2 } else { 1 };
        if let Some(bank) = [self.used, bank].into_iter().find(|bank| *bank != 0 && has(*bank)) {
            return Ok(bank);
        }
        let at = bank as usize - 1;
        (self.held[at], self.filled[at]) = (None, true);
        write(maps, bank, denied)?;
        self.held[at] = Some(Arc::clone(denied));
        Ok(bank)
    }

    /// The generation in force names this bank now.
    pub fn put_in_force(&mut self, bank: u32) {
        self.used = bank;
    }

    /// No generation that may come back names another bank than the one in force: frees what it
    /// holds.
    pub fn free_other(&mut self, maps: &mut Maps) {
        for bank in (1..=DENIED_BANKS).filter(|bank| *bank != self.used) {
            let at = bank as usize - 1;
            self.held[at] = None;
            // What cannot be freed is in the way of nobody, and is removed before the bank is
            // written again.
            if self.filled[at] && clear(maps, bank).is_ok() {
                self.filled[at] = false;
            }
        }
    }
}

/// Makes a bank that nothing in force names hold exactly these sets.
fn write(maps: &mut Maps, bank: u32, denied: &Denied) -> Result<()> {
    let chunks = denied.chunks(bank);
    if chunks.len() > DENIED_CHUNKS as usize {
        let (got, most) = (chunks.len(), DENIED_CHUNKS as usize);
        return Err(Error::TooLarge { what: "chunks of denied sets", got, most });
    }
    clear(maps, bank)?;
    for (key, chunk) in &chunks {
        maps.denied.insert(key, bytes(&**chunk), 0).map_err(Error::map("write", name::DENIED))?;
    }
    drop(chunks);
    let held = Held::read(maps, bank)?.denied();
    match difference(denied, &held) {
        None => Ok(()),
        Some((at, expected, got)) => {
            let difference = Difference::Entry { map: name::DENIED, at, expected, got };
            Err(Error::Differs { difference: Box::new(difference) })
        }
    }
}

/// Removes every chunk of a bank.
fn clear(maps: &mut Maps, bank: u32) -> Result<()> {
    let keys = maps.denied.keys().collect::<std::result::Result<Vec<u32>, _>>();
    let keys = keys.map_err(Error::map("read", name::DENIED))?;
    for key in keys.into_iter().filter(|key| bank_of(*key) == bank) {
        maps.denied.remove(&key).map_err(Error::map("clean", name::DENIED))?;
    }
    Ok(())
}

/// The first range that one has and the other has not: where, what was wanted, what is there.
fn difference(wanted: &Denied, held: &Denied) -> Option<(String, String, String)> {
    fn first<T: PartialEq + Debug>(
        wanted: &[(T, T)],
        held: &[(T, T)],
    ) -> Option<(String, String, String)> {
        let at = (0..wanted.len().max(held.len())).find(|i| wanted.get(*i) != held.get(*i))?;
        Some((
            format!("range {at}"),
            format!("{:x?}", wanted.get(at)),
            format!("{:x?}", held.get(at)),
        ))
    }
    first(&wanted.v4, &held.v4).or_else(|| first(&wanted.v6, &held.v6))
}

/// A bank as it was read back; what it says is worked out here a second time, from the bytes.
struct Held {
    bank: u32,
    chunks: HashMap<u32, DeniedChunk>,
}

impl Held {
    fn read(maps: &Maps, bank: u32) -> Result<Self> {
        let sizes = Sizes { key: size_of::<u32>(), value: size_of::<DeniedChunk>() };
        let mut chunks = HashMap::new();
        pieces::walk(maps.denied.map(), name::DENIED, sizes, |key, value| {
            let key = u32::read_from_bytes(key).expect("a key of that size");
            if bank_of(key) == bank {
                let chunk = DeniedChunk::read_from_bytes(value).expect("a chunk of that size");
                chunks.insert(key, chunk);
            }
        })?;
        Ok(Self { bank, chunks })
    }

    /// The ranges that the chunks make.
    fn denied(&self) -> Denied {
        Denied { v4: self.v4(), v6: self.v6() }
    }

    fn chunk(&self, part: u32, number: u32) -> Option<&DeniedChunk> {
        self.chunks.get(&key(self.bank, part, number))
    }

    fn v4(&self) -> Vec<(u32, u32)> {
        let mut ranges = Joined::default();
        for number in 0..(1 << 24) / (GROUP_NETS * GROUPS) {
            let Some(groups) = self.chunk(part::GROUPS, number) else { continue };
            for (group, words) in (0..).zip(groups.words.chunks_exact(2)) {
                let net = (number * GROUPS + group) * GROUP_NETS;
                let mut leaf = words[1] as u32;
                for bit in 0..GROUP_NETS {
                    let first = (net + bit) << 8;
                    if words[0] >> (32 + bit) & 1 != 0 {
                        ranges.add(first, first | 0xff);
                    } else if words[0] >> bit & 1 != 0 {
                        self.leaf(leaf, first, &mut ranges);
                        leaf += 1;
                    }
                }
            }
        }
        ranges.0
    }

    /// The addresses of a /24 that is denied in part.
    fn leaf(&self, leaf: u32, first: u32, ranges: &mut Joined) {
        let Some(chunk) = self.chunk(part::LEAVES, leaf / LEAVES) else { return };
        let words = &chunk.words[(leaf % LEAVES * LEAF_WORDS) as usize..][..LEAF_WORDS as usize];
        for byte in 0..256_u32 {
            if words[byte as usize / 64] >> (byte % 64) & 1 != 0 {
                ranges.add(first | byte, first | byte);
            }
        }
    }

    /// Edges by the root and the fences that lead to them, as a packet would find them.
    fn v6(&self) -> Vec<(u128, u128)> {
        let mut edges: Vec<u128> = Vec::new();
        let root = self.chunk(part::ROOT, 0);
        for (fences, _) in (0..).zip(root.iter().flat_map(|c| places(c))) {
            let chunk = self.chunk(part::FENCES, fences);
            for (at, fence) in (0..).zip(chunk.iter().flat_map(|c| places(c))) {
                let chunk = self.chunk(part::EDGES, fences * EDGES + at);
                // A fence that is not its chunk's first edge leads astray: nothing is found there.
                let there = chunk.into_iter().flat_map(places);
                let before = edges.len();
                edges.extend(there);
                if edges.get(before) != Some(&fence) {
                    edges.truncate(before);
                }
            }
        }
        let denied = edges.get(1..).unwrap_or_default().chunks_exact(2);
        denied.map(|ends| (ends[0], ends[1].wrapping_sub(1))).collect()
    }
}

/// The places in a chunk that are used.
fn places(chunk: &DeniedChunk) -> impl Iterator<Item = u128> + '_ {
    let place = |w: &[u64]| u128::from(w[0]) << 64 | u128::from(w[1]);
    chunk.words.chunks_exact(2).map(place).take_while(|place| *place != u128::MAX)
}

/// Ranges, ascending; those that touch become one.
#[derive(Default)]
struct Joined(Vec<(u32, u32)>);

impl Joined {
    fn add(&mut self, first: u32, last: u32) {
        match self.0.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(first) => *end = last,
            _ => self.0.push((first, last)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Ranges between these places: from every second one to before the next.
    fn between<T: Ord + Copy>(mut places: Vec<T>, before: impl Fn(T) -> T) -> Vec<(T, T)> {
        places.sort_unstable();
        places.dedup();
        places.chunks_exact(2).map(|ends| (ends[0], before(ends[1]))).collect()
    }

    fn held(denied: &Denied, bank: u32) -> Held {
        let chunks = denied.chunks(bank).into_iter().map(|(key, chunk)| (key, *chunk));
        Held { bank, chunks: chunks.collect() }
    }

    proptest! {
        /// What is read back is what was written, however the ranges lie: within a /24, over
        /// chunks, from the first address on.
        #[test]
        fn what_is_read_back_is_what_was_written(
            near in vec(0_u32..5_000, 0..60), far in vec(0_u32..=u32::MAX, 0..6),
            low in vec(0_u128..100_000, 0..2_000), high in vec(0_u128..u128::MAX >> 1, 0..40),
        ) {
            let v4 = between(near.into_iter().chain(far).collect(), |n| n - 1);
            let v6 = between(low.into_iter().chain(high).collect(), |n| n - 1);
            let denied = Denied { v4, v6 };
            prop_assert_eq!(difference(&denied, &held(&denied, 2).denied()), None);
        }
    }

    #[test]
    fn a_difference_is_found() {
        let denied = Denied { v4: vec![(0x0a00_0000, 0x0aff_ffff)], v6: vec![(1 << 90, 1 << 91)] };
        for (chunk, word) in [(0, 1), (1, 2)] {
            let mut held = held(&denied, 1);
            let mut keys: Vec<u32> = held.chunks.keys().copied().collect();
            keys.sort_unstable();
            let damaged = held.chunks.get_mut(&keys[chunk * 8]).unwrap();
            damaged.words[word - 1] ^= 1 << 40;
            damaged.words[3] ^= 1;
            assert!(difference(&denied, &held.denied()).is_some(), "chunk {chunk}");
        }
    }
}
