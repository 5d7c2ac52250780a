//! Turns a frame into the switch's answer to it: neighbour answers and ICMP errors. Its own
//! program in eBPF, so that the common path stays small.

use crate::{
    addr::{Addr, Mac},
    frame::Frame,
    tables::Tables,
    verdict::{Answer, IcmpError},
    wire::{arp, ethernet, icmp, icmpv6, ipv4, ipv6, protocol},
};

/// Bytes of the packet that an ICMP error quotes at most, a multiple of four.
pub const QUOTE_MAX: u32 = 128;
const L3: u32 = ethernet::LEN;

/// Rewrites `f` into `answer`. False if it cannot be done; the frame is to be dropped then.
#[inline(always)]
pub fn build<F: Frame, T: Tables>(f: &mut F, t: &T, answer: &Answer) -> bool {
    let (ok, vlan) = match *answer {
        Answer::Neighbour { mac, v6: false, vlan, .. } => (arp_reply(f, Mac(mac)), vlan),
        Answer::Neighbour { mac, v6: true, router, vlan } => {
            (advertisement(f, Mac(mac), router), vlan)
        }
        Answer::Error { error, network, generation, v6, vlan } => {
            let Some(n) = t.network(generation & 1, network) else { return false };
            let q = quote(f, if v6 { GROW6 } else { GROW4 });
            if q == NO_QUOTE {
                return false;
            }
            let ok = if v6 {
                error6(f, error, n.gateway_v6, q)
            } else {
                error4(f, error, n.gateway_v4, q)
            };
            (ok, vlan)
        }
        // Finished by a program of its own, see [`crate::notice`].
        Answer::Notice(_) => (false, 0),
    };
    ok && (vlan == 0 || f.push_tag(vlan as u16))
}

/// One's complement sum of 16-bit words (RFC 1071), not folded.
#[inline(always)]
pub fn sum<const N: usize>(b: &[u8; N]) -> u64 {
    let mut s = 0;
    let mut i = 0;
    while i + 1 < N {
        s += u16::from_be_bytes([b[i], b[i + 1]]) as u64;
        i += 2;
    }
    s
}

/// Folds such a sum.
#[inline(always)]
pub fn fold(s: u64) -> u16 {
    let s = (s & 0xffff_ffff) + (s >> 32);
    let s = (s & 0xffff) + (s >> 16);
    let s = (s & 0xffff) + (s >> 16);
    ((s & 0xffff) + (s >> 16)) as u16
}

/// Sends the frame back: its source becomes the destination.
#[inline(always)]
fn turn<F: Frame>(f: &mut F, from: Mac) -> bool {
    let Some(b) = f.load::<12>(0) else { return false };
    let s = from.octets();
    f.store::<12>(
        0,
        [b[6], b[7], b[8], b[9], b[10], b[11], s[0], s[1], s[2], s[3], s[4], s[5]],
        false,
    )
}

#[inline(always)]
fn arp_reply<F: Frame>(f: &mut F, mac: Mac) -> bool {
    let Some(b) = f.load::<28>(L3) else { return false };
    let m = mac.octets();
    let op = arp::REPLY.to_be_bytes();
    let reply = [
        b[0], b[1], b[2], b[3], b[4], b[5], op[0], op[1], m[0], m[1], m[2], m[3], m[4], m[5],
        b[24], b[25], b[26], b[27], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15], b[16],
        b[17],
    ];
    f.store::<28>(L3, reply, true) && turn(f, mac)
}

/// Neighbour advertisement in place of a solicitation, with the same option length (RFC 4861,
/// section 7.2.4).
#[inline(always)]
fn advertisement<F: Frame>(f: &mut F, mac: Mac, router: bool) -> bool {
    const L4: u32 = L3 + ipv6::LEN;
    let Some(head) = f.load::<8>(L3) else { return false };
    let Some(asker) = f.load::<16>(L3 + 8) else { return false };
    let Some(target) = f.load::<16>(L4 + 8) else { return false };
    let len = u16::from_be_bytes([head[4], head[5]]) as u32;
    let option = len == icmpv6::NEIGHBOUR_LEN + icmpv6::LINK_OPTION_LEN;
    if !option && len != icmpv6::NEIGHBOUR_LEN {
        return false;
    }
    let m = mac.octets();
    let link = [icmpv6::OPTION_TARGET, 1, m[0], m[1], m[2], m[3], m[4], m[5]];
    // Solicited and override; router for a gateway.
    let flags = if router { 0xe0 } else { 0x60 };
    let mut s = sum(&target) * 2 + sum(&asker) + len as u64 + protocol::ICMPV6 as u64;
    s += (icmpv6::ADVERTISEMENT as u64) << 8;
    s += (flags as u64) << 8;
    if option {
        s += sum(&link);
    }
    let c = (!fold(s)).to_be_bytes();
    let body = [icmpv6::ADVERTISEMENT, 0, c[0], c[1], flags, 0, 0, 0];
    f.store::<8>(L3, [0x60, 0, 0, 0, head[4], head[5], protocol::ICMPV6, 255], true)
        && f.store::<16>(L3 + 8, target, true)
        && f.store::<16>(L3 + 24, asker, true)
        && f.store::<8>(L4, body, true)
        && (!option || f.store::<8>(L4 + icmpv6::NEIGHBOUR_LEN, link, true))
        && turn(f, mac)
}

