//! DHCP (RFC 2131, RFC 2132): every guest is told the addresses that were declared for it.
//!
//! ```text
//!  DISCOVER ─▶ OFFER          REQUEST ─▶ ACK   names the declared address
//!  INFORM   ─▶ ACK                    ─▶ NAK   names another one
//!  DECLINE, RELEASE, and a REQUEST to another server: absorbed
//! ```
//!
//! Every answer has one size: the client identifier and the options of the port, with padding.
//! Relays do not exist between a guest and its port: what only they fill in is ignored.

use crate::{
    addr::{Addr, Mac},
    answer::{fold, sum},
    frame::Frame,
    layout::{NOTICE_PIECE, NoticeEntry},
    notice::{self, Question, question_flag},
    reason::DropReason,
    tables::Tables,
    wire::{dhcp, ethernet, ipv4, protocol, udp},
};

const L4: u32 = ethernet::LEN + ipv4::LEN;
const MESSAGE: u32 = L4 + udp::LEN;
const OPTIONS: u32 = MESSAGE + dhcp::LEN;
const PIECE: u32 = NOTICE_PIECE as u32;
/// Behind the magic number: message type and server, padded.
const CLIENT_AT: u32 = OPTIONS + 12;
const TEXT_AT: u32 = CLIENT_AT + dhcp::CLIENT_MAX;
/// Length of every answer, bytes: 568 from the IP header on, of the 576 that every client takes
/// (RFC 2131, section 2).
const ANSWER_LEN: u32 = TEXT_AT + 7 * PIECE;
/// Blocks of 16 bytes from the UDP length field to the end.
const BLOCKS: u32 = (ANSWER_LEN - L4 - 4) / 16;
const _: () = assert!(L4 + 4 + BLOCKS * 16 == ANSWER_LEN && ANSWER_LEN - ethernet::LEN <= 576);

/// Reads a question into `q`.
#[inline(always)]
pub fn read<F: Frame, T: Tables>(f: &F, t: &T, q: &mut Question) -> Result<(), DropReason> {
    let Some(ip) = f.fixed::<{ ethernet::LEN }, 20>() else { return Err(DropReason::Truncated) };
    let Some(u) = f.fixed::<L4, 8>() else { return Err(DropReason::Truncated) };
    let Some(m) = f.fixed::<MESSAGE, 16>() else { return Err(DropReason::BadDhcp) };
    let Some(magic) = f.fixed::<{ MESSAGE + dhcp::MAGIC_AT }, 4>() else {
        return Err(DropReason::BadDhcp);
    };
    // IP options have no business here: the message stands at a fixed place.
    if ip[0] != 0x45 || magic != dhcp::MAGIC || [m[1], m[2]] != dhcp::HARDWARE {
        return Err(DropReason::BadDhcp);
    }
    if m[0] != dhcp::REQUEST {
        return Err(DropReason::NotForGuests);
    }
    let Some(macs) = f.fixed::<6, 6>() else { return Err(DropReason::Truncated) };
    let Some(client) = f.fixed::<{ MESSAGE + dhcp::CLIENT_MAC }, 6>() else {
        return Err(DropReason::Truncated);
    };
    if macs != client {
        return Err(DropReason::SpoofedMac);
    }
    *q = Question {
        transaction: u32::from_be_bytes([m[4], m[5], m[6], m[7]]),
        association: u16::from_be_bytes([m[10], m[11]]) as u32,
        used: u32::from_be_bytes([m[12], m[13], m[14], m[15]]),
        at: OPTIONS,
        end: L4 + u16::from_be_bytes([u[4], u[5]]) as u32,
        ..Question::NEW
    };
    for _ in 0..dhcp::OPTIONS_MAX {
        let q = t.forget(q);
        if q.at >= q.end {
            return Ok(());
        }
        option(f, q)?;
    }
    Err(DropReason::BadDhcp)
}

