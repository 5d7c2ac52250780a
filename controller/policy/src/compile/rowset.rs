//! Rows of the verdict table, each once.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Rows of the verdict table and their shadows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// By `src * classes + dst`: the row.
    pub rows: Vec<u32>,
    /// By `row * services + service`.
    pub cells: Vec<u32>,
    /// What the cells would be if observing rules decided too; empty where there are none.
    pub shadows: Vec<u32>,
}

/// The tables would hold more than this many cells.
#[derive(Debug, PartialEq, Eq)]
pub struct TooManyCells(pub u64);

/// Rows as they are found.
pub struct RowSet {
    /// Cells of a row, without its shadows.
    width: usize,
    has_shadows: bool,
    limit: u64,
    cells: Vec<u32>,
    shadows: Vec<u32>,
    /// By hash; each with its hash.
    known: HashTable<(u64, u32)>,
    hasher: DefaultHashBuilder,
}

impl RowSet {
    /// No rows yet.
    pub fn new(width: usize, has_shadows: bool, limit: u64) -> Self {
        Self {
            width,
            has_shadows,
            limit,
            cells: Vec::new(),
            shadows: Vec::new(),
            known: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// The number of a row; `row` holds its cells and behind them its shadows, if there are any.
    pub fn intern(&mut self, row: &[u32]) -> Result<u32, TooManyCells> {
        let (cells, shadows) = row.split_at(self.width);
        let hash = self.hasher.hash_one(row);
        let is_it = |&(known, id): &(u64, u32)| {
            let at = self.range(id);
            known == hash
                && self.cells[at.clone()] == *cells
                && (!self.has_shadows || self.shadows[at] == *shadows)
        };
        if let Some(&(_, id)) = self.known.find(hash, is_it) {
            return Ok(id);
        }
        let next = self.known.len() as u32;
        let count = (u64::from(next) + 1) * self.width as u64;
        if count > self.limit {
            return Err(TooManyCells(count));
        }
        self.cells.extend_from_slice(cells);
        self.shadows.extend_from_slice(shadows);
        self.known.insert_unique(hash, (hash, next), |&(hash, _)| hash);
        Ok(next)
    }

    fn range(&self, id: u32) -> std::ops::Range<usize> {
        id as usize * self.width..(id as usize + 1) * self.width
    }

    /// The tables, rows numbered as pairs meet them; rows that no pair has are left out.
    pub fn finish(self, mut of_pair: Vec<u32>) -> Rows {
        const NEW: u32 = u32::MAX;
        let mut number = vec![NEW; self.known.len()];
        let mut order = Vec::with_capacity(number.len());
        for pair in &mut of_pair {
            let slot = &mut number[*pair as usize];
            if *slot == NEW {
                *slot = order.len() as u32;
                order.push(*pair);
            }
            *pair = *slot;
        }
        let sorted = |from: &[u32]| {
            let mut to = Vec::with_capacity(order.len() * self.width);
            order.iter().for_each(|&id| to.extend_from_slice(&from[self.range(id)]));
            to
        };
        let cells = sorted(&self.cells);
        let shadows = if self.has_shadows { sorted(&self.shadows) } else { Vec::new() };
        Rows { rows: of_pair, cells, shadows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_apart_by_their_shadows_too_and_numbered_as_they_are_met() {
        let mut set = RowSet::new(2, true, 100);
        let rows = [[1, 2, 1, 2], [1, 2, 1, 3], [0, 0, 0, 0], [1, 2, 1, 2]];
        let ids: Vec<u32> = rows.iter().map(|r| set.intern(r).unwrap()).collect();
        assert_eq!(ids, [0, 1, 2, 0]);
        let rows = set.finish(vec![2, 1, 2, 1]);
        assert_eq!(rows.rows, [0, 1, 0, 1]);
        assert_eq!((rows.cells, rows.shadows), (vec![0, 0, 1, 2], vec![0, 0, 1, 3]));
    }

    #[test]
    fn too_many_are_refused_with_their_number() {
        let mut set = RowSet::new(3, false, 8);
        assert_eq!(set.intern(&[1, 2, 3]), Ok(0));
        assert_eq!(set.intern(&[1, 2, 4]), Ok(1));
        assert_eq!(set.intern(&[1, 2, 3]), Ok(0));
        assert_eq!(set.intern(&[1, 2, 5]), Err(TooManyCells(9)));
    }
}