/// Headers in front of what an error quotes, bytes.
const GROW4: u32 = ipv4::LEN + icmp::LEN;
const GROW6: u32 = ipv6::LEN + icmp::LEN;
/// Nothing could be quoted.
const NO_QUOTE: u64 = u64::MAX;

/// Cuts the frame to what is quoted and makes room for `grow` bytes in front of it. Length of the
/// quote << 32 | its sum, as it will be on the wire.
#[inline(always)]
fn quote<F: Frame>(f: &mut F, grow: u32) -> u64 {
    let rest = f.length().wrapping_sub(L3);
    let len = if rest > QUOTE_MAX { QUOTE_MAX } else { rest & !3 };
    let u = unfinished(f);
    if !f.quote(L3 + len, grow) {
        return NO_QUOTE;
    }
    // The device will replace the seed by the complement of the sum from the transport header
    // on: together with it that part then sums up to the complement of the seed.
    let (end, rest) =
        if u.field < L3 + len { (u.l4 - L3, (!u.seed & 0xffff) as u64) } else { (len, 0) };
    let total = sum_of(f, L3 + grow, end);
    if total == NO_QUOTE { NO_QUOTE } else { (len as u64) << 32 | (total + rest) }
}

/// Sum of `len` bytes from `at`; a multiple of four, at most [`QUOTE_MAX`].
#[inline(always)]
fn sum_of<F: Frame>(f: &F, at: u32, len: u32) -> u64 {
    let mut total = 0;
    let mut done = 0;
    for _ in 0..QUOTE_MAX / 16 {
        if done + 16 > len {
            break;
        }
        let Some(b) = f.load::<16>(at + done) else { return NO_QUOTE };
        total += sum(&b);
        done += 16;
    }
    for _ in 0..3 {
        if done + 4 > len {
            break;
        }
        let Some(b) = f.load::<4>(at + done) else { return NO_QUOTE };
        total += sum(&b);
        done += 4;
    }
    total
}

/// A transport checksum that a device is still to finish.
struct Unfinished {
    /// Offset of the transport header; `u32::MAX` if there is none (no `Option`: what it leaves
    /// undefined would be spilled, which the verifier refuses).
    l4: u32,
    /// Offset of the checksum.
    field: u32,
    /// The sum of the pseudo header that stands there.
    seed: u32,
}

impl Unfinished {
    const NONE: Self = Self { l4: u32::MAX, field: u32::MAX, seed: 0 };
}

/// Finds a TCP or UDP checksum that still holds the sum of its pseudo header. By value, since a
/// program cannot ask; 1 in 65,536 finished packets looks like one, and its quote then has a
/// wrong checksum.
#[inline(always)]
fn unfinished<F: Frame>(f: &F) -> Unfinished {
    let Some(b) = f.fixed::<L3, 40>() else { return unfinished4(f) };
    if b[0] >> 4 != 6 {
        return unfinished4(f);
    }
    let len = u16::from_be_bytes([b[4], b[5]]) as u64;
    let Some(ends) = f.fixed::<{ L3 + 8 }, 32>() else { return Unfinished::NONE };
    compare(f, sum(&ends) + len + b[6] as u64, b[6], L3 + ipv6::LEN)
}

#[inline(always)]
fn unfinished4<F: Frame>(f: &F) -> Unfinished {
    let Some(b) = f.fixed::<L3, 20>() else { return Unfinished::NONE };
    let Some(ends) = f.fixed::<{ L3 + 12 }, 8>() else { return Unfinished::NONE };
    let header = ((b[0] & 0xf) as u32) << 2;
    let len = (u16::from_be_bytes([b[2], b[3]]) as u32).wrapping_sub(header) & 0xffff;
    compare(f, sum(&ends) + len as u64 + b[9] as u64, b[9], L3 + header)
}

