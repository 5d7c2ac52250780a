//! What the switch tells a port about itself and its network: DHCP, DHCPv6 and router
//! advertisements. User space compiles the parts that do not depend on the question
//! ([`NoticeEntry`]); here the question is read, with a bound, and the frame becomes the answer.
//!
//! Each kind is a program of its own in eBPF, so that the verifier sees one at a time.

use crate::{
    addr::{Addr, Mac},
    advertise,
    answer::{fold, sum},
    dhcp, dhcp6,
    frame::Frame,
    layout::{NOTICE_PIECE, NoticeEntry, NoticeKey, notice},
    packet::Scratch,
    reason::DropReason,
    tables::Tables,
    verdict::Notice,
    wire::{ethernet, ipv6, protocol, udp},
};

/// A DHCP or DHCPv6 question.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Question {
    /// The address that it names as the client's; `::` for none.
    pub addr: Addr,
    /// The server that it names (DHCP: the address, DHCPv6: the MAC of its identifier) and
    /// [`question_flag`] bits about it.
    pub server: u64,
    /// Bits of [`question_flag`].
    pub flags: u64,
    /// Its type.
    pub kind: u32,
    /// Its transaction.
    pub transaction: u32,
    /// DHCPv6: the identity association; DHCP: the flags of the client.
    pub association: u32,
    /// Where its first option stands that is not read yet, bytes.
    pub at: u32,
    /// Where the options end, bytes.
    pub end: u32,
    /// Length of the client identifier with code and length, bytes; 0 for none.
    pub client_len: u32,
    /// Where the client identifier stands, bytes.
    pub client_at: u32,
    /// DHCP: the address that the client uses already, 0 for none.
    pub used: u32,
    /// The client identifier with code and length.
    pub client: [[u8; NOTICE_PIECE]; 2],
}

/// Bits of [`Question::flags`].
pub mod question_flag {
    /// It names a server.
    pub const SERVER: u64 = 1;
    /// It has an identity association.
    pub const ASSOCIATION: u64 = 2;
    /// Two messages are enough.
    pub const RAPID: u64 = 4;
    /// The server that it names is another one.
    pub const OTHER_SERVER: u64 = 8;
    /// Some address in it is not the client's.
    pub const OTHER_ADDRESS: u64 = 16;
}

impl Question {
    /// None yet.
    pub const NEW: Self = Self {
        addr: Addr::UNSPECIFIED,
        server: 0,
        flags: 0,
        kind: 0,
        transaction: 0,
        association: 0,
        at: 0,
        end: 0,
        client_len: 0,
        client_at: 0,
        used: 0,
        client: [[0; NOTICE_PIECE]; 2],
    };

    /// Does it have this flag?
    #[inline(always)]
    pub const fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    /// Keeps the client identifier, before the frame is written over.
    #[inline(always)]
    pub fn keep_client<F: Frame>(&mut self, f: &F) -> Result<(), DropReason> {
        self.client = [[0; NOTICE_PIECE]; 2];
        if self.client_len == 0 || f.gather(self.client_at, self.client_len, &mut self.client) {
            Ok(())
        } else {
            Err(DropReason::BadDhcp)
        }
    }
}

/// Turns the question of port `port` into the answer `n`. An error is why there is none; the
/// frame is to be dropped then.
#[inline(always)]
pub fn answer<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    port: u32,
    n: &Notice,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    match n.kind {
        notice::ADVERTISEMENT => advertisement(f, t, n),
        notice::DHCP => dhcp(f, t, port, n, scratch),
        _ => dhcp6(f, t, port, n, scratch),
    }
}

/// [`answer`], where a router is asked for.
#[inline(always)]
pub fn advertisement<F: Frame, T: Tables>(f: &mut F, t: &T, n: &Notice) -> Result<(), DropReason> {
    let Some(entry) = find(t, n, 0) else { return Err(DropReason::Unanswered) };
    advertise::answer(f, entry)?;
    tag(f, n)
}

