//! Damaged questions to the switch itself: DHCP, DHCPv6, ARP, neighbour discovery and router
//! solicitations. Whatever bytes come in, both sides make the same of them; what they answer an
//! independent parser reads, and it is for whoever asked, about nobody else's address. The seed is
//! fixed; `PORTCULLIS_TEST_LONG` tries thirty times as much.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use portcullis_engine::Buffer;
use portcullis_pipeline::{Verdict, wire::protocol};
use portcullis_policy::generate::Random;

use crate::{
    frames::{self, Frame},
    leases::{OTHER, OWN, SERVER, option},
    run::{Fate, compare, finish},
    stories::{ANN, Story, tell},
};

const CASES: u32 = 20_000;
const CASES_LONG: u32 = 30 * CASES;
const POLICY: &str = "
networks:
  lan: { vlan: 10, subnets: [10.1.0.0/24, 'fd01::/64'], gateway: true, lease: 2h, limits: none,
         dns: [10.1.0.53, 'fd01::53'], domain: lan.example }
guests:
  ann: { network: lan, ip: [10.1.0.11, 'fd01::11'] }
";
const GATEWAY6: [u8; 16] = [0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const NOWHERE: [u8; 4] = [0; 4];

/// A question before it is damaged.
enum Seed {
    Packet(Frame),
    Arp(Vec<u8>),
}

/// Honest questions, from which the others are made.
fn seeds(s: &Story) -> Vec<Seed> {
    let mac = s.world.ports[ANN].mac.octets();
    let (wanted, server) = (option(50, &OWN), option(54, &SERVER));
    let asked = [wanted.clone(), server, option(55, &[1, 3, 6, 15, 26])].concat();
    // Identity association with an address, and what is asked for (RFC 8415, section 21).
    let mut association = vec![0, 3, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 24];
    association.extend([&GATEWAY6[..15], &[0x11], &[0; 8]].concat());
    association.extend([0, 6, 0, 4, 0, 23, 0, 24]);
    let mut all = vec![
        s.dhcp(1, NOWHERE, 0x80, &asked),
        s.dhcp(3, NOWHERE, 0, &asked),
        s.dhcp(3, NOWHERE, 0, &option(50, &OTHER)),
        s.dhcp(8, OWN, 0, &asked),
        s.dhcp6(1, &association),
        s.dhcp6(4, &association),
        s.dhcp6(11, &association[44..]),
    ];
    let local = crate::world::Policy::link_local(&s.world.ports[ANN]);
    let own = [&[1, 1][..], &mac].concat();
    for (kind, to, target) in
        [(135, GATEWAY6, &GATEWAY6[..]), (133, GATEWAY6, &[]), (136, GATEWAY6, &GATEWAY6)]
    {
        let to = if kind == 133 { IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 2]) } else { to.into() };
        let payload = frames::icmp(kind, 0, [0; 4], &[target, &own].concat());
        let template = s.datagram((0, 0), (local, to), &[]);
        all.push(Frame { ttl: 255, protocol: protocol::ICMPV6, payload, ..template });
    }
    let arp = |op, target| frames::arp([0xff; 6], mac, op, (mac, OWN), ([0; 6], target), &[]);
    let arps = [arp(1, SERVER), arp(1, OTHER), arp(1, OWN), arp(2, SERVER)];
    all.into_iter().map(Seed::Packet).chain(arps.into_iter().map(Seed::Arp)).collect()
}

/// A seed with some bytes of what it says changed; the lengths around it mostly fit.
fn damaged(r: &mut Random, seed: &Seed) -> Vec<u8> {
    let mut bytes = match seed {
        Seed::Arp(bytes) => bytes.clone(),
        Seed::Packet(frame) => {
            let mut frame = frame.clone();
            let inside = frame.payload.split_off(8);
            frame.payload.extend(changed(r, inside));
            if frame.protocol == protocol::UDP {
                let length = frame.payload.len() as u16;
                frame.payload[4..6].copy_from_slice(&length.to_be_bytes());
            }
            frame.bytes()
        }
    };
    if matches!(seed, Seed::Arp(_)) && !r.once_in(3) || r.once_in(8) {
        frames::damage(r, &mut bytes);
    }
    bytes
}

