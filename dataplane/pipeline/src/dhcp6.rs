//! DHCPv6 (RFC 8415): every guest is told the IPv6 address that was declared for it.
//!
//! ```text
//!  SOLICIT ─▶ ADVERTISE, with rapid commit REPLY      CONFIRM ─▶ REPLY: on link, or not
//!  REQUEST, RENEW, REBIND ─▶ REPLY with the address   RELEASE, DECLINE ─▶ REPLY: noted
//!  INFORMATION-REQUEST ─▶ REPLY without one           to another server: absorbed
//! ```
//!
//! The first identity association gets the address, further ones get nothing.

use crate::{
    addr::{Addr, Mac},
    answer::sum,
    frame::Frame,
    layout::{NOTICE_PIECE, NoticeEntry},
    notice::{self, Question, UDP6, question_flag},
    reason::DropReason,
    tables::Tables,
    wire::{dhcp6, ethernet, ipv6, protocol, udp},
};

const L4: u32 = ethernet::LEN + ipv6::LEN;
const PIECE: u32 = NOTICE_PIECE as u32;
/// Blocks of 16 bytes from the UDP length field on that an answer reaches at most.
const BLOCKS: u32 = 24;
const MOST: u32 = L4 + 4 + BLOCKS * 16;
const _: () = assert!(
    UDP6 + dhcp6::LEN
        + dhcp6::SERVER_LEN
        + dhcp6::ASSOCIATION_LEN
        + dhcp6::OPTION_LEN
        + 7 * PIECE
        + dhcp6::CLIENT_MAX
        <= MOST
);

/// All DHCPv6 servers of a link (section 7.1).
const ALL_SERVERS: Addr = Addr { hi: 0xff02_0000_0000_0000, lo: 0x1_0002 };

/// Reads a question to the server of `n` into `q`.
#[inline(always)]
pub fn read<F: Frame, T: Tables>(
    f: &F,
    t: &T,
    n: &NoticeEntry,
    q: &mut Question,
) -> Result<(), DropReason> {
    let Some(ip) = f.fixed::<{ ethernet::LEN }, 8>() else { return Err(DropReason::Truncated) };
    let Some(src) = f.fixed::<{ ethernet::LEN + 8 }, 16>() else {
        return Err(DropReason::Truncated);
    };
    let Some(dst) = f.fixed::<{ ethernet::LEN + 24 }, 16>() else {
        return Err(DropReason::Truncated);
    };
    let Some(u) = f.fixed::<L4, 8>() else { return Err(DropReason::Truncated) };
    let Some(m) = f.fixed::<UDP6, 4>() else { return Err(DropReason::BadDhcp) };
    // Extension headers have no business here: the message stands at a fixed place.
    if ip[6] != protocol::UDP || Addr::v6(src).is_unspecified() {
        return Err(DropReason::BadDhcp);
    }
    if Addr::v6(dst) != ALL_SERVERS {
        return Err(DropReason::Unanswered);
    }
    *q = Question {
        kind: m[0] as u32,
        transaction: u32::from_be_bytes([0, m[1], m[2], m[3]]),
        at: UDP6 + dhcp6::LEN,
        end: L4 + u16::from_be_bytes([u[4], u[5]]) as u32,
        ..Question::NEW
    };
    for _ in 0..dhcp6::OPTIONS_MAX {
        let q = t.forget(q);
        if q.at >= q.end {
            return if q.at == q.end { Ok(()) } else { Err(DropReason::BadDhcp) };
        }
        option(f, n, q)?;
    }
    Err(DropReason::BadDhcp)
}

