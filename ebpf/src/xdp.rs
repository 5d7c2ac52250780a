//! The bytes of an XDP buffer, the hook of taps that asks the fast lane, and that of uplinks that
//! asks the gate.

use core::arch::asm;

use aya_ebpf::{
    bindings::{
        xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT},
        xdp_md,
    },
    helpers::generated::bpf_xdp_get_buff_len,
    macros::{map, xdp},
    maps::{DevMapHash, PerCpuArray},
    programs::XdpContext,
};
use portcullis_pipeline::{
    account,
    frame::{Frame, Tag},
    gate, lane,
    layout::PORTS,
};

use crate::{
    bytes::Linear,
    maps::{Maps, add, scratch},
};

/// Interfaces to which lane and gate may send, by their index: taps of guests.
#[map]
static LANES: DevMapHash = DevMapHash::with_max_entries(PORTS, 0);

/// Frames that lane or gate sent, by the place of the port that they came from.
#[map]
static LANE_HITS: PerCpuArray<u64> = PerCpuArray::with_max_entries(PORTS, 0);

/// Frames that the gate dropped, by the place of the port that they came from.
#[map]
static GATE_HITS: PerCpuArray<u64> = PerCpuArray::with_max_entries(PORTS, 0);

/// Sends what belongs to a known connection on, before it becomes a packet buffer; leaves
/// everything else to `ingress`.
#[xdp(frags)]
pub fn lane(ctx: XdpContext) -> u32 {
    let Some(scratch) = scratch() else { return XDP_PASS };
    // SAFETY: a live context.
    let port = unsafe { (*ctx.ctx).ingress_ifindex };
    let frame = Buffer::linear(ctx.ctx);
    let out = lane::lane(&frame, &Maps, port, scratch);
    // A port that is not in the map is not for the lane.
    if out == lane::NOT_HERE || LANES.redirect(out, XDP_PASS as u64).is_err() {
        return XDP_PASS;
    }
    account::forwarded(&Maps, account::arrived(&Maps, port, frame.length()), out, frame.length());
    add(&LANE_HITS, port & (PORTS - 1));
    XDP_REDIRECT
}

/// Drops what can never be allowed from an uplink, before it becomes a packet buffer, and sends
/// datagrams of known connections on; leaves everything else to `ingress`.
#[xdp(frags)]
pub fn gate(ctx: XdpContext) -> u32 {
    let Some(scratch) = scratch() else { return XDP_PASS };
    // SAFETY: a live context.
    let port = unsafe { (*ctx.ctx).ingress_ifindex };
    let frame = Buffer::whole(ctx.ctx);
    match gate::gate(&frame, &Maps, port, scratch) {
        Ok(lane::NOT_HERE) => XDP_PASS,
        // More than the linear bytes is too much for a tap.
        Ok(_) if Buffer::linear(ctx.ctx).length() != frame.length() => XDP_PASS,
        Ok(out) if LANES.redirect(out, XDP_PASS as u64).is_err() => XDP_PASS,
        Ok(out) => {
            gate::sent(&Maps, port, out, frame.length(), scratch);
            add(&LANE_HITS, port & (PORTS - 1));
            XDP_REDIRECT
        }
        Err(_) => shut(port),
    }
}

/// What the gate drops, without the rest. For generic XDP, behind the packet buffer, where it would
/// gain nothing. Without `frags`: for a program that has it, kernels from 6.9 on pass a
/// copy of the frame on whose `mac_len` is 0 (`skb_pp_cow_data`), and `ingress` would take its IP
/// header for that of Ethernet.
#[xdp]
pub fn gate_generic(ctx: XdpContext) -> u32 {
    let Some(scratch) = scratch() else { return XDP_PASS };
    // SAFETY: a live context.
    let port = unsafe { (*ctx.ctx).ingress_ifindex };
    match gate::gate(&Buffer::whole(ctx.ctx), &Maps, port, scratch) {
        Ok(_) => XDP_PASS,
        Err(_) => shut(port),
    }
}

/// Counts a frame that the gate has dropped.
#[inline(always)]
fn shut(port: u32) -> u32 {
    add(&GATE_HITS, port & (PORTS - 1));
    XDP_DROP
}

/// A frame before it is a packet buffer.
struct Buffer {
    ctx: *mut xdp_md,
    /// Bytes that it says it has.
    length: u32,
}

impl Buffer {
    /// The frame of this context, as if it ended with its linear bytes.
    #[inline(always)]
    fn linear(ctx: *mut xdp_md) -> Self {
        let frame = Self { ctx, length: 0 };
        let mut length = frame.end();
        // Written out: LLVM would subtract 32 bits, which the verifier refuses ("32-bit pointer
        // arithmetic prohibited").
        // SAFETY: one subtraction of registers.
        unsafe { asm!("{0} -= {1}", inout(reg) length, in(reg) frame.start()) };
        Self { ctx, length: length as u32 }
    }

    /// The frame of this context with all of its bytes, of which the linear ones can be read.
    #[inline(always)]
    fn whole(ctx: *mut xdp_md) -> Self {
        // SAFETY: a live context.
        Self { ctx, length: unsafe { bpf_xdp_get_buff_len(ctx) } as u32 }
    }
}

impl Linear for Buffer {
    #[inline(always)]
    fn start(&self) -> usize {
        // SAFETY: a live context; the verifier knows the field.
        unsafe { (*self.ctx).data as usize }
    }

    #[inline(always)]
    fn end(&self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.ctx).data_end as usize }
    }
}

impl Frame for Buffer {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }

    #[inline(always)]
    fn segment_size(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn tag(&self) -> Option<Tag> {
        None
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.linear(at)
    }

    #[inline(always)]
    fn fixed<const AT: u32, const N: usize>(&self) -> Option<[u8; N]> {
        self.linear_at::<AT, N>()
    }

    // Lane and gate only read: what is to be rewritten takes the whole way.

    #[inline(always)]
    fn store<const N: usize>(&mut self, _: u32, _: [u8; N], _: bool) -> bool {
        false
    }

    #[inline(always)]
    fn pop_tag(&mut self) -> bool {
        false
    }

    #[inline(always)]
    fn push_tag(&mut self, _: u16) -> bool {
        false
    }

    #[inline(always)]
    fn quote(&mut self, _: u32, _: u32) -> bool {
        false
    }

    #[inline(always)]
    fn resize(&mut self, _: u32) -> bool {
        false
    }

    #[inline(always)]
    fn gather(&self, _: u32, _: u32, _: &mut [[u8; 32]; 2]) -> bool {
        false
    }
}
