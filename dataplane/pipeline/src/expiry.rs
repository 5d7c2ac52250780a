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

/// Has any rule of the slot's generation ended? What was judged before is then judged again.
#[inline(always)]
pub fn has_begun<T: Tables>(t: &T, slot: u32, now: u64) -> bool {
    is_past(t.ends(slot), now)
}

/// Has this rule ended? For the few packets after [`has_begun`].
#[inline(always)]
pub fn has_ended<T: Tables>(t: &T, slot: u32, rule: u32, now: u64) -> bool {
    if !has_begun(t, slot, now) {
        return false;
    }
    match t.rule(slot, rule) {
        Some(r) => is_past(r.end, now),
        None => true,
    }
}