/// Reads one option. The options in the first identity association are read as if they stood
/// behind it.
#[inline(always)]
fn option<F: Frame>(f: &F, n: &NoticeEntry, q: &mut Question) -> Result<(), DropReason> {
    let at = q.at;
    let Some(b) = f.load::<4>(at) else { return Err(DropReason::BadDhcp) };
    let code = u16::from_be_bytes([b[0], b[1]]);
    let len = u16::from_be_bytes([b[2], b[3]]) as u32;
    let body = at + dhcp6::OPTION_LEN;
    q.at = body + len;
    if q.at > q.end {
        return Err(DropReason::BadDhcp);
    }
    if code == dhcp6::CLIENT {
        // A DUID has a type and something behind it (section 11.1).
        if len < 3 || len + dhcp6::OPTION_LEN > dhcp6::CLIENT_MAX {
            return Err(DropReason::BadDhcp);
        }
        q.client_at = at;
        q.client_len = len + dhcp6::OPTION_LEN;
    } else if code == dhcp6::SERVER {
        q.flags |= question_flag::SERVER;
        if !is_own(f, n, body, len) {
            q.flags |= question_flag::OTHER_SERVER;
        }
    } else if code == dhcp6::RAPID_COMMIT {
        q.flags |= question_flag::RAPID;
    } else if code == dhcp6::ASSOCIATION && !q.has(question_flag::ASSOCIATION) {
        let Some(b) = f.load::<4>(body) else { return Err(DropReason::BadDhcp) };
        if len < 12 {
            return Err(DropReason::BadDhcp);
        }
        q.flags |= question_flag::ASSOCIATION;
        q.association = u32::from_be_bytes(b);
        q.at = body + 12;
    } else if code == dhcp6::ADDRESS {
        let Some(b) = f.load::<16>(body) else { return Err(DropReason::BadDhcp) };
        if len < 24 {
            return Err(DropReason::BadDhcp);
        }
        q.addr = Addr::v6(b);
        if q.addr != n.addr {
            q.flags |= question_flag::OTHER_ADDRESS;
        }
    }
    Ok(())
}

/// Is this our own server identifier?
#[inline(always)]
fn is_own<F: Frame>(f: &F, n: &NoticeEntry, at: u32, len: u32) -> bool {
    let Some(b) = f.load::<10>(at) else { return false };
    len == 10
        && [b[0], b[1], b[2], b[3]] == dhcp6::DUID_LL
        && Mac::new([b[4], b[5], b[6], b[7], b[8], b[9]]).0 == n.mac
}

/// Parts of an answer, besides both identifiers.
mod part {
    pub const ASSOCIATION: u32 = 0x100;
    pub const RAPID: u32 = 0x200;
    pub const STATUS: u32 = 0x400;
    pub const TEXT: u32 = 0x800;
}

/// Message type of the answer to a question, and bits of [`part`] (section 18.3).
#[inline(always)]
fn kind(q: &Question) -> Result<u32, DropReason> {
    let named = q.has(question_flag::SERVER);
    if q.client_len == 0 && q.kind != dhcp6::INFORMATION {
        return Err(DropReason::BadDhcp);
    }
    // Who speaks to one server says so, who looks for one does not (section 16).
    let wrong = match q.kind {
        dhcp6::SOLICIT | dhcp6::CONFIRM | dhcp6::REBIND => named,
        dhcp6::REQUEST | dhcp6::RENEW | dhcp6::RELEASE | dhcp6::DECLINE => !named,
        dhcp6::INFORMATION => q.has(question_flag::ASSOCIATION),
        _ => false,
    };
    if wrong {
        return Err(DropReason::BadDhcp);
    }
    if q.has(question_flag::OTHER_SERVER) {
        return Err(DropReason::Absorbed);
    }
    let with_address =
        part::TEXT | if q.has(question_flag::ASSOCIATION) { part::ASSOCIATION } else { 0 };
    match q.kind {
        dhcp6::SOLICIT if q.has(question_flag::RAPID) => {
            Ok(dhcp6::REPLY | with_address | part::RAPID)
        }
        dhcp6::SOLICIT => Ok(dhcp6::ADVERTISE | with_address),
        dhcp6::REQUEST | dhcp6::RENEW | dhcp6::REBIND => Ok(dhcp6::REPLY | with_address),
        // Nothing to confirm (section 18.3.3).
        dhcp6::CONFIRM if q.addr.is_unspecified() => Err(DropReason::Absorbed),
        dhcp6::CONFIRM | dhcp6::RELEASE | dhcp6::DECLINE => Ok(dhcp6::REPLY | part::STATUS),
        dhcp6::INFORMATION => Ok(dhcp6::REPLY | part::TEXT),
        dhcp6::ADVERTISE | dhcp6::REPLY => Err(DropReason::NotForGuests),
        _ => Err(DropReason::Unanswered),
    }
}

