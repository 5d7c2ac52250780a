//! The hooks of the switch, at the ingress of every port. A few lines each: the meaning of a
//! packet is in the pipeline.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod bytes;
mod frame;
mod maps;
mod pass;
mod seam;
mod xdp;

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT},
    helpers::generated::{bpf_clone_redirect, bpf_jiffies64, bpf_loop, bpf_redirect},
    macros::classifier,
    programs::TcContext,
};
use portcullis_pipeline::{
    DropReason, Frame, Tables, Verdict, account, answer, decide,
    decide::flood as may_have,
    layout::MEMBERS,
    notice,
    packet::Scratch,
    probe,
    subport::{self, is_subport},
    verdict::{Answer, Flood, Notice},
};

use crate::{
    frame::Skb,
    maps::{Maps, TAILS, members, scratch, tail},
};

/// The filter and forwarder of every port. Inlined into the macro's entry: on 6.1 a call more is 32
/// bytes of stack more ("combined stack size of 4 calls is 544. Too large").
#[classifier]
#[inline(always)]
pub fn ingress(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: a live context.
    let port = unsafe { (*skb).ifindex };
    let Some(scratch) = scratch() else { return TC_ACT_SHOT };
    let verdict = decide(&mut Skb::new(skb), &Maps, port, scratch);
    pass::record(skb, &verdict);
    match verdict {
        // SAFETY: no pointer arguments.
        Verdict::Forward(out) => unsafe { bpf_redirect(out, 0) as i32 },
        Verdict::Drop(_) => TC_ACT_SHOT,
        Verdict::Flood(_) => {
            // SAFETY: does not return unless the slot is empty.
            unsafe { TAILS.tail_call(&ctx, tail::FLOOD) };
            fault()
        }
        Verdict::Answer(Answer::Notice(n)) => {
            // SAFETY: as above.
            unsafe { TAILS.tail_call(&ctx, tail::NOTICE + n.kind) };
            fault()
        }
        Verdict::Answer(_) => {
            // SAFETY: as above.
            unsafe { TAILS.tail_call(&ctx, tail::ANSWER) };
            fault()
        }
    }
}

/// Drops a frame whose verdict cannot be finished.
#[inline(always)]
fn fault() -> i32 {
    let port = judged_at();
    account::dropped(&Maps, Maps.traffic(port), port, DropReason::Fault);
    TC_ACT_SHOT
}

/// The port at which `ingress` has judged the frame: its interface, or a subport of that.
#[inline(always)]
fn judged_at() -> u32 {
    match scratch() {
        Some(s) => s.port,
        None => 0,
    }
}

/// Sends the frame back to where it came from, as the answer that `ingress` asked for.
#[classifier]
pub fn answer(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    let Some(wanted) = pass::answer(skb) else { return fault() };
    let done = answer::build(&mut Skb::new(skb), &Maps, &wanted);
    let built = if done { Ok(()) } else { Err(DropReason::Fault) };
    // SAFETY: a live context.
    account::answered(&Maps, judged_at(), &wanted, built, unsafe { (*skb).len });
    if built.is_ok() { send_back(skb) } else { TC_ACT_SHOT }
}

/// Out of the interface that it came in by.
#[inline(always)]
fn send_back(skb: *mut __sk_buff) -> i32 {
    // SAFETY: a live context; no pointer arguments.
    unsafe { bpf_redirect((*skb).ifindex, 0) as i32 }
}

/// Answers a router solicitation.
#[classifier]
pub fn advertise(ctx: TcContext) -> i32 {
    tell(ctx.skb.skb, |frame, _, n, _| notice::advertisement(frame, &Maps, n))
}

/// Answers a DHCP question.
#[classifier]
pub fn dhcp(ctx: TcContext) -> i32 {
    tell(ctx.skb.skb, |frame, port, n, scratch| notice::dhcp(frame, &Maps, port, n, scratch))
}

/// Answers a DHCPv6 question.
#[classifier]
pub fn dhcp6(ctx: TcContext) -> i32 {
    tell(ctx.skb.skb, |frame, port, n, scratch| notice::dhcp6(frame, &Maps, port, n, scratch))
}

