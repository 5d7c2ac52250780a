//! Router advertisements (RFC 4861, section 6.2): the switch is the router of its networks and
//! answers who asks for one.

use crate::{
    addr::{Addr, Mac},
    answer::{fold, sum},
    frame::Frame,
    layout::{NOTICE_PIECE, NOTICE_PIECES, NoticeEntry},
    notice,
    reason::DropReason,
    wire::{ethernet, ipv6, protocol},
};

const L4: u32 = ethernet::LEN + ipv6::LEN;
const PIECE: u32 = NOTICE_PIECE as u32;
/// Room for every piece of the text.
const MOST: u32 = L4 + NOTICE_PIECES as u32 * PIECE;

/// All nodes of a link, and their group MAC (RFC 4291, section 2.7.1; RFC 2464, section 7).
const ALL_NODES: Addr = Addr { hi: 0xff02_0000_0000_0000, lo: 1 };
const ALL_NODES_MAC: Mac = Mac(0x3333_0000_0001);

/// Turns a solicitation into the advertisement: to who asked, or to all where the asker has no
/// address yet (section 6.2.6), which is still this port alone.
#[inline(always)]
pub fn answer<F: Frame>(f: &mut F, n: &NoticeEntry) -> Result<(), DropReason> {
    let Some(link) = f.fixed::<6, 6>() else { return Err(DropReason::Truncated) };
    let Some(src) = f.fixed::<{ ethernet::LEN + 8 }, 16>() else {
        return Err(DropReason::Truncated);
    };
    let mut to = Addr::v6(src);
    let mut mac = Mac::new(link);
    if to.is_unspecified() {
        to = ALL_NODES;
        mac = ALL_NODES_MAC;
    }
    let pseudo = sum(&n.server.octets()) + sum(&to.octets());
    let c = !fold(pseudo + n.len as u64 + protocol::ICMPV6 as u64 + n.sum as u64);
    let ok = f.resize(MOST)
        && notice::link(f, mac, n.mac, ethernet::IPV6)
        && notice::ip6(f, protocol::ICMPV6, n.len, n.server, to)
        && text(f, n)
        && f.store::<2>(L4 + 2, c.to_be_bytes(), true)
        && f.resize(L4 + n.len);
    if ok { Ok(()) } else { Err(DropReason::Fault) }
}

#[inline(always)]
fn text<F: Frame>(f: &mut F, n: &NoticeEntry) -> bool {
    let t = &n.text;
    f.store::<32>(L4, t[0], true)
        && f.store::<32>(L4 + PIECE, t[1], true)
        && f.store::<32>(L4 + 2 * PIECE, t[2], true)
        && f.store::<32>(L4 + 3 * PIECE, t[3], true)
        && f.store::<32>(L4 + 4 * PIECE, t[4], true)
        && f.store::<32>(L4 + 5 * PIECE, t[5], true)
        && f.store::<32>(L4 + 6 * PIECE, t[6], true)
        && f.store::<32>(L4 + 7 * PIECE, t[7], true)
        && f.store::<32>(L4 + 8 * PIECE, t[8], true)
        && f.store::<32>(L4 + 9 * PIECE, t[9], true)
}
