//! Generations, their rules, and what programs need besides.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{CHUNK, SLOTS};

/// Bits of [`GenerationEntry::flags`].
pub mod generation_flag {
    /// Some [`super::RuleEntry`] of the slot has events to log.
    pub const LOGS: u32 = 1;
}

entry! {
    /// What the dense tables of a generation look like, by slot.
    GenerationEntry: 32 {
        /// The generation that the slot holds.
        generation: u32,
        /// Identity classes: the stride of the row table, `row[src * classes + dst]`.
        classes: u32,
        /// Service classes: the stride of the verdict table, `cell[row * services + service]`.
        services: u32,
        /// Class of an address that no declared address and no prefix covers.
        world: u32,
        /// Source port classes; 0 and 1: source ports make no difference, and are not looked up.
        /// The service class of a connection is `class * sources + source class`.
        sources: u32,
        /// Where the shadow of cell 0 stands in the verdict table, that of cell `i` is `i` behind
        /// it: what the cell would be with the observing rules in force. 0: nobody observes.
        /// [`GenerationEntry::shadows_behind`] is the place.
        shadows: u32,
        /// Bits of [`generation_flag`].
        flags: u32,
        /// The bank that holds the denied sets, see [`crate::denied`]; 0: there are none.
        denied: u32,
    }
}

impl GenerationEntry {
    /// Where the shadows of so many cells stand: in the chunks behind them.
    #[inline(always)]
    pub const fn shadows_behind(cells: u32) -> u32 {
        cells.next_multiple_of(CHUNK as u32)
    }
}

entry! {
    /// What holds about a rule besides what the cells say, by slot and rule id. Id 0 is the
    /// default.
    RuleEntry: 16 {
        /// When the rule ends, in ticks of [`crate::Tables::now`]; 0: never. Only looked at when
        /// [`Settings::ends`] has passed.
        end: u64,
        /// Most events that one processor logs of it in a second; 0: it is not logged. Only
        /// looked at with [`generation_flag::LOGS`].
        log_per_s: u32,
        /// Zero.
        reserved: u32,
    }
}

entry! {
    /// What the programs need besides the tables: one entry.
    Settings: 40 {
        /// Ticks ([`crate::tables::TICKS_PER_SECOND`]) per jiffy of this kernel, times 65,536.
        tick_scale: u64,
        /// Added to the scaled jiffies; with a scale of 0 the clock stands still here.
        tick_offset: u64,
        /// ICMP errors that the switch may send in a second, per processor.
        errors_per_second: u64,
        /// By slot: when the first rule of the generation ends, in ticks; 0: none ends. Written
        /// before the slot is put in force. It stands here, and not with the shape, because every
        /// packet reads this entry.
        ends: [u64; SLOTS as usize],
    }
}