/// Options stand at the end: that is where most is changed.
fn changed(r: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..r.below(5) {
        let from = if r.once_in(3) { 0 } else { bytes.len().saturating_sub(40) };
        let at = from + r.below((bytes.len() - from).max(1));
        match r.below(5) {
            _ if at >= bytes.len() => {}
            0 => bytes[at] ^= 1 << r.below(8),
            1 => bytes[at] = *r.pick(&[0, 1, 2, 3, 6, 50, 53, 54, 55, 61, 82, 200, 255]),
            2 => bytes.truncate(at),
            3 => drop(
                bytes.splice(at..at, (0..r.below(12)).map(|_| r.next() as u8).collect::<Vec<_>>()),
            ),
            _ => {
                let piece = bytes[at..].to_vec();
                bytes.extend(piece);
            }
        }
    }
    bytes
}

/// Is this answer one, to Ann, and about no address but her own and the gateway's?
fn judge(answer: &[u8], mac: [u8; 6]) -> Result<()> {
    ensure!(answer[..6] == mac || answer[..6] == [0xff; 6], "to somebody else: {answer:02x?}");
    let packet = SlicedPacket::from_ethernet(answer).context("nobody can read it")?;
    match (&packet.net, &packet.transport) {
        (Some(NetSlice::Arp(arp)), _) => {
            ensure!(arp.sender_protocol_addr() == SERVER, "{arp:?}");
        }
        (Some(NetSlice::Ipv4(_)), Some(TransportSlice::Udp(udp))) => {
            ensure!((udp.source_port(), udp.destination_port()) == (67, 68), "{udp:?}");
            let given = udp.payload().get(16..20).context("a short one")?;
            ensure!(given == OWN || given == NOWHERE, "another's address: {given:?}");
        }
        (Some(NetSlice::Ipv6(_)), Some(TransportSlice::Udp(udp))) => {
            ensure!((udp.source_port(), udp.destination_port()) == (547, 546), "{udp:?}");
        }
        (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) => {
            ensure!(ip.header().hop_limit() == 255 && [134, 136].contains(&icmp.type_u8()));
        }
        other => anyhow::bail!("no answer of the switch: {other:?}"),
    }
    Ok(())
}

#[test]
fn damaged_questions_get_the_same_answer_or_none() {
    tell(|| {
        let cases = match std::env::var_os("PORTCULLIS_TEST_LONG") {
            Some(_) => CASES_LONG,
            None => CASES,
        };
        let mut s = Story::of(POLICY, 0)?;
        let (ifindex, mac) = (s.world.ports[ANN].ifindex, s.world.ports[ANN].mac.octets());
        let (mut r, seeds) = (Random::new(77), seeds(&s));
        let (mut answered, mut refused) = (0, 0);
        for _ in 0..cases {
            let seed = &seeds[r.below(seeds.len())];
            let bytes = damaged(&mut r, seed);
            let Some(ran) = s.kernel.run(&bytes, ifindex)? else { continue };
            let mut native = Buffer::new(bytes.clone());
            let verdict = s.engine.decide(&mut native, ifindex);
            let fate = finish(&mut s.engine, &mut native, verdict);
            compare(verdict, fate, &native, &ran).with_context(|| format!("{bytes:02x?}"))?;
            match (verdict, fate) {
                (Verdict::Answer(_), Fate::Leaves) => {
                    judge(native.bytes(), mac).with_context(|| format!("{bytes:02x?}"))?;
                    answered += 1;
                }
                (Verdict::Drop(_), _) => refused += 1,
                _ => {}
            }
        }
        println!("{cases} questions: {answered} answered, {refused} refused");
        ensure!(answered > cases / 10 && refused > cases / 10, "{answered} and {refused}");
        Ok(())
    });
}