/// Turns the question into its answer.
#[inline(always)]
pub fn answer<F: Frame>(f: &mut F, n: &NoticeEntry, q: &mut Question) -> Result<(), DropReason> {
    let Some(link) = f.fixed::<6, 6>() else { return Err(DropReason::Truncated) };
    let Some(src) = f.fixed::<{ ethernet::LEN + 8 }, 16>() else {
        return Err(DropReason::Truncated);
    };
    let to = Addr::v6(src);
    let parts = kind(q)?;
    q.keep_client(f)?;
    // Cut and made longer again: all behind the UDP header is zero.
    if !f.resize(UDP6) || !f.resize(MOST) {
        return Err(DropReason::Fault);
    }
    let end = message(f, n, q, parts);
    let len = end - L4;
    let ok = end != 0
        && notice::link(f, Mac::new(link), n.mac, ethernet::IPV6)
        && notice::ip6(f, protocol::UDP, len, n.server, to)
        && notice::udp(f, L4, udp::DHCP6_SERVER, udp::DHCP6_CLIENT, len)
        && notice::udp_checksum::<F, BLOCKS>(
            f,
            L4,
            udp::DHCP6_SERVER + udp::DHCP6_CLIENT,
            sum(&n.server.octets()) + sum(&to.octets()),
            len,
        )
        && f.resize(end);
    if ok { Ok(()) } else { Err(DropReason::Fault) }
}

/// Writes the message; where it ends, or 0.
#[inline(always)]
fn message<F: Frame>(f: &mut F, n: &NoticeEntry, q: &Question, parts: u32) -> u32 {
    let x = q.transaction.to_be_bytes();
    let m = Mac(n.mac).octets();
    let d = dhcp6::DUID_LL;
    let head = [
        parts as u8,
        x[1],
        x[2],
        x[3],
        0,
        dhcp6::SERVER as u8,
        0,
        10,
        d[0],
        d[1],
        d[2],
        d[3],
        m[0],
        m[1],
        m[2],
        m[3],
        m[4],
        m[5],
    ];
    let mut ok = f.store::<18>(UDP6, head, true);
    let mut at = UDP6 + dhcp6::LEN + dhcp6::SERVER_LEN;
    if parts & part::RAPID != 0 {
        ok = ok && f.store::<4>(at, [0, dhcp6::RAPID_COMMIT as u8, 0, 0], true);
        at += dhcp6::OPTION_LEN;
    }
    if parts & part::STATUS != 0 {
        let off = q.kind == dhcp6::CONFIRM && q.has(question_flag::OTHER_ADDRESS);
        let status = if off { dhcp6::NOT_ON_LINK as u8 } else { 0 };
        ok = ok && f.store::<6>(at, [0, dhcp6::STATUS as u8, 0, 2, 0, status], true);
        at += dhcp6::OPTION_LEN + 2;
    }
    if parts & part::ASSOCIATION != 0 {
        ok = ok && association(f, n, q, at);
        at += dhcp6::ASSOCIATION_LEN;
    }
    if parts & part::TEXT != 0 {
        ok = ok && text(f, n, at);
        at += n.len;
    }
    // Last, since it has any length. What is behind it is zero.
    ok = ok && f.store::<32>(at, q.client[0], true) && f.store::<32>(at + PIECE, q.client[1], true);
    if ok { at + q.client_len } else { 0 }
}

/// IA_NA with the one address of the port (sections 21.4 and 21.6); asked for again after half
/// and seven eighths of the time.
#[inline(always)]
fn association<F: Frame>(f: &mut F, n: &NoticeEntry, q: &Question, at: u32) -> bool {
    let i = q.association.to_be_bytes();
    let (half, most) = ((n.lease_s / 2).to_be_bytes(), (n.lease_s - n.lease_s / 8).to_be_bytes());
    let l = n.lease_s.to_be_bytes();
    let head = [
        0,
        dhcp6::ASSOCIATION as u8,
        0,
        40,
        i[0],
        i[1],
        i[2],
        i[3],
        half[0],
        half[1],
        half[2],
        half[3],
        most[0],
        most[1],
        most[2],
        most[3],
        0,
        dhcp6::ADDRESS as u8,
        0,
        24,
    ];
    f.store::<20>(at, head, true)
        && f.store::<16>(at + 20, n.addr.octets(), true)
        && f.store::<8>(at + 36, [l[0], l[1], l[2], l[3], l[0], l[1], l[2], l[3]], true)
}

/// The options of the network, and zeros behind them.
#[inline(always)]
fn text<F: Frame>(f: &mut F, n: &NoticeEntry, at: u32) -> bool {
    let t = &n.text;
    f.store::<32>(at, t[0], true)
        && f.store::<32>(at + PIECE, t[1], true)
        && f.store::<32>(at + 2 * PIECE, t[2], true)
        && f.store::<32>(at + 3 * PIECE, t[3], true)
        && f.store::<32>(at + 4 * PIECE, t[4], true)
        && f.store::<32>(at + 5 * PIECE, t[5], true)
        && f.store::<32>(at + 6 * PIECE, t[6], true)
}