/// Reads one option; the end of the list moves the end of the message.
#[inline(always)]
fn option<F: Frame>(f: &F, q: &mut Question) -> Result<(), DropReason> {
    let at = q.at;
    // Two bytes at a time, of which the last one may be the frame's.
    let Some(b) = f.load::<2>(at - 1) else { return Err(DropReason::BadDhcp) };
    let code = b[1];
    if code == dhcp::PAD {
        q.at = at + 1;
        return Ok(());
    }
    if code == dhcp::END {
        q.at = q.end;
        return Ok(());
    }
    let Some(b) = f.load::<2>(at) else { return Err(DropReason::BadDhcp) };
    let len = b[1] as u32;
    q.at = at + 2 + len;
    if q.at > q.end {
        return Err(DropReason::BadDhcp);
    }
    if code == dhcp::CLIENT {
        if len < 2 || len + 2 > dhcp::CLIENT_MAX {
            return Err(DropReason::BadDhcp);
        }
        q.client_at = at;
        q.client_len = len + 2;
        return Ok(());
    }
    if code == dhcp::TYPE {
        let Some(b) = f.load::<2>(at + 1) else { return Err(DropReason::BadDhcp) };
        if len != 1 {
            return Err(DropReason::BadDhcp);
        }
        q.kind = b[1] as u32;
        return Ok(());
    }
    if code != dhcp::REQUESTED && code != dhcp::SERVER {
        return Ok(());
    }
    let Some(b) = f.load::<4>(at + 2) else { return Err(DropReason::BadDhcp) };
    if len != 4 {
        return Err(DropReason::BadDhcp);
    }
    if code == dhcp::REQUESTED {
        q.addr = Addr::v4(b);
    } else {
        q.server = u32::from_be_bytes(b) as u64;
        q.flags |= question_flag::SERVER;
    }
    Ok(())
}

/// Message type of the answer to a question.
#[inline(always)]
fn kind(n: &NoticeEntry, q: &Question) -> Result<u32, DropReason> {
    let own = n.addr.low32();
    match q.kind {
        dhcp::DISCOVER => Ok(dhcp::OFFER),
        dhcp::ASK => {
            if q.has(question_flag::SERVER) && q.server != n.server.low32() as u64 {
                return Err(DropReason::Absorbed);
            }
            // Section 4.3.2: by option while there is no address, by its own field later.
            let wanted = if q.used != 0 { q.used } else { q.addr.low32() };
            match wanted {
                0 => Err(DropReason::BadDhcp),
                w if w == own => Ok(dhcp::ACK),
                _ => Ok(dhcp::NAK),
            }
        }
        dhcp::INFORM if q.used == own => Ok(dhcp::ACK),
        dhcp::INFORM | dhcp::DECLINE | dhcp::RELEASE => Err(DropReason::Absorbed),
        dhcp::OFFER | dhcp::ACK | dhcp::NAK => Err(DropReason::NotForGuests),
        0 => Err(DropReason::BadDhcp),
        _ => Err(DropReason::Unanswered),
    }
}

/// Turns the question into its answer.
#[inline(always)]
pub fn answer<F: Frame>(f: &mut F, n: &NoticeEntry, q: &mut Question) -> Result<(), DropReason> {
    let Some(link) = f.fixed::<6, 6>() else { return Err(DropReason::Truncated) };
    let Some(dst) = f.fixed::<{ ethernet::LEN + 16 }, 4>() else {
        return Err(DropReason::Truncated);
    };
    let dst = Addr::v4(dst);
    if !dst.is_limited_broadcast() && dst != n.server {
        return Err(DropReason::Unanswered);
    }
    let kind = kind(n, q)?;
    q.keep_client(f)?;
    let own = n.addr.low32();
    // Section 4.1: to the address in use; else by broadcast where that is wanted, and for NAK.
    let broadcast = kind == dhcp::NAK || (q.used == 0 && q.association & dhcp::BROADCAST != 0);
    let mac = if broadcast { Mac::BROADCAST } else { Mac::new(link) };
    let to = if broadcast { u32::MAX } else { own };
    // Cut and made longer again: all behind the UDP header is zero.
    let ok = f.resize(MESSAGE)
        && f.resize(ANSWER_LEN)
        && notice::link(f, mac, n.mac, ethernet::IPV4)
        && ip(f, n.server.low32(), to)
        && notice::udp(f, L4, udp::DHCP_SERVER, udp::DHCP_CLIENT, ANSWER_LEN - L4)
        && fixed(f, n, q, kind, link)
        && options(f, n, q, kind)
        && notice::udp_checksum::<F, BLOCKS>(
            f,
            L4,
            udp::DHCP_SERVER + udp::DHCP_CLIENT,
            halves(n.server.low32()) + halves(to),
            ANSWER_LEN - L4,
        );
    if ok { Ok(()) } else { Err(DropReason::Fault) }
}

