//! The next chains of a queue: numbers and first descriptors, read for a burst at once. The processor
//! waits for the lines of another core side by side, and the driver's index is looked at once for all.

use portcullis_engine::memory;

use crate::{
    descriptor::Descriptor,
    map::Map,
    ring::{Direction, Lie},
};

/// Chains that should be known before they are needed: a burst of frames.
pub const AHEAD: usize = 32;
/// Chains that are known at most: a burst, and what is left of the one before.
const ROOM: usize = 2 * AHEAD;
/// Bytes of each that are fetched: two lines, a short frame with its header.
const FETCHED: usize = 128;

/// See above. Chains are counted from the first on.
pub struct Ahead {
    /// By number modulo [`ROOM`].
    chains: [(u16, Descriptor); ROOM],
    /// The first that is known.
    first: usize,
    /// The next one.
    next: usize,
    /// The first that is not known yet.
    end: usize,
    /// The first that is not fetched yet.
    fetched: usize,
}

impl Ahead {
    /// None is known.
    pub const EMPTY: Self =
        Self { chains: [(0, Descriptor::NONE); ROOM], first: 0, next: 0, end: 0, fetched: 0 };

    /// How many are known.
    #[inline(always)]
    pub const fn known(&self) -> usize {
        self.end - self.next
    }

    /// The next one.
    #[inline(always)]
    pub fn next(&self) -> Option<(u16, Descriptor)> {
        (self.known() > 0).then(|| self.chains[self.next % ROOM])
    }

    /// It is taken.
    #[inline(always)]
    pub fn advance(&mut self) {
        self.next += 1;
    }

    /// The last `count` were not needed: they are the next ones again.
    pub fn put_back(&mut self, count: u16) {
        let count = usize::from(count);
        if self.next - self.first >= count && self.known() + count <= ROOM {
            self.next -= count;
        } else {
            // They are read once more.
            (self.first, self.next, self.fetched) = (self.end, self.end, self.end);
        }
    }

    /// Reads so many more, as far as there is room: all numbers, then all descriptors; how many.
    pub fn extend(
        &mut self,
        count: usize,
        head: impl Fn(u16) -> Result<u16, Lie>,
        descriptor: impl Fn(u16) -> Result<Descriptor, Lie>,
    ) -> Result<usize, Lie> {
        let count = count.min(ROOM - self.known());
        for (number, at) in (0..).zip(self.end..self.end + count) {
            self.chains[at % ROOM].0 = head(number)?;
        }
        for at in self.end..self.end + count {
            let (head, first) = &mut self.chains[at % ROOM];
            *first = descriptor(*head)?;
        }
        self.end += count;
        Ok(count)
    }

    /// Has the beginning of the next buffer fetched for which that was not done yet. False: there is
    /// none.
    #[inline(always)]
    pub fn fetch(&mut self, memory: &Map, direction: Direction) -> bool {
        let at = self.fetched.max(self.next);
        if at == self.end {
            return false;
        }
        self.fetched = at + 1;
        let (_, first) = self.chains[at % ROOM];
        let bytes = (first.length() as usize).min(FETCHED);
        if let Some(slice) = memory.slice(first.address(), bytes) {
            let at = slice.ptr_guard().as_ptr();
            match direction {
                Direction::Read => memory::fetch(at, bytes),
                Direction::Write => memory::fetch_to_write(at, bytes),
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is done to it.
    #[derive(Clone, Copy, Debug)]
    enum Deed {
        Extend(usize),
        Take(usize),
        PutBack(u16),
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            (0_usize..100).prop_map(Deed::Extend),
            (0_usize..50).prop_map(Deed::Take),
            (0_u16..50).prop_map(Deed::PutBack),
        ]
    }

    proptest! {
        /// The next chain is the next one in the ring, or not known.
        #[test]
        fn none_is_left_out_and_none_comes_twice(
            deeds in proptest::collection::vec(deed(), 1..100),
        ) {
            let (mut ahead, mut next) = (Ahead::EMPTY, 0_u16);
            for deed in deeds {
                match deed {
                    Deed::Extend(count) => {
                        let (known, from) = (ahead.known(), next + ahead.known() as u16);
                        let read =
                            ahead.extend(count, |number| Ok(from + number), |_| Ok(Descriptor::NONE));
                        prop_assert_eq!(read, Ok(count.min(ROOM - known)));
                        prop_assert_eq!(ahead.known(), known + count.min(ROOM - known));
                    }
                    Deed::Take(count) => {
                        for _ in 0..count.min(ahead.known()) {
                            prop_assert_eq!(ahead.next().map(|(head, _)| head), Some(next));
                            ahead.advance();
                            next += 1;
                        }
                    }
                    Deed::PutBack(count) => {
                        let count = count.min(next);
                        ahead.put_back(count);
                        next -= count;
                    }
                }
                let expected = (ahead.known() > 0).then_some(next);
                prop_assert_eq!(ahead.next().map(|(head, _)| head), expected);
            }
        }
    }
}
