//! What has passed each port, added up over the processors.

use std::collections::BTreeMap;

use aya::maps::{IterableMap, PerCpuValues};
use portcullis_pipeline::{
    layout::{Amount as AmountWords, DropKey, PORTS, Traffic as Words},
    reason::DropReason,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    batch::Sizes,
    error::{Error, Result},
    maps::{Bytes, Maps, name},
    peer::Told,
    pieces,
    place::table_index,
    status::{Amount, Traffic},
};

const WORDS: usize = size_of::<Words>();
const KEY: usize = size_of::<DropKey>();

/// The counters of all ports, by place in the port table. Those of interfaces that are gone stand
/// there until another interface gets the place.
pub(crate) struct Counted(BTreeMap<u32, Traffic>);

impl Counted {
    /// Reads all of them, with what was `told` by the other half. What passes meanwhile may be in some
    /// of the counters only.
    pub(crate) fn read(maps: &Maps, told: &Told) -> Result<Self> {
        let mut counted = BTreeMap::new();
        let sizes = Sizes { key: size_of::<u32>(), value: WORDS * maps.processors };
        pieces::walk(maps.traffic.map(), name::TRAFFIC, sizes, |key, value| {
            let traffic = sum(value);
            if traffic != Traffic::default() {
                counted.insert(u32::read_from_bytes(key).expect("a key of that size"), traffic);
            }
        })?;
        let sizes = Sizes { key: KEY, value: size_of::<u64>() * maps.processors };
        pieces::walk(maps.port_drops.map(), name::PORT_DROPS, sizes, |key, value| {
            let key = DropKey::read_from_bytes(key).expect("a key of that size");
            let reason = DropReason::ALL.get(key.reason as usize);
            if let (Some(reason), Some(at)) = (reason, counted.get_mut(&key.place)) {
                at.reasons.insert(reason.word(), total(value));
            }
        })?;
        let mut counted = Self(counted);
        counted.add(told);
        Ok(counted)
    }

    fn add(&mut self, told: &Told) {
        let ports = told.ports.iter().map(|port| (table_index(port.ifindex), &port.traffic));
        for (place, words) in ports.chain([(PORTS, &told.gone)]) {
            let traffic = of_words(words);
            if traffic != Traffic::default() {
                let own = self.0.remove(&place).unwrap_or_default();
                self.0.insert(place, own.plus(&traffic));
            }
        }
        for (place, reason, frames) in &told.drops {
            let reason = DropReason::ALL.get(*reason as usize);
            if let (Some(reason), Some(at)) = (reason, self.0.get_mut(place)) {
                *at.reasons.entry(reason.word()).or_default() += frames;
            }
        }
    }

    /// Of a port.
    pub(crate) fn of(&self, ifindex: u32) -> Traffic {
        self.0.get(&table_index(ifindex)).cloned().unwrap_or_default()
    }

    /// By place.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u32, &Traffic)> {
        self.0.iter().map(|(place, traffic)| (*place, traffic))
    }

    /// Of all ports that there ever were.
    pub(crate) fn total(&self) -> Traffic {
        self.0.values().fold(Traffic::default(), |sum, port| sum.plus(port))
    }
}

/// Packets and bytes that came in at a port.
pub(crate) fn sent(maps: &Maps, ifindex: u32) -> Result<(u64, u64)> {
    let counted = element(maps, table_index(ifindex))?;
    Ok((counted.in_packets, counted.in_bytes))
}

/// One element of the table, added up over the processors.
fn element(maps: &Maps, at: u32) -> Result<Traffic> {
    let of_each = maps.traffic.get(&at, 0).map_err(Error::map("read", name::TRAFFIC))?;
    Ok(sum(of_each.as_flattened().as_bytes()))
}

/// Adds what stands at the place of a number to what is gone, and says what that was.
pub(crate) fn retire(maps: &mut Maps, ifindex: u32) -> Result<Option<Traffic>> {
    let place = table_index(ifindex);
    let past = element(maps, place)?;
    if past == Traffic::default() {
        return Ok(None);
    }
    let gone = element(maps, PORTS)?.plus(&past);
    for (at, traffic) in [(PORTS, gone), (place, Traffic::default())] {
        let values = spread(maps.processors, words(&traffic))?;
        let set = maps.traffic.set(at, values, 0);
        set.map_err(Error::map("write", name::TRAFFIC))?;
    }
    for reason in DropReason::ALL {
        retire_drops(maps, place, *reason as u32)?;
    }
    Ok(Some(past))
}

