//! The fragments of a datagram, which come in any order and cannot be kept until it is whole.
//!
//! A fragment that is not the first says nothing of ports. It is judged as a packet of the
//! connection that its first fragment belongs to; while that one has not come, as one of the
//! connection that last sent a datagram in fragments from the same source to the same destination.
//! So it passes only where a first fragment has passed lately, of a connection that is allowed in
//! this generation, and no receiver can put together a datagram whose first fragment was refused,
//! because it never has that. What this costs: of the first datagram in fragments between two ends,
//! a later fragment that overtakes the first is dropped as an orphan, and so the datagram is lost.
//!
//! Of every datagram it is known which octets have come, exactly: what comes twice is dropped, so
//! no receiver sees overlapping fragments (RFC 5722, RFC 8200, section 4.5).

use crate::{
    flow,
    layout::{COVERED, Datagram},
    packet::Packet,
    parse::Piece,
    reason::DropReason,
    tables::{TICKS_PER_SECOND, Tables},
};

/// A receiver waits so long for the rest of a datagram (RFC 8200, section 4.5; RFC 1122, section
/// 3.3.2): fragments that come later belong to another one with the same number.
pub const LIFETIME: u64 = 60 * TICKS_PER_SECOND;

/// That the ports behind it are known.
const KNOWN: u64 = 1 << 32;
const PORTS: u64 = 0xffff_ffff;

/// The connection that last sent in fragments: when, in units of [`LAST_TICKS`] << 33 | [`KNOWN`]
/// | ports.
const LAST_SHIFT: u32 = 33;
/// About a second.
const LAST_TICKS: u32 = 10;
/// For how long it speaks for others: 30 units.
const LAST_MAX: u64 = 30;

impl Datagram {
    /// Is it whole, or does nobody wait for the rest any more?
    #[inline(always)]
    fn is_over(&self, now: u64) -> bool {
        let end = self.end.get() >> 32;
        now.wrapping_sub(self.born.get()) >= LIFETIME || (end != 0 && self.octets.get() == end)
    }
}

/// Finds the ports under which a later fragment is judged. This is the meaning behind
/// [`Tables::recall_fragment`].
#[inline(always)]
pub fn recall<T: Tables>(t: &T, p: &mut Packet) -> Result<(), DropReason> {
    let mut key = flow::fragment_key(p.src, p.dst, p.fragment_id, p.protocol(), p.network);
    let mut ports = 0;
    if let Some(d) = t.datagram(&key)
        && !d.is_over(p.now)
    {
        ports = d.first.get();
    }
    if ports == 0 {
        flow::forget_number(&mut key);
        let last = t.last_fragment(&key);
        let age = (p.now >> LAST_TICKS).wrapping_sub(last >> LAST_SHIFT);
        ports = if age <= LAST_MAX { last & (KNOWN | PORTS) } else { 0 };
    }
    if ports == 0 {
        return Err(DropReason::FragmentOrphan);
    }
    p.set_ports(ports as u32);
    Ok(())
}

/// Remembers a fragment that is allowed, and refuses one that no receiver should see. This is the
/// meaning behind [`Tables::keep_fragment`].
#[inline(always)]
pub fn keep<T: Tables>(t: &T, p: &Packet) -> Result<(), DropReason> {
    let mut key = flow::fragment_key(p.src, p.dst, p.fragment_id, p.protocol(), p.network);
    let known = match t.datagram(&key) {
        Some(d) => !d.is_over(p.now),
        None => false,
    };
    if !known {
        t.datagram_insert(&key, p.now);
    }
    let Some(d) = t.datagram(&key) else { return Err(DropReason::Fault) };
    bound(d, p.piece)?;
    cover(t, d, p.piece)?;
    if p.is_first_fragment() {
        let ports = KNOWN | (p.sport() as u64) << 16 | p.dport() as u64;
        d.first.set(ports);
        flow::forget_number(&mut key);
        t.last_fragment_insert(&key, (p.now >> LAST_TICKS) << LAST_SHIFT | ports);
    }
    Ok(())
}

/// A datagram has one end, and nothing is behind it.
#[inline(always)]
fn bound(d: &Datagram, piece: Piece) -> Result<(), DropReason> {
    let word = d.end.get();
    let (end, highest) = (word >> 32, word & 0xffff_ffff);
    let to = piece.end() as u64;
    let too_far = end != 0 && (to > end || (piece.is_last() && to != end));
    if too_far || (piece.is_last() && to < highest) {
        return Err(DropReason::FragmentEndless);
    }
    let end = if piece.is_last() { to } else { end };
    d.end.set(end << 32 | if to > highest { to } else { highest });
    Ok(())
}

/// Marks the octets of a piece, which has some and which nobody may have sent before. One mark for 8
/// octets: only the last piece ends within them.
#[inline(always)]
fn cover<T: Tables>(t: &T, d: &Datagram, piece: Piece) -> Result<(), DropReason> {
    let (from, to) = (piece.start() >> 3, ((piece.end() + 7) >> 3) - 1);
    let (first, last) = (from >> 6, to >> 6);
    let head = u64::MAX << (from & 63);
    let tail = u64::MAX >> (63 - (to & 63));
    let mut taken = 0;
    if first == last {
        taken |= t.cover(d, first, head & tail) & head & tail;
    } else {
        taken |= t.cover(d, first, head) & head;
        taken |= t.cover(d, last, tail) & tail;
        for n in 1..COVERED as u32 {
            if first + n >= last {
                break;
            }
            taken |= t.cover(d, first + n, u64::MAX);
        }
    }
    if taken != 0 {
        return Err(DropReason::FragmentOverlap);
    }
    d.octets.set(d.octets.get() + piece.octets() as u64);
    Ok(())
}
