//! What a slot of the tables holds; and the decision function that these bytes make, written down
//! a second time: it shares nothing with what filled the slot.

use portcullis_pipeline::{
    addr::Addr,
    layout::{GenerationEntry, PrefixEntry, RuleEntry, SOURCE_TABLES},
    policy::Cell,
};

use crate::slot::Tables;

/// Class by number, for every u16.
pub type Numbers = Vec<u16>;

/// A slot, as it was read back.
pub struct Held {
    /// Shape of the dense tables.
    pub shape: GenerationEntry,
    /// When the first rule ends, ticks.
    pub first_end: u64,
    /// What depends on ports.
    pub tables: Tables,
    /// Service classes, by service table.
    pub services: Vec<Numbers>,
    /// Source classes, by service table.
    pub sources: Vec<Numbers>,
    /// The row table.
    pub rows: Vec<u32>,
    /// The verdict table.
    pub cells: Vec<u32>,
    /// Its shadow; empty where there is none.
    pub shadows: Vec<u32>,
    /// By rule id, the default first.
    pub rules: Vec<RuleEntry>,
}

impl Held {
    /// Identity class of an address, as a packet's would be found.
    pub fn class(&self, addr: Addr, scope: u32) -> u32 {
        let scope = if addr.is_link_local_v6() { scope } else { 0 };
        if let Some(entry) = self.tables.addresses.get(&(addr, scope)) {
            return entry.class;
        }
        self.prefix(addr).map_or(self.shape.world, |entry| entry.class)
    }

    /// The longest prefix that covers an address.
    pub fn prefix(&self, addr: Addr) -> Option<PrefixEntry> {
        let bits = u128::from_be_bytes(addr.octets());
        (0..=128_u8).rev().find_map(|len| {
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            let first = (bits & mask).to_be_bytes();
            self.tables.prefixes.get(&(Addr::v6(first), len)).copied()
        })
    }

    /// Service class of a destination number and a source port; `None`: a table is too short.
    pub fn service(&self, table: u32, number: u16, source: u16) -> Option<u32> {
        let class = u32::from(*self.services.get(table as usize)?.get(usize::from(number))?);
        if self.shape.sources <= 1 {
            return Some(class);
        }
        let source = match self.sources.get(table as usize) {
            Some(classes) => u32::from(*classes.get(usize::from(source))?),
            None if table < SOURCE_TABLES => return None,
            None => 0,
        };
        Some(class * self.shape.sources + source)
    }

    /// Is the service class of every number this one, whatever the source port?
    pub fn plainly(&self, table: u32, classes: &[u16]) -> bool {
        let held = self.services.get(table as usize);
        self.shape.sources <= 1 && held.is_some_and(|held| held == classes)
    }

    /// Verdict and shadow for two identity classes and a service class.
    pub fn verdict(&self, src: u32, dst: u32, service: u32) -> (Cell, Cell) {
        let pair = u64::from(src) * u64::from(self.shape.classes) + u64::from(dst);
        let row = usize::try_from(pair).ok().and_then(|pair| self.rows.get(pair));
        let place = row.map(|row| *row as usize * self.shape.services as usize + service as usize);
        let cell = place.and_then(|at| self.cells.get(at)).map_or(Cell::BROKEN, |c| Cell(*c));
        let shadow = place.and_then(|at| self.shadows.get(at)).map_or(cell, |c| Cell(*c));
        (cell, shadow)
    }
}
