//! What a slot says about a packet that nobody sends: for the loader, which asks the loaded
//! program about a generation before it is put in force. Nothing is counted, remembered or told.

use crate::{
    frame::Frame,
    packet::{Packet, Scratch},
    parse::{self, Fragment},
    policy::Judged,
    query,
    reason::DropReason,
    route,
    tables::Tables,
    wire::ethernet,
};

/// Reads an untagged frame whose packet would start a connection in a network, and finds the
/// verdict of a slot on it: the same steps as for a first packet, without its way. The answer is
/// in `scratch`, see [`answer`].
#[inline(always)]
pub fn ask<F: Frame, T: Tables>(
    f: &F,
    t: &T,
    slot: u32,
    network: u32,
    scratch: &mut Scratch,
) -> Result<(), DropReason> {
    let link = parse::link(f)?;
    let v6 = link.ethertype == ethernet::IPV6;
    if link.tagged || (!v6 && link.ethertype != ethernet::IPV4) {
        return Err(DropReason::EtherType);
    }
    scratch.ip = parse::ip(f, ethernet::LEN, v6, false)?;
    let ip = t.forget(&mut scratch.ip);
    if ip.fragment == Fragment::Later {
        return Err(DropReason::FragmentOrphan);
    }
    let tr = parse::transport(f, ip)?;
    scratch.packet.set_probe(slot, network, ip, &tr);
    t.ask(t.forget(&mut scratch.packet))
}

/// The answer that [`ask`] has left behind.
#[inline(always)]
pub const fn answer(scratch: &Scratch) -> Judged {
    Judged(scratch.packet.port)
}

/// Finds the verdict. This is the meaning behind [`Tables::ask`].
#[inline(always)]
pub fn judge<T: Tables>(t: &T, q: &mut Packet) -> Result<(), DropReason> {
    let dst = route::class(t, q.slot(), q.network, q.dst)?;
    q.port = query::look_up(t, q, dst)?.0;
    Ok(())
}
