//! Denied sets: millions of prefixes whose members nobody may hear of, asked about the outside
//! only, and only for packets whose way is not known yet.
//!
//! They stand in a table of chunks in one of two banks, whatever the slot: a generation names the
//! bank ([`GenerationEntry::denied`](crate::layout::GenerationEntry::denied)), so one that changes
//! nothing about them writes nothing. The number of look-ups is fixed:
//!
//! * IPv4, two: 2,048 chunks of [`part::GROUPS`], each with the 256 groups of its /11. A group
//!   says of 32 /24s which are denied whole and which in part; the latter are counted through over
//!   all groups, and their count is the place of their [`part::LEAVES`]: 256 bits, one an address.
//! * IPv6, three: all places where the answer changes, ascending, 256 a chunk of
//!   [`part::EDGES`]; the first place of each of these chunks in chunks of [`part::FENCES`], and of
//!   those in the one chunk of [`part::ROOT`]. Behind an edge with an odd number it is denied.

use crate::{
    addr::Addr,
    layout::{DENIED_WORDS, DeniedChunk, port_kind},
    packet::Packet,
    reason::DropReason,
    route,
    tables::Tables,
};

/// What a chunk is, in its key.
pub mod part {
    /// Groups of /24s.
    pub const GROUPS: u32 = 0;
    /// Bits of /24s that are denied in part.
    pub const LEAVES: u32 = 1;
    /// Where the answer changes.
    pub const EDGES: u32 = 2;
    /// The first edge of each chunk.
    pub const FENCES: u32 = 3;
    /// The first fence of each chunk.
    pub const ROOT: u32 = 4;
}

/// Bits of a chunk's number within its part.
pub const NUMBER_BITS: u32 = 16;
/// Bits of the part in a key.
const PART_BITS: u32 = 3;

/// Key of a chunk.
#[inline(always)]
pub const fn key(bank: u32, part: u32, number: u32) -> u32 {
    (bank << PART_BITS | part) << NUMBER_BITS | number
}

/// The bank of a key.
#[inline(always)]
pub const fn bank_of(key: u32) -> u32 {
    key >> (NUMBER_BITS + PART_BITS)
}

/// /24s of one group.
pub const GROUP_NETS: u32 = 32;
/// Groups of one chunk.
pub const GROUPS: u32 = DENIED_WORDS as u32 / 2;
/// Leaves of one chunk.
pub const LEAVES: u32 = DENIED_WORDS as u32 / LEAF_WORDS;
/// Words of a leaf.
pub const LEAF_WORDS: u32 = 4;
/// Edges of one chunk: two words each, the high half first. What is not used is all ones.
pub const EDGES: u32 = DENIED_WORDS as u32 / 2;

/// Refuses a packet with an end that is denied. This is the meaning behind
/// [`Tables::refuse_denied`]. Who compiles the sets has left out everything that is not outside, but
/// for addresses that only the host knows to be its own.
#[inline(always)]
pub fn refuse<T: Tables>(t: &T, p: &Packet) -> Result<(), DropReason> {
    let Some(shape) = t.generation_entry(p.slot()) else { return Err(DropReason::Fault) };
    let bank = shape.denied;
    if bank == 0 {
        return Ok(());
    }
    // What a guest sends has one of its own addresses.
    let denies = |addr| denies(t, bank, p.slot(), p.network, addr);
    if p.kind != port_kind::GUEST as u32 && denies(p.src) || denies(p.dst) {
        return Err(DropReason::DeniedSet);
    }
    Ok(())
}

/// Is an address denied to a network, by a bank and as a slot knows it?
#[inline(always)]
pub fn denies<T: Tables>(t: &T, bank: u32, slot: u32, network: u32, addr: Addr) -> bool {
    t.is_denied(bank, addr) && route::declared(t, slot, network, addr).is_none()
}