#[inline(always)]
const fn halves(a: u32) -> u64 {
    (a >> 16) as u64 + (a & 0xffff) as u64
}

#[inline(always)]
fn ip<F: Frame>(f: &mut F, from: u32, to: u32) -> bool {
    let (s, d) = (from.to_be_bytes(), to.to_be_bytes());
    let n = ((ANSWER_LEN - ethernet::LEN) as u16).to_be_bytes();
    let mut head = [
        0x45,
        0,
        n[0],
        n[1],
        0,
        0,
        0x40,
        0,
        64,
        protocol::UDP,
        0,
        0,
        s[0],
        s[1],
        s[2],
        s[3],
        d[0],
        d[1],
        d[2],
        d[3],
    ];
    let c = (!fold(sum(&head))).to_be_bytes();
    head[10] = c[0];
    head[11] = c[1];
    f.store::<20>(ethernet::LEN, head, true)
}

/// The message in front of its options (section 4.3.1, table 3).
#[inline(always)]
fn fixed<F: Frame>(f: &mut F, n: &NoticeEntry, q: &Question, kind: u32, client: [u8; 6]) -> bool {
    let x = q.transaction.to_be_bytes();
    let flags = ((q.association & dhcp::BROADCAST) as u16).to_be_bytes();
    let used = if kind == dhcp::ACK { q.used } else { 0 }.to_be_bytes();
    let given = kind == dhcp::OFFER || (kind == dhcp::ACK && q.kind != dhcp::INFORM);
    let own = if given { n.addr.low32() } else { 0 }.to_be_bytes();
    let [h, l] = dhcp::HARDWARE;
    let head = [
        dhcp::REPLY,
        h,
        l,
        0,
        x[0],
        x[1],
        x[2],
        x[3],
        0,
        0,
        flags[0],
        flags[1],
        used[0],
        used[1],
        used[2],
        used[3],
        own[0],
        own[1],
        own[2],
        own[3],
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    f.store::<28>(MESSAGE, head, true) && f.store::<6>(MESSAGE + dhcp::CLIENT_MAC, client, true)
}

/// Magic number and options. The first piece of the text is the lease, which who has an address
/// by other means is not told (section 4.3.5); a refusal tells nothing but the server.
#[inline(always)]
fn options<F: Frame>(f: &mut F, n: &NoticeEntry, q: &Question, kind: u32) -> bool {
    let m = dhcp::MAGIC;
    let s = n.server.low32().to_be_bytes();
    let head = [
        m[0],
        m[1],
        m[2],
        m[3],
        dhcp::TYPE,
        1,
        kind as u8,
        dhcp::SERVER,
        4,
        s[0],
        s[1],
        s[2],
        s[3],
        0,
        0,
        0,
    ];
    let ok = f.store::<16>(MESSAGE + dhcp::MAGIC_AT, head, true)
        && f.store::<32>(CLIENT_AT, q.client[0], true)
        && f.store::<32>(CLIENT_AT + PIECE, q.client[1], true);
    if kind == dhcp::NAK {
        return ok && f.store::<2>(TEXT_AT, [dhcp::END, dhcp::PAD], true);
    }
    let t = &n.text;
    ok && (q.kind == dhcp::INFORM || f.store::<32>(TEXT_AT, t[0], true))
        && f.store::<32>(TEXT_AT + PIECE, t[1], true)
        && f.store::<32>(TEXT_AT + 2 * PIECE, t[2], true)
        && f.store::<32>(TEXT_AT + 3 * PIECE, t[3], true)
        && f.store::<32>(TEXT_AT + 4 * PIECE, t[4], true)
        && f.store::<32>(TEXT_AT + 5 * PIECE, t[5], true)
        && f.store::<32>(TEXT_AT + 6 * PIECE, t[6], true)
}