/// [`answer`], to DHCP.
#[inline(always)]
pub fn dhcp<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    port: u32,
    n: &Notice,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    let Some(entry) = find(t, n, port) else { return Err(DropReason::Unanswered) };
    dhcp::read(f, t, &mut scratch.question)?;
    dhcp::answer(f, entry, t.forget(&mut scratch.question))?;
    tag(f, n)
}

/// [`answer`], to DHCPv6.
#[inline(always)]
pub fn dhcp6<F: Frame, T: Tables>(
    f: &mut F,
    t: &T,
    port: u32,
    n: &Notice,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    let Some(entry) = find(t, n, port) else { return Err(DropReason::Unanswered) };
    dhcp6::read(f, t, entry, &mut scratch.question)?;
    dhcp6::answer(f, entry, t.forget(&mut scratch.question))?;
    tag(f, n)
}

#[inline(always)]
fn find<'t, T: Tables>(t: &'t T, n: &Notice, port: u32) -> Option<&'t NoticeEntry> {
    let key = NoticeKey { kind: n.kind, network: n.network, port, slot: n.generation & 1 };
    t.notice(&key)
}

#[inline(always)]
fn tag<F: Frame>(f: &mut F, n: &Notice) -> Result<(), DropReason> {
    if n.vlan == 0 || f.push_tag(n.vlan as u16) { Ok(()) } else { Err(DropReason::Fault) }
}

/// Ethernet addresses and EtherType of an answer.
#[inline(always)]
pub fn link<F: Frame>(f: &mut F, to: Mac, from: u64, ethertype: u16) -> bool {
    let (d, s, e) = (to.octets(), Mac(from).octets(), ethertype.to_be_bytes());
    let head = [d[0], d[1], d[2], d[3], d[4], d[5], s[0], s[1], s[2], s[3], s[4], s[5], e[0], e[1]];
    f.store::<14>(0, head, false)
}

/// IPv6 header of an answer without extension headers: `len` bytes follow it.
#[inline(always)]
pub fn ip6<F: Frame>(f: &mut F, next: u8, len: u32, from: Addr, to: Addr) -> bool {
    const L3: u32 = ethernet::LEN;
    let n = (len as u16).to_be_bytes();
    f.store::<8>(L3, [0x60, 0, 0, 0, n[0], n[1], next, 255], true)
        && f.store::<16>(L3 + 8, from.octets(), true)
        && f.store::<16>(L3 + 24, to.octets(), true)
}

/// UDP header, the checksum still zero.
#[inline(always)]
pub fn udp<F: Frame>(f: &mut F, at: u32, from: u16, to: u16, len: u32) -> bool {
    let (s, d, n) = (from.to_be_bytes(), to.to_be_bytes(), (len as u16).to_be_bytes());
    f.store::<8>(at, [s[0], s[1], d[0], d[1], n[0], n[1], 0, 0], true)
}

/// Writes the checksum of the UDP header at `at`: over its ports, `pseudo` (the sum of both
/// addresses), and `16 * BLOCKS` bytes from its length field on. What the datagram does not reach
/// of these is zero.
#[inline(always)]
pub fn udp_checksum<F: Frame, const BLOCKS: u32>(
    f: &mut F,
    at: u32,
    ports: u16,
    pseudo: u64,
    len: u32,
) -> bool {
    let mut total = pseudo + len as u64 + protocol::UDP as u64 + ports as u64;
    let mut place = at + 4;
    for _ in 0..BLOCKS {
        let Some(b) = f.load::<16>(place) else { return false };
        total += sum(&b);
        place += 16;
    }
    let c = !fold(total);
    // RFC 768: zero stands for no checksum.
    let c = if c == 0 { 0xffff } else { c };
    f.store::<2>(at + 6, c.to_be_bytes(), true)
}

/// Where the payload of UDP over IPv6 begins.
pub const UDP6: u32 = ethernet::LEN + ipv6::LEN + udp::LEN;