#[inline(always)]
fn compare<F: Frame>(f: &F, pseudo: u64, next: u8, l4: u32) -> Unfinished {
    let field = match next {
        protocol::TCP => l4 + 16,
        protocol::UDP => l4 + 6,
        _ => return Unfinished::NONE,
    };
    let Some(b) = f.load::<2>(field) else { return Unfinished::NONE };
    let seed = u16::from_be_bytes(b);
    if seed == fold(pseudo) {
        Unfinished { l4, field, seed: seed as u32 }
    } else {
        Unfinished::NONE
    }
}

#[inline(always)]
fn error4<F: Frame>(f: &mut F, error: IcmpError, source: Addr, quote: u64) -> bool {
    let Some(link) = f.fixed::<0, 12>() else { return false };
    let Some(to) = f.fixed::<{ L3 + GROW4 + 12 }, 4>() else { return false };
    let (kind, code, mtu) = match error {
        IcmpError::TimeExceeded => (icmp::TIME_EXCEEDED, 0, 0),
        IcmpError::TooBig(mtu) => (icmp::UNREACHABLE, icmp::CODE_TOO_BIG, mtu as u16),
        IcmpError::Unreachable => (icmp::UNREACHABLE, icmp::CODE_HOST, 0),
    };
    let s = source.low32().to_be_bytes();
    let n = ((GROW4 as u64 + (quote >> 32)) as u16).to_be_bytes();
    // Precedence "internetwork control" (RFC 1812, section 4.3.2.5), not to be fragmented.
    let mut head = [
        0x45,
        0xc0,
        n[0],
        n[1],
        0,
        0,
        0x40,
        0,
        64,
        protocol::ICMP,
        0,
        0,
        s[0],
        s[1],
        s[2],
        s[3],
        to[0],
        to[1],
        to[2],
        to[3],
    ];
    let c = (!fold(sum(&head))).to_be_bytes();
    head[10] = c[0];
    head[11] = c[1];
    let m = mtu.to_be_bytes();
    let mut body = [kind, code, 0, 0, 0, 0, m[0], m[1]];
    let c = (!fold(sum(&body) + (quote & 0xffff_ffff))).to_be_bytes();
    body[2] = c[0];
    body[3] = c[1];
    f.store::<12>(0, back(&link), false)
        && f.store::<2>(12, ethernet::IPV4.to_be_bytes(), false)
        && f.store::<20>(L3, head, true)
        && f.store::<8>(L3 + ipv4::LEN, body, true)
}

#[inline(always)]
fn error6<F: Frame>(f: &mut F, error: IcmpError, source: Addr, quote: u64) -> bool {
    let Some(link) = f.fixed::<0, 12>() else { return false };
    let Some(to) = f.fixed::<{ L3 + GROW6 + 8 }, 16>() else { return false };
    let (kind, code, mtu) = match error {
        IcmpError::TimeExceeded => (icmpv6::TIME_EXCEEDED, 0, 0),
        IcmpError::TooBig(mtu) => (icmpv6::TOO_BIG, 0, mtu),
        IcmpError::Unreachable => (icmpv6::UNREACHABLE, icmpv6::CODE_ADDRESS, 0),
    };
    let from = source.octets();
    let len = icmp::LEN + (quote >> 32) as u32;
    let n = (len as u16).to_be_bytes();
    let m = mtu.to_be_bytes();
    let mut body = [kind, code, 0, 0, m[0], m[1], m[2], m[3]];
    let pseudo = sum(&from) + sum(&to) + len as u64 + protocol::ICMPV6 as u64;
    let c = (!fold(pseudo + sum(&body) + (quote & 0xffff_ffff))).to_be_bytes();
    body[2] = c[0];
    body[3] = c[1];
    f.store::<12>(0, back(&link), false)
        && f.store::<2>(12, ethernet::IPV6.to_be_bytes(), false)
        && f.store::<8>(L3, [0x60, 0, 0, 0, n[0], n[1], protocol::ICMPV6, 64], true)
        && f.store::<16>(L3 + 8, from, true)
        && f.store::<16>(L3 + 24, to, true)
        && f.store::<8>(L3 + ipv6::LEN, body, true)
}

/// The two MACs of a frame, swapped: the error comes from the gateway that was addressed.
#[inline(always)]
fn back(b: &[u8; 12]) -> [u8; 12] {
    [b[6], b[7], b[8], b[9], b[10], b[11], b[0], b[1], b[2], b[3], b[4], b[5]]
}