/// Is an address in the denied sets of a bank? 0 is the bank without any.
#[inline(always)]
pub fn covers<T: Tables>(t: &T, bank: u32, addr: Addr) -> bool {
    if bank == 0 {
        return false;
    }
    if addr.is_v4() { covers_v4(t, bank, addr.low32()) } else { covers_v6(t, bank, addr) }
}

#[inline(always)]
fn covers_v4<T: Tables>(t: &T, bank: u32, addr: u32) -> bool {
    let net = addr >> 8;
    let group = net / GROUP_NETS;
    let Some(groups) = t.denied_chunk(key(bank, part::GROUPS, group / GROUPS)) else {
        return false;
    };
    let sorts = t.denied_word(groups, group * 2);
    let (partly, wholly) = (sorts as u32, (sorts >> 32) as u32);
    let bit = 1 << (net % GROUP_NETS);
    if wholly & bit != 0 {
        return true;
    }
    if partly & bit == 0 {
        return false;
    }
    let before = t.denied_word(groups, group * 2 + 1) as u32;
    let leaf = before.wrapping_add((partly & (bit - 1)).count_ones());
    let Some(leaves) = t.denied_chunk(key(bank, part::LEAVES, leaf / LEAVES)) else {
        return false;
    };
    let word = t.denied_word(leaves, leaf * LEAF_WORDS + (addr & 0xff) / 64);
    word >> (addr % 64) & 1 != 0
}

#[inline(always)]
fn covers_v6<T: Tables>(t: &T, bank: u32, addr: Addr) -> bool {
    let Some(root) = t.denied_chunk(key(bank, part::ROOT, 0)) else { return false };
    let fences = last_up_to(t, root, addr);
    let Some(fences_there) = t.denied_chunk(key(bank, part::FENCES, fences)) else { return false };
    let edges = fences * EDGES + last_up_to(t, fences_there, addr);
    let Some(edges_there) = t.denied_chunk(key(bank, part::EDGES, edges)) else { return false };
    // Chunks hold an even number of edges.
    last_up_to(t, edges_there, addr) & 1 != 0
}

/// The last edge of a chunk that is not behind the address; 0 if all are. Without a branch: the
/// verifier would follow each of them, 256 ways a chunk.
#[inline(always)]
fn last_up_to<T: Tables>(t: &T, chunk: &DeniedChunk, addr: Addr) -> u32 {
    let mut at = 0;
    at = step_over(t, chunk, addr, at, 128);
    at = step_over(t, chunk, addr, at, 64);
    at = step_over(t, chunk, addr, at, 32);
    at = step_over(t, chunk, addr, at, 16);
    at = step_over(t, chunk, addr, at, 8);
    at = step_over(t, chunk, addr, at, 4);
    at = step_over(t, chunk, addr, at, 2);
    step_over(t, chunk, addr, at, 1)
}

/// `at + step` if the edge there is not behind the address, else `at`. `step` is a power of two.
#[inline(always)]
fn step_over<T: Tables>(t: &T, chunk: &DeniedChunk, addr: Addr, at: u32, step: u32) -> u32 {
    let edge = (at + step) * 2;
    let (hi, lo) = (t.denied_word(chunk, edge), t.denied_word(chunk, edge + 1));
    let level = equal(t, addr.hi, hi);
    let behind = less(t, addr.hi, hi) | (level & less(t, addr.lo, lo));
    at + (1 ^ behind as u32) * step
}

/// 1 if `a < b`, else 0: the borrow of a subtraction.
#[inline(always)]
fn less<T: Tables>(t: &T, a: u64, b: u64) -> u64 {
    t.opaque((!a & b) | ((!a | b) & a.wrapping_sub(b))) >> 63
}

/// 1 if `a == b`, else 0.
#[inline(always)]
fn equal<T: Tables>(t: &T, a: u64, b: u64) -> u64 {
    let x = t.opaque(a ^ b);
    1 ^ t.opaque(x | x.wrapping_neg()) >> 63
}
