//! What ports have of the connections in the table: given back as connections go, and put right
//! by what a whole pass of the sweeper has seen.
//!
//! Programs count what they open and never what is removed, the sweeper only what it removes; a
//! packet and the sweeper that meet at one connection can put the difference wrong by one.

use std::{collections::BTreeMap, os::fd::AsFd};

use aya::maps::IterableMap;
use portcullis_pipeline::{
    conntrack,
    layout::{FlowEntry, PORTS, PortReturns, PortState},
    limit,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    batch::{self, Cursor, Sizes},
    error::{Error, Result},
    maps::{Bytes, Maps, name},
    place::table_index,
};

/// Connections of one port: all of them, and those of TCP that were not established yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(crate) flows: u64,
    pub(crate) half_open: u64,
}

/// By place in the port table.
type ByPlace = BTreeMap<u32, Connections>;

impl Connections {
    fn of(entry: &FlowEntry) -> (u32, Self) {
        let (place, half) = limit::owner(entry);
        (place, Self { flows: 1, half_open: conntrack::is_half_open(half).into() })
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            flows: self.flows.wrapping_add(other.flows),
            half_open: self.half_open.wrapping_add(other.half_open),
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            flows: self.flows.wrapping_sub(other.flows),
            half_open: self.half_open.wrapping_sub(other.half_open),
        }
    }

    /// A number below zero is none.
    fn at_least_none(self) -> Self {
        let floor = |n: u64| if n > u64::MAX / 2 { 0 } else { n };
        Self { flows: floor(self.flows), half_open: floor(self.half_open) }
    }
}

/// One pass of the sweeper over the whole table.
#[derive(Default)]
pub(crate) struct Pass {
    taken_before: ByPlace,
    seen: ByPlace,
    removed: ByPlace,
}

impl Pass {
    /// Before the first entry is looked at.
    pub(crate) fn begin(maps: &Maps) -> Result<Self> {
        Ok(Self { taken_before: taken(maps)?, ..Self::default() })
    }

    /// A connection that stays.
    pub(crate) fn saw(&mut self, entry: &FlowEntry) {
        add(&mut self.seen, Connections::of(entry));
    }

    /// A connection that was removed.
    pub(crate) fn removed(&mut self, entry: &FlowEntry) {
        add(&mut self.removed, Connections::of(entry));
    }

    /// Gives back what was removed since the last time.
    pub(crate) fn give_back(&mut self, maps: &mut Maps) -> Result<()> {
        for (place, gone) in std::mem::take(&mut self.removed) {
            let returned = returned(maps, place)?.plus(gone);
            set_returned(maps, place, returned)?;
        }
        Ok(())
    }

    /// Behind the last entry: puts right what does not agree with what was seen.
    pub(crate) fn end(self, maps: &mut Maps) -> Result<()> {
        let now = taken(maps)?;
        let places = self.taken_before.keys().chain(now.keys());
        for place in places.copied().collect::<std::collections::BTreeSet<u32>>() {
            let of = |all: &ByPlace| all.get(&place).copied().unwrap_or_default();
            let returned = returned(maps, place)?;
            let right = right(of(&self.taken_before), of(&now), of(&self.seen), returned);
            if right != returned {
                set_returned(maps, place, right)?;
            }
        }
        Ok(())
    }
}

/// What should have been given back, by what stood in the words before a pass and behind it, and
/// by what was seen on the way.
fn right(
    before: Connections,
    now: Connections,
    seen: Connections,
    returned: Connections,
) -> Connections {
    if before == now {
        // Nobody opened anything meanwhile: what was seen is all there is.
        return now.minus(seen);
    }
    // All that was opened meanwhile came on top at most.
    let opened = now.minus(before).at_least_none().flows;
    let most = seen.flows + opened;
    let counted = now.minus(returned).at_least_none().flows;
    Connections { flows: returned.flows.wrapping_add(counted.saturating_sub(most)), ..returned }
}

fn add(to: &mut ByPlace, (place, one): (u32, Connections)) {
    let entry = to.entry(place).or_default();
    *entry = entry.plus(one);
}

/// How many connections the port has now.
pub(crate) fn count(maps: &Maps, ifindex: u32) -> Result<Connections> {
    let place = table_index(ifindex);
    let state = maps.port_state.get(&place, 0).map_err(Error::map("read", name::PORT_STATE))?;
    Ok(words(&state).minus(returned(maps, place)?).at_least_none())
}

fn words(state: &[u8]) -> Connections {
    let state = PortState::read_from_bytes(state).expect("an entry of that size");
    Connections { flows: state.flows.get(), half_open: state.half_open.get() }
}

/// What the programs have counted.
fn taken(maps: &Maps) -> Result<ByPlace> {
    let sizes = Sizes { key: size_of::<u32>(), value: size_of::<PortState>() };
    let fd = maps.port_state.map().fd().as_fd();
    let piece = batch::read(fd, sizes, Cursor::default(), PORTS as usize)
        .map_err(|source| Error::Batch { map: name::PORT_STATE, source })?;
    let all = (0..).zip(piece.values.chunks_exact(sizes.value).map(words));
    Ok(all.filter(|(_, words)| *words != Connections::default()).collect())
}

fn returned(maps: &Maps, place: u32) -> Result<Connections> {
    let entry = maps.port_returns.get(&place, 0).map_err(Error::map("read", name::PORT_RETURNS))?;
    let entry = PortReturns::read_from_bytes(&entry).expect("an entry of that size");
    Ok(Connections { flows: entry.flows.get(), half_open: entry.half_open.get() })
}

fn set_returned(maps: &mut Maps, place: u32, to: Connections) -> Result<()> {
    let words = [to.flows, to.half_open];
    let entry: Bytes<16> = words.as_bytes().try_into().expect("two words");
    maps.port_returns.set(place, entry, 0).map_err(Error::map("write", name::PORT_RETURNS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn c(flows: u64, half_open: u64) -> Connections {
        Connections { flows, half_open }
    }

    #[test]
    fn a_quiet_pass_knows_all() {
        assert_eq!(right(c(10, 4), c(10, 4), c(3, 1), c(6, 4)), c(7, 3));
        assert_eq!(right(c(10, 4), c(10, 4), c(3, 1), c(9, 3)), c(7, 3));
    }

    #[test]
    fn in_a_busy_pass_too_many_are_noticed() {
        // 20 opened meanwhile, 5 seen: 25 at most, 26 counted.
        assert_eq!(right(c(100, 9), c(120, 7), c(5, 1), c(94, 7)), c(95, 7));
        // Within what may be: nothing to say.
        assert_eq!(right(c(100, 9), c(120, 7), c(5, 1), c(97, 7)), c(97, 7));
    }

    #[test]
    fn words_that_went_below_zero_are_none() {
        assert_eq!(c(3, 0).minus(c(4, 1)).at_least_none(), c(0, 0));
    }
}
