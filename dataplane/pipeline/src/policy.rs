//! The compiled policy's answer for one new connection: three array look-ups, however many rules.

use crate::{
    layout::GenerationEntry,
    tables::{NOTHING, Tables},
};

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

/// A cell and its shadow, the cell as it would be with the observing rules in force: one word,
/// shadow << 32 | cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged(pub u64);

impl Judged {
    /// Both.
    #[inline(always)]
    pub const fn new(cell: Cell, shadow: Cell) -> Self {
        Self((shadow.0 as u64) << 32 | cell.0 as u64)
    }

    /// What holds.
    #[inline(always)]
    pub const fn cell(self) -> Cell {
        Cell(self.0 as u32)
    }

    /// What would hold: the same where nobody observes, or observers agree.
    #[inline(always)]
    pub const fn shadow(self) -> Cell {
        Cell((self.0 >> 32) as u32)
    }
}

/// Judges a new connection between two identity classes. [`Cell::BROKEN`]: a table is broken.
#[inline(always)]
pub fn judge<T: Tables>(t: &T, slot: u32, src: u32, dst: u32, service: u32) -> Cell {
    let Some(shape) = t.generation_entry(slot) else { return Cell::BROKEN };
    Cell(t.cell(slot, place(t, slot, shape, src, dst, service)))
}

/// As [`judge`], with what the observing rules say.
#[inline(always)]
pub fn judge_observed<T: Tables>(t: &T, slot: u32, src: u32, dst: u32, service: u32) -> Judged {
    let Some(shape) = t.generation_entry(slot) else {
        return Judged::new(Cell::BROKEN, Cell::BROKEN);
    };
    let place = place(t, slot, shape, src, dst, service);
    let cell = Cell(t.cell(slot, place));
    if shape.shadows == 0 {
        return Judged::new(cell, cell);
    }
    let shadow = Cell(t.cell(slot, shape.shadows.wrapping_add(place)));
    // A broken observer changes nothing.
    Judged::new(cell, if shadow == Cell::BROKEN { cell } else { shadow })
}

/// Where the verdict stands in the verdict table; [`NOTHING`], where nothing stands, if a table is
/// broken.
#[inline(always)]
fn place<T: Tables>(
    t: &T,
    slot: u32,
    shape: &GenerationEntry,
    src: u32,
    dst: u32,
    service: u32,
) -> u32 {
    if src >= shape.classes || dst >= shape.classes || service >= shape.services {
        return NOTHING;
    }
    let row = t.row(slot, src.wrapping_mul(shape.classes).wrapping_add(dst));
    if row == NOTHING {
        return NOTHING;
    }
    row.wrapping_mul(shape.services).wrapping_add(service)
}
