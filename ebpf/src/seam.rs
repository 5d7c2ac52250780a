//! The parts of a decision that the verifier checks by themselves: global functions (verified
//! once, for any argument), around what the pipeline defines.

use core::mem::transmute;

use portcullis_pipeline::{
    DropReason,
    link::{self, Claim},
    packet::Packet,
    query,
};

use crate::maps::Maps;

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

/// [`query::resolve`] over the maps.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn resolve_query(p: *mut Packet) -> u32 {
    // SAFETY: null, or the caller's own packet.
    match unsafe { p.as_mut() } {
        Some(p) => number(query::resolve(&Maps, p)),
        None => DropReason::Fault as u32 + 1,
    }
}

/// [`link::judge`] over the maps.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn resolve_claim(c: *mut Claim) -> u32 {
    // SAFETY: null, or the caller's own claim.
    match unsafe { c.as_mut() } {
        Some(c) => number(link::judge(&Maps, c)),
        None => DropReason::Fault as u32 + 1,
    }
}
