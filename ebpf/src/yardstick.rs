//! What the bench measures against: a program that does nothing, and one that only redirects.

#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, xdp_action::XDP_DROP},
    helpers::generated::bpf_redirect,
    macros::{classifier, map, xdp},
    maps::{Array, DevMapHash},
    programs::{TcContext, XdpContext},
};

/// Ports of the redirecting program.
const PORTS: u32 = 1024;

/// Egress ifindex by ingress ifindex.
#[map]
static PEER: Array<u32> = Array::with_max_entries(PORTS, 0);

/// The same interfaces, for the redirecting program at XDP.
#[map]
static DEVICES: DevMapHash = DevMapHash::with_max_entries(PORTS, 0);

/// Does nothing.
#[classifier]
pub fn empty(_ctx: TcContext) -> i32 {
    TC_ACT_SHOT
}

/// Does nothing, at XDP.
#[xdp]
pub fn empty_xdp(_ctx: XdpContext) -> u32 {
    XDP_DROP
}

/// Decides nothing, only sends on: the ceiling for every tcx switch.
#[classifier]
pub fn redirect(ctx: TcContext) -> i32 {
    // SAFETY: a live context.
    let ingress = unsafe { (*ctx.skb.skb).ifindex };
    match PEER.get(ingress & (PORTS - 1)) {
        // SAFETY: no pointer arguments.
        Some(out) => unsafe { bpf_redirect(*out, 0) as i32 },
        None => TC_ACT_SHOT,
    }
}

/// As `redirect`, before the frame is a packet buffer: the ceiling for every switch on taps.
#[xdp]
pub fn redirect_xdp(ctx: XdpContext) -> u32 {
    // SAFETY: a live context.
    let ingress = unsafe { (*ctx.ctx).ingress_ifindex };
    match PEER.get(ingress & (PORTS - 1)) {
        Some(out) => DEVICES.redirect(*out, XDP_DROP as u64).unwrap_or(XDP_DROP),
        None => XDP_DROP,
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
