//! The bytes of an XDP buffer, and the hook of taps that asks the fast lane.

use core::arch::asm;

use aya_ebpf::{
    bindings::{
        xdp_action::{XDP_PASS, XDP_REDIRECT},
        xdp_md,
    },
    macros::{map, xdp},
    maps::{DevMapHash, PerCpuArray},
    programs::XdpContext,
};
use portcullis_pipeline::{
    account,
    frame::{Frame, Tag},
    lane,
    layout::PORTS,
};

use crate::{
    bytes::Linear,
    maps::{Maps, add, scratch},
};

/// Interfaces to which the lane may send, by their index: taps of guests.
#[map]
static LANES: DevMapHash = DevMapHash::with_max_entries(PORTS, 0);

/// Frames that went by the lane, by the place of the port that they came from.
#[map]
static LANE_HITS: PerCpuArray<u64> = PerCpuArray::with_max_entries(PORTS, 0);

/// Sends what belongs to a known connection on, before it becomes a packet buffer; leaves
/// everything else to `ingress`.
#[xdp(frags)]
pub fn lane(ctx: XdpContext) -> u32 {
    let Some(scratch) = scratch() else { return XDP_PASS };
    // SAFETY: a live context.
    let port = unsafe { (*ctx.ctx).ingress_ifindex };
    let frame = Buffer(ctx.ctx);
    let out = lane::lane(&frame, &Maps, port, scratch);
    // A port that is not in the map is not for the lane.
    if out == lane::NOT_HERE || LANES.redirect(out, XDP_PASS as u64).is_err() {
        return XDP_PASS;
    }
    account::forwarded(&Maps, account::arrived(&Maps, port, frame.length()), out, frame.length());
    add(&LANE_HITS, port & (PORTS - 1));
    XDP_REDIRECT
}

/// A frame before it is a packet buffer.
struct Buffer(*mut xdp_md);

impl Linear for Buffer {
    #[inline(always)]
    fn start(&self) -> usize {
        // SAFETY: a live context; the verifier knows the field.
        unsafe { (*self.0).data as usize }
    }

    #[inline(always)]
    fn end(&self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.0).data_end as usize }
    }
}

impl Frame for Buffer {
    #[inline(always)]
    fn length(&self) -> u32 {
        let mut v = self.end();
        // Written out: LLVM would subtract 32 bits, which the verifier refuses ("32-bit pointer
        // arithmetic prohibited").
        // SAFETY: one subtraction of registers.
        unsafe { asm!("{0} -= {1}", inout(reg) v, in(reg) self.start()) };
        v as u32
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

    // The lane only reads: what is to be rewritten takes the whole way.

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