/// Sends the frame back to where it came from, as the notice that `ingress` asked for.
#[inline(always)]
fn tell(
    skb: *mut __sk_buff,
    build: impl FnOnce(&mut Skb, u32, &Notice, &mut Scratch) -> Result<(), DropReason>,
) -> i32 {
    let Some(wanted) = pass::answer(skb) else { return fault() };
    let Answer::Notice(n) = &wanted else { return fault() };
    let Some(scratch) = scratch() else { return fault() };
    let port = scratch.port;
    let built = build(&mut Skb::whole(skb), port, n, scratch);
    // SAFETY: a live context.
    account::answered(&Maps, port, &wanted, built, unsafe { (*skb).len });
    if built.is_ok() { send_back(skb) } else { TC_ACT_SHOT }
}

/// What the loop over the members needs.
struct Copies {
    skb: *mut __sk_buff,
    flood: Flood,
    length: u32,
    /// Has the frame got its tag? Those that want it come last.
    tagged: bool,
}

/// Sends a copy to each member of the network that may have it.
#[classifier]
pub fn flood(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: a live context.
    let length = unsafe { (*skb).len };
    let port = judged_at();
    let Some(flood) = pass::flood(skb, port) else { return fault() };
    let Some(m) = members(flood.generation & 1, flood.network) else { return fault() };
    let count = if m.count < MEMBERS as u32 { m.count } else { MEMBERS as u32 };
    let Some(scratch) = scratch() else { return fault() };
    scratch.copies = 0;
    let mut copies = Copies { skb, flood, length, tagged: false };
    // SAFETY: the callback has the signature that the helper calls, and its context outlives it.
    unsafe {
        bpf_loop(count, copy_to as *const () as *mut c_void, (&raw mut copies).cast::<c_void>(), 0)
    };
    account::copied(&Maps, port, Maps.forget(scratch).copies);
    TC_ACT_SHOT
}

#[inline(never)]
extern "C" fn copy_to(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the helper passes on the pointer that `flood` gave it.
    let c = unsafe { &mut *context.cast::<Copies>() };
    let Some(m) = members(c.flood.generation & 1, c.flood.network) else { return 1 };
    let index = index as usize;
    if index >= MEMBERS {
        return 1;
    }
    // SAFETY: below the array's length.
    let member = unsafe { *m.port.as_ptr().add(index) };
    if may_have(&Maps, &c.flood, member, c.length) && dress(c, member) {
        let device = subport::device(&Maps, c.flood.generation & 1, member);
        // SAFETY: a live context.
        if unsafe { bpf_clone_redirect(c.skb, device, 0) } == 0 {
            if let Some(s) = scratch() {
                s.copies += 1;
            }
            account::left(&Maps, member, c.length);
        }
    }
    0
}

/// Puts the network's tag on for the first of the subports. False where that fails.
#[inline(always)]
fn dress(c: &mut Copies, member: u32) -> bool {
    if is_subport(member) && !c.tagged {
        let network = Maps.network(c.flood.generation & 1, c.flood.network);
        let vlan = network.map_or(0, |n| n.vlan);
        c.tagged = Skb::prepared(c.skb).push_tag(vlan as u16);
    }
    is_subport(member) == c.tagged
}

/// What a slot says about a frame. Attached nowhere: the loader asks it, by BPF_PROG_TEST_RUN,
/// about a generation that is not in force yet.
#[classifier]
pub fn probe(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    let Some(scratch) = scratch() else { return TC_ACT_SHOT };
    let (slot, network) = pass::question(skb);
    let asked = probe::ask(&Skb::new(skb), &Maps, slot, network, scratch);
    pass::record_answer(skb, asked.map(|()| probe::answer(scratch)));
    TC_ACT_SHOT
}

/// Sends the frame out of a port. Attached nowhere: the loader runs it, by BPF_PROG_TEST_RUN, with
/// advertisements that nobody asked for.
#[classifier]
pub fn announce(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    let (port, vlan) = pass::target(skb);
    let device = subport::device(&Maps, Maps.generation() & 1, port);
    if vlan != 0 && !Skb::prepared(skb).push_tag(vlan) {
        return TC_ACT_SHOT;
    }
    // SAFETY: a live context.
    let length = unsafe { (*skb).len };
    // SAFETY: as above.
    if unsafe { bpf_clone_redirect(skb, device, 0) } == 0 {
        account::left(&Maps, port, length);
    }
    TC_ACT_SHOT
}

/// The kernel's clock, for the loader to learn its rate: the low half of jiffies.
#[classifier]
pub fn clock(_ctx: TcContext) -> i32 {
    // SAFETY: no arguments.
    unsafe { bpf_jiffies64() as i32 }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