fn retire_drops(maps: &mut Maps, place: u32, reason: u32) -> Result<()> {
    let key = |place| -> Bytes<KEY> {
        let key = DropKey { place, reason };
        key.as_bytes().try_into().expect("a key of that size")
    };
    let count = |maps: &Maps, place| {
        maps.port_drops.get(&key(place), 0).map_or(0, |each| each.iter().sum::<u64>())
    };
    let past = count(maps, place);
    if past == 0 {
        return Ok(());
    }
    let values = spread(maps.processors, count(maps, PORTS) + past)?;
    maps.port_drops
        .insert(key(PORTS), values, 0)
        .and_then(|()| maps.port_drops.remove(&key(place)))
        .map_err(Error::map("write", name::PORT_DROPS))
}

/// The value on the first processor, nothing on the others.
fn spread<V: aya::Pod + Default>(processors: usize, value: V) -> Result<PerCpuValues<V>> {
    let mut each: Vec<V> = (0..processors).map(|_| V::default()).collect();
    each[0] = value;
    PerCpuValues::try_from(each).map_err(|e| Error::file("write", "per-processor values", e))
}

/// As the other half tells it.
pub(crate) fn of_words(words: &[u64]) -> Traffic {
    sum(words.as_bytes())
}

/// One word a processor.
fn total(words: &[u8]) -> u64 {
    let word = |w: &[u8]| u64::from_ne_bytes(w.try_into().expect("chunks of that size"));
    words.chunks_exact(size_of::<u64>()).map(word).fold(0, u64::wrapping_add)
}

/// One entry a processor.
fn sum(entries: &[u8]) -> Traffic {
    let entry = |e: &[u8]| {
        let words = Words::read_from_bytes(e).expect("chunks of that size");
        Traffic {
            in_packets: words.in_packets.get(),
            in_bytes: words.in_bytes.get(),
            out_packets: words.out_packets.get(),
            out_bytes: words.out_bytes.get(),
            forwarded: words.forwarded.get(),
            flooded: words.flooded.get(),
            answered: words.answered.get(),
            dropped: words.dropped.get(),
            in_routed: amount(&words.in_routed),
            out_routed: amount(&words.out_routed),
            in_outside: amount(&words.in_outside),
            out_outside: amount(&words.out_outside),
            reasons: BTreeMap::new(),
        }
    };
    entries.chunks_exact(WORDS).map(entry).fold(Traffic::default(), |sum, one| sum.plus(&one))
}

fn amount(words: &AmountWords) -> Amount {
    Amount { packets: words.packets.get(), bytes: words.bytes.get() }
}

const fn words(t: &Traffic) -> [u64; WORDS / 8] {
    [
        t.in_packets,
        t.in_bytes,
        t.out_packets,
        t.out_bytes,
        t.forwarded,
        t.flooded,
        t.answered,
        t.dropped,
        t.in_routed.packets,
        t.in_routed.bytes,
        t.out_routed.packets,
        t.out_routed.bytes,
        t.in_outside.packets,
        t.in_outside.bytes,
        t.out_outside.packets,
        t.out_outside.bytes,
    ]
}

impl Traffic {
    /// Both together.
    pub(crate) fn plus(mut self, other: &Self) -> Self {
        for (reason, packets) in &other.reasons {
            *self.reasons.entry(reason).or_default() += packets;
        }
        Self {
            in_packets: self.in_packets + other.in_packets,
            in_bytes: self.in_bytes + other.in_bytes,
            out_packets: self.out_packets + other.out_packets,
            out_bytes: self.out_bytes + other.out_bytes,
            forwarded: self.forwarded + other.forwarded,
            flooded: self.flooded + other.flooded,
            answered: self.answered + other.answered,
            dropped: self.dropped + other.dropped,
            in_routed: self.in_routed + other.in_routed,
            out_routed: self.out_routed + other.out_routed,
            in_outside: self.in_outside + other.in_outside,
            out_outside: self.out_outside + other.out_outside,
            reasons: self.reasons,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_processors_add_up_and_go_back() {
        let one: Vec<u64> = (1..=16).collect();
        let entries = [one.as_bytes(), one.as_bytes(), one.as_bytes()].concat();
        let traffic = sum(&entries);
        assert_eq!((traffic.in_packets, traffic.forwarded, traffic.dropped), (3, 15, 24));
        assert_eq!((traffic.in_routed.packets, traffic.out_outside.bytes), (27, 48));
        assert_eq!(sum(words(&traffic).as_bytes()), traffic);
    }

    #[test]
    fn reasons_add_up() {
        let port = Traffic { reasons: BTreeMap::from([("no-rule", 2)]), ..Traffic::default() };
        let both = port.clone().plus(&port);
        assert_eq!(both.reasons, BTreeMap::from([("no-rule", 4)]));
    }
}
