//! The bytes of an skb.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_RECOMPUTE_CSUM, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC},
    helpers::generated::{
        bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_pull_data,
        bpf_skb_store_bytes, bpf_skb_vlan_pop, bpf_skb_vlan_push,
    },
    macros::map,
    maps::PerCpuArray,
};
use portcullis_pipeline::{
    DropReason, REACH, Tables,
    frame::{Frame, Tag},
    packet::Scratch,
    wire::ethernet,
};

use crate::{bytes::Linear, seam};

/// With fewer linear bytes than this the head is pulled: all headers that matter fit.
const LINEAR_MIN: u32 = 128;
const LINEAR: u32 = 256;

/// Longest store.
const STORE_MAX: usize = 32;

#[map]
static BUFFER: PerCpuArray<[u8; STORE_MAX]> = PerCpuArray::with_max_entries(1, 0);

/// A frame on its way through a tcx or clsact hook.
pub struct Skb(*mut __sk_buff);

impl Skb {
    /// The frame of this context, its headers made linear.
    #[inline(always)]
    pub fn new(ctx: *mut __sk_buff) -> Self {
        let frame = Self(ctx);
        let linear = (frame.end() - frame.start()) as u32;
        let len = frame.length();
        if linear < LINEAR_MIN && linear < len {
            // A failure leaves fewer bytes to load: the packet ends as truncated.
            // SAFETY: a live context.
            unsafe { bpf_skb_pull_data(ctx, if len < LINEAR { len } else { LINEAR }) };
        }
        frame
    }

    /// The frame of this context, all of its bytes linear as far as a question reaches.
    #[inline(always)]
    pub fn whole(ctx: *mut __sk_buff) -> Self {
        let frame = Self(ctx);
        let len = frame.length();
        // A failure leaves fewer bytes to load, as above.
        // SAFETY: a live context.
        unsafe { bpf_skb_pull_data(ctx, if len < REACH { len } else { REACH }) };
        frame
    }

    /// The frame of this context, whose headers are linear as far as they will be.
    #[inline(always)]
    pub const fn prepared(ctx: *mut __sk_buff) -> Self {
        Self(ctx)
    }
}

impl Linear for Skb {
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

impl Frame for Skb {
    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: a live context.
        unsafe { (*self.0).len }
    }

    #[inline(always)]
    fn segment_size(&self) -> u32 {
        // SAFETY: a live context.
        unsafe { (*self.0).gso_size }
    }

    #[inline(always)]
    fn tag(&self) -> Option<Tag> {
        // SAFETY: a live context.
        unsafe {
            if (*self.0).vlan_present == 0 {
                return None;
            }
            Some(Tag {
                protocol: ((*self.0).vlan_proto as u16).swap_bytes(),
                tci: (*self.0).vlan_tci as u16,
            })
        }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.linear(at)
    }

    #[inline(always)]
    fn fixed<const AT: u32, const N: usize>(&self) -> Option<[u8; N]> {
        self.linear_at::<AT, N>()
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, at: u32, bytes: [u8; N], l3: bool) -> bool {
        let flags = if l3 { BPF_F_RECOMPUTE_CSUM as u64 } else { 0 };
        const { assert!(N <= STORE_MAX) };
        let Some(buffer) = BUFFER.get_ptr_mut(0) else { return false };
        // Not from the stack: LLVM merges the bytes into words that are not aligned there,
        // which the verifier forbids on the stack only.
        // SAFETY: this processor's own buffer holds N bytes; the helper checks the offset.
        unsafe {
            buffer.cast::<[u8; N]>().write_unaligned(bytes);
            bpf_skb_store_bytes(self.0, at, buffer.cast::<c_void>(), N as u32, flags) == 0
        }
    }

    #[inline(always)]
    fn pop_tag(&mut self) -> bool {
        // SAFETY: a live context.
        unsafe { bpf_skb_vlan_pop(self.0) == 0 }
    }

    #[inline(always)]
    fn push_tag(&mut self, vlan: u16) -> bool {
        // SAFETY: a live context.
        unsafe { bpf_skb_vlan_push(self.0, ethernet::VLAN.to_be(), vlan) == 0 }
    }

    #[inline(always)]
    fn quote(&mut self, keep: u32, grow: u32) -> bool {
        // SAFETY: a live context.
        unsafe {
            bpf_skb_change_tail(self.0, keep, 0) == 0
                && bpf_skb_adjust_room(self.0, grow as i32, BPF_ADJ_ROOM_MAC, 0) == 0
        }
    }

    #[inline(always)]
    fn resize(&mut self, len: u32) -> bool {
        // SAFETY: a live context.
        unsafe { bpf_skb_change_tail(self.0, len, 0) == 0 }
    }

    #[inline(always)]
    fn gather(&self, at: u32, len: u32, to: &mut [[u8; 32]; 2]) -> bool {
        if len == 0 || len > 64 {
            return false;
        }
        let mut most = (len - 1) as u64;
        // Bounds that the verifier of 6.1 sees, as in `masked`.
        // SAFETY: one AND on a register.
        unsafe { asm!("{0} &= 63", inout(reg) most) };
        // SAFETY: `to` holds 64 bytes; the helper checks the offset.
        unsafe {
            let to = to.as_mut_ptr().cast::<c_void>();
            bpf_skb_load_bytes(self.0.cast::<c_void>(), at, to, most as u32 + 1) == 0
        }
    }

    #[inline(always)]
    fn send<T: Tables>(&mut self, t: &T, scratch: &mut Scratch) -> Result<(), DropReason> {
        // The packet is written down before the call, and read anew behind it.
        t.forget(scratch);
        seam::result(seam::send_frame(self.0))
    }
}
