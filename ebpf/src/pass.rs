//! What one program leaves for the next, and for BPF_PROG_TEST_RUN, in the five words of the
//! skb's control block.

use aya_ebpf::bindings::__sk_buff;
use portcullis_pipeline::{
    DropReason,
    policy::Judged,
    verdict::{Answer, Flood, IcmpError, Notice, Verdict},
};

/// Word 4 says which verdict it was: the port, or this bit and the reason.
const DROP: u32 = 1 << 31;
const FLOOD: u32 = 1 << 30;
const ANSWER: u32 = 1 << 29;
/// Bits of word 0 of an answer.
const V6: u32 = 1;
const ROUTER: u32 = 2;
const ERROR: u32 = 4;
const NOTICE: u32 = 8;
const KIND_SHIFT: u32 = 8;

#[inline(always)]
fn set(skb: *mut __sk_buff, words: [u32; 5]) {
    // SAFETY: a live context; the fields are writable for classifiers.
    unsafe {
        (*skb).cb[0] = words[0];
        (*skb).cb[1] = words[1];
        (*skb).cb[2] = words[2];
        (*skb).cb[3] = words[3];
        (*skb).cb[4] = words[4];
    }
}

#[inline(always)]
fn get(skb: *mut __sk_buff) -> [u32; 5] {
    // SAFETY: a live context.
    unsafe { [(*skb).cb[0], (*skb).cb[1], (*skb).cb[2], (*skb).cb[3], (*skb).cb[4]] }
}

/// Writes the verdict down.
#[inline(always)]
pub fn record(skb: *mut __sk_buff, verdict: &Verdict) {
    let last = match *verdict {
        Verdict::Forward(port) => port,
        Verdict::Drop(reason) => DROP | reason as u32,
        Verdict::Flood(f) => {
            return set(skb, [f.network, f.class, f.service, f.generation, FLOOD]);
        }
        Verdict::Answer(Answer::Neighbour { mac, v6, router, vlan }) => {
            let flags = if v6 { V6 } else { 0 } | if router { ROUTER } else { 0 };
            return set(skb, [flags, vlan << 16 | (mac >> 32) as u32, mac as u32, 0, ANSWER]);
        }
        Verdict::Answer(Answer::Error { error, network, generation, v6, vlan }) => {
            let (kind, mtu) = match error {
                IcmpError::TimeExceeded => (0, 0),
                IcmpError::TooBig(mtu) => (1, mtu),
                IcmpError::Unreachable => (2, 0),
            };
            let flags = ERROR | if v6 { V6 } else { 0 } | kind << KIND_SHIFT;
            return set(skb, [flags, vlan << 16 | network, mtu, generation, ANSWER]);
        }
        Verdict::Answer(Answer::Notice(n)) => {
            let flags = NOTICE | n.kind << KIND_SHIFT;
            return set(skb, [flags, n.vlan << 16 | n.network, 0, n.generation, ANSWER]);
        }
    };
    // SAFETY: a live context.
    unsafe { (*skb).cb[4] = last };
}

/// The answer that was asked for.
#[inline(always)]
pub fn answer(skb: *mut __sk_buff) -> Option<Answer> {
    let w = get(skb);
    if w[4] != ANSWER {
        return None;
    }
    let v6 = w[0] & V6 != 0;
    let vlan = w[1] >> 16;
    if w[0] & NOTICE != 0 {
        let (kind, network) = (w[0] >> KIND_SHIFT, w[1] & 0xffff);
        return Some(Answer::Notice(Notice { kind, network, generation: w[3], vlan }));
    }
    if w[0] & ERROR == 0 {
        let mac = ((w[1] & 0xffff) as u64) << 32 | w[2] as u64;
        return Some(Answer::Neighbour { mac, v6, router: w[0] & ROUTER != 0, vlan });
    }
    let error = match w[0] >> KIND_SHIFT {
        0 => IcmpError::TimeExceeded,
        1 => IcmpError::TooBig(w[2]),
        _ => IcmpError::Unreachable,
    };
    Some(Answer::Error { error, network: w[1] & 0xffff, generation: w[3], v6, vlan })
}

/// The broadcast from port `ingress` that is to be copied.
#[inline(always)]
pub fn flood(skb: *mut __sk_buff, ingress: u32) -> Option<Flood> {
    let w = get(skb);
    if w[4] != FLOOD {
        return None;
    }
    Some(Flood { network: w[0], class: w[1], service: w[2], generation: w[3], ingress })
}

/// The port that a frame of the loader is to leave by, and the VLAN id that it gets there; 0 for
/// none.
#[inline(always)]
pub fn target(skb: *mut __sk_buff) -> (u32, u16) {
    let w = get(skb);
    (w[0], w[1] as u16)
}

/// What a probe is asked: the slot, and the network in which its packet's addresses stand.
#[inline(always)]
pub fn question(skb: *mut __sk_buff) -> (u32, u32) {
    let w = get(skb);
    (w[0] & 1, w[1])
}

/// Writes a probe's answer down: the cell and its shadow in words 0 and 1, word 4 is 0; or the
/// reason for which there is none, as for a verdict.
#[inline(always)]
pub fn record_answer(skb: *mut __sk_buff, answer: Result<Judged, DropReason>) {
    match answer {
        Ok(judged) => set(skb, [judged.cell().0, judged.shadow().0, 0, 0, 0]),
        Err(reason) => set(skb, [0, 0, 0, 0, DROP | reason as u32]),
    }
}
