//! A place in a row of buffers.

use vm_memory::VolatileSlice;

use crate::{map::Map, ring::Part};

/// Where reading or writing goes on.
pub struct Cursor<'a> {
    memory: &'a Map,
    parts: &'a [Part],
    /// Bytes of the first part that are behind.
    behind: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning.
    pub const fn new(memory: &'a Map, parts: &'a [Part]) -> Self {
        Self { memory, parts, behind: 0 }
    }

    /// The next bytes that lie together, at most so many; `None` at the end.
    #[inline(always)]
    fn next(&mut self, most: usize) -> Option<VolatileSlice<'a>> {
        while let [first, rest @ ..] = self.parts {
            let left = first.length as usize - self.behind;
            if left == 0 {
                (self.parts, self.behind) = (rest, 0);
                continue;
            }
            let count = left.min(most);
            let address = first.address + self.behind as u64;
            self.behind += count;
            return self.memory.slice(address, count);
        }
        None
    }

    /// Goes over so many bytes.
    pub fn skip(&mut self, bytes: usize) {
        let mut left = bytes;
        while let (1.., [first, rest @ ..]) = (left, self.parts) {
            let own = first.length as usize - self.behind;
            if left < own {
                self.behind += left;
                return;
            }
            (self.parts, self.behind) = (rest, 0);
            left -= own;
        }
    }

    /// Fills `to`, as far as there is something; how far.
    pub fn read(&mut self, to: &mut [u8]) -> usize {
        let mut done = 0;
        while done < to.len() {
            let Some(slice) = self.next(to.len() - done) else { break };
            done += slice.copy_to(&mut to[done..]);
        }
        done
    }

    /// Reads so many bytes into memory of another guest, as far as there are that many, and room.
    pub fn read_into(&mut self, to: VolatileSlice<'_>, bytes: usize) {
        let (mut to, mut left) = (to, bytes);
        while left > 0 {
            let Some(source) = self.next(left) else { break };
            source.copy_to_volatile_slice(to);
            left -= source.len();
            let Ok(rest) = to.offset(source.len()) else { break };
            to = rest;
        }
    }

    /// Writes all of `from` that there is room for.
    pub fn write(&mut self, from: &[u8]) {
        let mut done = 0;
        while done < from.len() {
            let Some(slice) = self.next(from.len() - done) else { break };
            slice.copy_from(&from[done..]);
            done += slice.len();
        }
    }

    /// Writes what another one reads: so many bytes, as far as both go.
    pub fn copy(&mut self, from: &mut Cursor<'_>, bytes: usize) {
        let mut left = bytes;
        while left > 0 {
            let Some(source) = from.next(left) else { break };
            left -= source.len();
            let mut done = 0;
            while done < source.len() {
                let Some(to) = self.next(source.len() - done) else { return };
                let Ok(rest) = source.offset(done) else { return };
                rest.copy_to_volatile_slice(to);
                done += to.len();
            }
        }
    }
}

/// Bytes of all parts together.
pub fn length(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.length as usize).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use vm_memory::{Bytes, GuestAddress};

    use super::*;
    use crate::ring::Memory;

    const BYTES: usize = 0x4000;

    fn memory() -> Memory {
        Memory::from_ranges(&[(GuestAddress(0), BYTES)]).unwrap()
    }

    /// Parts of these lengths, one behind the other from `address` on.
    fn parts(mut address: u64, lengths: &[u32]) -> Vec<Part> {
        let part = |length: &u32| {
            let part = Part { address, length: *length };
            address += u64::from(*length);
            part
        };
        lengths.iter().map(part).collect()
    }

    proptest! {
        /// However two rows of buffers are cut, what one holds comes into the other.
        #[test]
        fn bytes_arrive_in_their_order(
            from in proptest::collection::vec(0_u32..200, 1..20),
            to in proptest::collection::vec(0_u32..200, 1..20),
            skip in 0_usize..100,
        ) {
            let memory = memory();
            let text: Vec<u8> = (0..0x2000_u32).map(|at| (at % 251) as u8).collect();
            memory.write_slice(&text, GuestAddress(0)).unwrap();
            let (from, to) = (parts(0, &from), parts(0x2000, &to));
            let (sent, room) = (length(&from), length(&to));
            let memory = Arc::new(memory);
            let map = Map::new(Arc::clone(&memory));
            let mut source = Cursor::new(&map, &from);
            let mut head = vec![0; skip];
            let skipped = source.read(&mut head);
            prop_assert_eq!(&head[..skipped], &text[..skip.min(sent)]);
            let mut source = Cursor::new(&map, &from);
            source.skip(skip);
            let mut target = Cursor::new(&map, &to);
            target.write(&[9]);
            let bytes = sent - skipped;
            target.copy(&mut source, bytes);
            let mut got = vec![0; room];
            memory.read_slice(&mut got, GuestAddress(0x2000)).unwrap();
            let expected: Vec<u8> =
                [9].into_iter().chain(text[skipped..sent].iter().copied()).take(room).collect();
            let (filled, empty) = got.split_at(expected.len());
            prop_assert_eq!(filled, expected);
            prop_assert!(empty.iter().all(|byte| *byte == 0));
        }
    }
}
