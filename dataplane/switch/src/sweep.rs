//! Removing idle connections, a piece of the table at a time.

use std::os::fd::AsFd;

use aya::maps::IterableMap;
use portcullis_pipeline::{
    conntrack::GRACE,
    layout::{FlowEntry, FlowKey},
};
use zerocopy::FromBytes;

use crate::{
    Switch,
    batch::{self, Cursor, Piece, Sizes},
    clock,
    error::{Error, Result},
    maps::{Maps, name},
    status::SweepReport,
    taken::Pass,
};

/// Connections that one sweep looks at.
const PIECE: usize = 32_768;

const FLOW: Sizes = Sizes { key: size_of::<FlowKey>(), value: size_of::<FlowEntry>() };
pub(crate) const KEY: usize = FLOW.key;
pub(crate) const VALUE: usize = FLOW.value;

impl Switch {
    /// Removes idle connections among the next few ten thousand; the next call goes on there. And
    /// what else is to be done from time to time: advertises routers.
    pub fn sweep(&mut self) -> Result<SweepReport> {
        let now = self.ticks()?;
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None => Pass::begin(&self.maps)?,
        };
        let piece = read(&self.maps, self.sweep_from)?;
        let mut report = SweepReport { complete: piece.next.is_none(), ..SweepReport::default() };
        for (key, value) in piece.keys.chunks_exact(KEY).zip(piece.values.chunks_exact(VALUE)) {
            report.seen += 1;
            let key: [u8; KEY] = key.try_into().expect("chunks of that size");
            let entry = entry_of(value);
            match is_expired(&key, &entry, now) {
                true => report.removed += u64::from(self.remove_idle(&key, now, &mut pass)?),
                false => pass.saw(&entry),
            }
        }
        pass.give_back(&mut self.maps)?;
        match piece.next {
            Some(_) => self.pass = Some(pass),
            None => pass.end(&mut self.maps)?,
        }
        self.sweep_from = piece.next.unwrap_or_default();
        self.announce_in_time()?;
        Ok(report)
    }

    /// Removes a connection unless a packet has come meanwhile; after this look at it, and before it
    /// is gone, none can use it any more, see [`GRACE`].
    fn remove_idle(&mut self, key: &[u8; KEY], now: u64, pass: &mut Pass) -> Result<bool> {
        let Ok(value) = self.maps.flows.get(key, 0) else { return Ok(false) };
        let entry = entry_of(&value);
        if !is_expired(key, &entry, now) {
            pass.saw(&entry);
            return Ok(false);
        }
        self.maps.flows.remove(key).map_err(Error::map("clean", name::FLOWS))?;
        pass.removed(&entry);
        Ok(true)
    }

    /// Now, in the ticks that flow entries carry.
    pub(crate) fn ticks(&self) -> Result<u64> {
        clock::now(&self.code.clock, &self.maps.settings()?)
    }
}

fn entry_of(value: &[u8]) -> FlowEntry {
    FlowEntry::read_from_bytes(value).expect("an entry of that size")
}

fn is_expired(key: &[u8; KEY], entry: &FlowEntry, now: u64) -> bool {
    let key = FlowKey::read_from_bytes(key).expect("a key of that size");
    entry.is_expired_by(key.protocol, now, GRACE)
}

pub(crate) fn read(maps: &Maps, from: Cursor) -> Result<Piece> {
    batch::read(maps.flows.map().fd().as_fd(), FLOW, from, PIECE)
        .map_err(|source| Error::Batch { map: name::FLOWS, source })
}

/// How many connections there are.
pub(crate) fn count(maps: &Maps) -> Result<u64> {
    let (mut count, mut from) = (0, Some(Cursor::default()));
    while let Some(cursor) = from {
        let piece = read(maps, cursor)?;
        count += (piece.keys.len() / KEY) as u64;
        from = piece.next;
    }
    Ok(count)
}
