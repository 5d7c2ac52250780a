//! The connection that a frame seems to belong to, before anything of it is checked: to have what is
//! known of it fetched while others are judged. A wrong guess costs time, and nothing else.

use portcullis_pipeline::{
    addr::Addr,
    flow,
    frame::Frame,
    layout::FlowKey,
    wire::{ethernet, ipv4, ipv6},
};

/// Its key, if its transport header stands where it mostly does, and has ports.
#[inline(always)]
pub fn key<F: Frame>(frame: &F) -> Option<FlowKey> {
    const L3: u32 = ethernet::LEN;
    let ports = |at| {
        let [s0, s1, d0, d1] = frame.load::<4>(at)?;
        Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
    };
    let (src, dst, protocol, (sport, dport)) = match u16::from_be_bytes(frame.load::<2>(L3 - 2)?) {
        ethernet::IPV4 => {
            let [protocol, _] = frame.load::<2>(L3 + 9)?;
            let (src, dst) = (frame.load::<4>(L3 + 12)?, frame.load::<4>(L3 + 16)?);
            (Addr::v4(src), Addr::v4(dst), protocol, ports(L3 + ipv4::LEN)?)
        }
        ethernet::IPV6 => {
            let [protocol, _] = frame.load::<2>(L3 + 6)?;
            let (src, dst) = (frame.load::<16>(L3 + 8)?, frame.load::<16>(L3 + 24)?);
            (Addr::v6(src), Addr::v6(dst), protocol, ports(L3 + ipv6::LEN)?)
        }
        _ => return None,
    };
    // Of no network: those of link-local addresses are not guessed.
    Some(flow::key(src, dst, sport, dport, protocol, 0).key)
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use portcullis_pipeline::parse;
    use proptest::prelude::*;

    use super::*;
    use crate::Buffer;

    /// The key by which the pipeline looks for a connection.
    fn judged(frame: &Buffer) -> FlowKey {
        let v6 = parse::link(frame).unwrap().ethertype == ethernet::IPV6;
        let ip = parse::ip(frame, ethernet::LEN, v6, false).unwrap();
        let tr = parse::transport(frame, &ip).unwrap();
        flow::key(ip.src, ip.dst, tr.sport(), tr.dport(), ip.protocol(), 7).key
    }

    proptest! {
        /// Of plain packets the guess is right.
        #[test]
        fn it_is_what_is_looked_up(
            v4: Option<([u8; 4], [u8; 4])>,
            v6: ([u8; 16], [u8; 16]),
            tcp: bool,
            sport: u16,
            dport: u16,
        ) {
            let link_local = |addr: &[u8; 16]| addr[0] == 0xfe && addr[1] & 0xc0 == 0x80;
            prop_assume!(v4.is_some() || !(link_local(&v6.0) || link_local(&v6.1)));
            let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
            let ip = match v4 {
                Some((src, dst)) => ethernet.ipv4(src, dst, 64),
                None => ethernet.ipv6(v6.0, v6.1, 64),
            };
            let mut bytes = Vec::new();
            match tcp {
                true => ip.tcp(sport, dport, 1, 1).ack(1).write(&mut bytes, &[]).unwrap(),
                false => ip.udp(sport, dport).write(&mut bytes, &[]).unwrap(),
            }
            let frame = Buffer::new(bytes);
            prop_assert_eq!(key(&frame), Some(judged(&frame)));
        }

        /// Whatever a frame is, nothing happens but that.
        #[test]
        fn it_may_be_none(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = key(&Buffer::new(bytes));
        }
    }
}
