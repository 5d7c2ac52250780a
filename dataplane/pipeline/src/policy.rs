//! The compiled policy's answer for one new connection: three array look-ups, however many rules.

use crate::tables::{NOTHING, Tables};

/// A cell of the verdict table: may this connection be, and which rule says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Cell(pub u32);

impl Cell {
    /// Default deny: no rule speaks about it.
    pub const DEFAULT: Self = Self(0);
    /// No decision: a table of the generation is missing or too short. No rule has this id, and
    /// it does not allow.
    pub const BROKEN: Self = Self(NOTHING);
    const ALLOW: u32 = 1 << 31;
    const RULE: u32 = (1 << 24) - 1;

    /// A decision by the rule with this id (1..2^24).
    #[inline(always)]
    pub const fn new(allow: bool, rule: u32) -> Self {
        Self((rule & Self::RULE) | if allow { Self::ALLOW } else { 0 })
    }

    /// Is the connection allowed?
    #[inline(always)]
    pub const fn allows(self) -> bool {
        self.0 & Self::ALLOW != 0 && self.0 != NOTHING
    }

    /// Id of the deciding rule; 0 for the default.
    #[inline(always)]
    pub const fn rule(self) -> u32 {
        self.0 & Self::RULE
    }
}

/// Judges a new connection between two identity classes. [`Cell::BROKEN`]: a table is broken.
#[inline(always)]
pub fn judge<T: Tables>(t: &T, slot: u32, src: u32, dst: u32, service: u32) -> Cell {
    let Some(shape) = t.generation_entry(slot) else { return Cell::BROKEN };
    if src >= shape.classes || dst >= shape.classes || service >= shape.services {
        return Cell::BROKEN;
    }
    let row = t.row(slot, src.wrapping_mul(shape.classes).wrapping_add(dst));
    if row == NOTHING {
        return Cell::BROKEN;
    }
    Cell(t.cell(slot, row.wrapping_mul(shape.services).wrapping_add(service)))
}
