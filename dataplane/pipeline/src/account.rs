//! What becomes of every frame, by port: it comes in, and is then forwarded, copied, answered or
//! dropped, once and for one reason. See [`Traffic`].

use crate::{
    layout::{Amount, Traffic},
    packet::Scratch,
    reason::DropReason,
    tables::Tables,
    verdict::Answer,
};

/// A frame of so many bytes came in at a port (interface index), whose counters are the answer.
#[inline(always)]
pub fn arrived<T: Tables>(t: &T, port: u32, bytes: u32) -> Option<&Traffic> {
    let own = t.traffic(port);
    if let Some(c) = own {
        c.in_packets.add(1);
        c.in_bytes.add(bytes as u64);
    }
    own
}

/// It leaves by the port `egress`; `own`: the counters of the port that it came from.
#[inline(always)]
pub fn forwarded<T: Tables>(t: &T, own: Option<&Traffic>, egress: u32, bytes: u32) {
    if let Some(c) = own {
        c.forwarded.add(1);
    }
    left(t, egress, bytes);
}

/// Where the other end of a forwarded frame is.
pub mod far {
    /// A guest here, in the same network.
    pub const NETWORK: u32 = 0;
    /// A guest here, in another network.
    pub const ROUTED: u32 = 1;
    /// The host, what is behind it, or behind an uplink.
    pub const OUTSIDE: u32 = 2;
}

/// What came in and was [`forwarded`] left its network: counted once more, at both ports.
/// `leaves`: its bytes at the other.
#[inline(always)]
pub fn went_far<T: Tables>(t: &T, s: &Scratch, leaves: u32) {
    let routed = s.outcome.far() == far::ROUTED;
    if let Some(c) = t.traffic(s.port) {
        add(if routed { &c.in_routed } else { &c.in_outside }, s.came);
    }
    if let Some(c) = t.traffic(s.outcome.port()) {
        add(if routed { &c.out_routed } else { &c.out_outside }, leaves);
    }
}

#[inline(always)]
fn add(amount: &Amount, bytes: u32) {
    amount.packets.add(1);
    amount.bytes.add(bytes as u64);
}

/// A frame, a copy or an answer left by a port.
#[inline(always)]
pub fn left<T: Tables>(t: &T, port: u32, bytes: u32) {
    if let Some(c) = t.traffic(port) {
        c.out_packets.add(1);
        c.out_bytes.add(bytes as u64);
    }
}

/// A frame that came in at `port`, whose counters are `own`, was dropped.
#[inline(always)]
pub fn dropped<T: Tables>(t: &T, own: Option<&Traffic>, port: u32, reason: DropReason) {
    if let Some(c) = own {
        c.dropped.add(1);
    }
    t.count_drop(port, reason);
}

/// It was copied, so many times; each copy is counted where it [`left`].
#[inline(always)]
pub fn copied<T: Tables>(t: &T, port: u32, copies: u64) {
    let own = t.traffic(port);
    if copies == 0 {
        dropped(t, own, port, DropReason::NoListener);
    } else if let Some(c) = own {
        c.flooded.add(1);
    }
}

/// It was to be turned into an answer, which has so many bytes if it was `built`. The packet that
/// an ICMP error is about has been counted as dropped already.
#[inline(always)]
pub fn answered<T: Tables>(
    t: &T,
    port: u32,
    answer: &Answer,
    built: Result<(), DropReason>,
    bytes: u32,
) {
    if built.is_ok() {
        left(t, port, bytes);
    }
    if matches!(answer, Answer::Error { .. }) {
        return;
    }
    let own = t.traffic(port);
    if let Err(reason) = built {
        dropped(t, own, port, reason);
    } else if let Some(c) = own {
        c.answered.add(1);
    }
}
