//! Rules that end. The next generation leaves them out; between their end and that moment the
//! data plane by itself stops letting through what they allowed. Whoever else allows the same
//! lasts no longer (the compiler names the longest-lasting rule among equals), and a deny stays a
//! deny: closed is the safe side.

use crate::tables::Tables;

/// Is this end in the past? 0 is no end.
#[inline(always)]
const fn is_past(end: u64, now: u64) -> bool {
    // One comparison for the fast path: no end becomes the largest number.
    end.wrapping_sub(1) < now
}

/// Has this rule ended? Asked for every packet: before the first end of any rule of the slot that
/// is one comparison.
#[inline(always)]
pub fn has_ended<T: Tables>(t: &T, slot: u32, rule: u32, now: u64) -> bool {
    if !is_past(t.ends(slot), now) {
        return false;
    }
    match t.rule(slot, rule) {
        Some(r) => is_past(r.end, now),
        None => true,
    }
}
