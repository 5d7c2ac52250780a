//! The parts of a decision that the verifier checks by themselves: global functions (verified
//! once, for any argument), around what the pipeline defines.

use core::mem::transmute;

use aya_ebpf::bindings::__sk_buff;
use portcullis_pipeline::{
    DropReason, account,
    addr::Addr,
    denied, event, fragment, limit, link,
    packet::{Packet, Scratch},
    probe, query, send,
};

use crate::{
    frame::Skb,
    maps::{Maps, scratch},
};

/// A result as one number: 0 for none, or the reason's number plus one.
#[inline(always)]
fn number(r: Result<(), DropReason>) -> u32 {
    match r {
        Ok(()) => 0,
        Err(reason) => reason as u32 + 1,
    }
}

/// Back from [`number`].
#[inline(always)]
pub fn result(number: u32) -> Result<(), DropReason> {
    if number == 0 {
        return Ok(());
    }
    if number as usize > DropReason::ALL_COUNT {
        return Err(DropReason::Fault);
    }
    // SAFETY: the reasons are numbered from 0 without a gap (asserted beside their list).
    Err(unsafe { transmute::<u32, DropReason>(number - 1) })
}

// These functions work on the scratch memory that their caller has filled, and find it by
// themselves: the verifier of 6.1 takes no pointer argument of a global function as the key of a
// map ("R2 type=mem expected=fp, pkt, pkt_meta, map_key, map_value"). The arguments of some
// only tell the compiler that the memory is read and written; where it is called from several
// places LLVM passes anything at all for them ("R1 type=scalar expected=fp").

/// [`query::resolve`] over the maps, for the packet in the scratch memory.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn resolve_query() -> u32 {
    match scratch() {
        Some(s) => number(query::resolve(&Maps, &mut s.packet)),
        None => DropReason::Fault as u32 + 1,
    }
}

/// [`fragment::recall`] over the maps, for the packet in the scratch memory.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn recall_fragment(_packet: *mut Packet) -> u32 {
    match scratch() {
        Some(s) => number(fragment::recall(&Maps, &mut s.packet)),
        None => DropReason::Fault as u32 + 1,
    }
}

/// [`fragment::keep`] over the maps, for the packet in the scratch memory.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn keep_fragment(_packet: *mut Packet) -> u32 {
    match scratch() {
        Some(s) => number(fragment::keep(&Maps, &s.packet)),
        None => DropReason::Fault as u32 + 1,
    }
}

/// [`link::judge`] over the maps, for the claim in the scratch memory.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn resolve_claim(_scratch: *mut Scratch) -> u32 {
    match scratch() {
        Some(s) => number(link::judge(&Maps, s)),
        None => DropReason::Fault as u32 + 1,
    }
}

/// [`send::send`] over the maps, for the packet in the scratch memory.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn send_frame(ctx: *mut __sk_buff) -> u32 {
    match scratch() {
        Some(s) => number(send::send(&mut Skb::prepared(ctx), &Maps, &s.packet, &mut s.outcome)),
        None => DropReason::Fault as u32 + 1,
    }
}

/// [`event::tell`] over the maps, for the packet in the scratch memory.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_event(rule: u32, note: u32) -> u32 {
    if let Some(s) = scratch() {
        event::tell(&Maps, &s.packet, rule, note, &mut s.event);
    }
    0
}

/// [`limit::police`] over the maps, for the packet in the scratch memory.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn police_packet(bytes: u32) -> u32 {
    match scratch() {
        Some(s) => number(limit::police(&Maps, &mut s.packet, bytes)),
        None => DropReason::Fault as u32 + 1,
    }
}

/// [`account::went_far`] over the maps, for what stands in the scratch memory.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn went_far(leaves: u32) -> u32 {
    if let Some(s) = scratch() {
        account::went_far(&Maps, s, leaves);
    }
    0
}

/// [`denied::refuse`] over the maps, for the packet in the scratch memory. Apart from
/// [`resolve_query`]: on 6.1 the look-up would be one call too deep ("combined stack size of 3
/// calls is 544. Too large").
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn refuse_denied() -> u32 {
    match scratch() {
        Some(s) => number(denied::refuse(&Maps, &s.packet)),
        None => DropReason::Fault as u32 + 1,
    }
}

/// [`denied::covers`] over the maps: 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn covers_denied(bank: u32, hi: u64, lo: u64) -> u32 {
    denied::covers(&Maps, bank, Addr { hi, lo }) as u32
}

/// [`probe::judge`] over the maps, for the packet in the scratch memory.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn ask_query(_packet: *mut Packet) -> u32 {
    match scratch() {
        Some(s) => number(probe::judge(&Maps, &mut s.packet)),
        None => DropReason::Fault as u32 + 1,
    }
}
