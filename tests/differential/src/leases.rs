//! What the switch says to every kind of DHCP and DHCPv6 question, on both sides at once.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use portcullis_engine::Buffer;
use portcullis_pipeline::DropReason;

use crate::{
    frames::{Frame, udp},
    run::{Fate, compare, finish},
    stories::{Story, tell},
};

const POLICY: &str = "
networks:
  lan: { vlan: 10, subnets: [10.1.0.0/24, 'fd01::/64'], gateway: true, lease: 2h }
guests:
  ann: { network: lan, ip: [10.1.0.11, 'fd01::11'] }
";
pub(crate) const OWN: [u8; 4] = [10, 1, 0, 11];
pub(crate) const OTHER: [u8; 4] = [10, 1, 0, 99];
pub(crate) const SERVER: [u8; 4] = [10, 1, 0, 1];
const NOWHERE: [u8; 4] = [0; 4];

impl Story {
    /// The answer to a datagram of Ann; or the reason for which there is none.
    fn ask(&mut self, frame: &Frame) -> Result<std::result::Result<Vec<u8>, DropReason>> {
        let ifindex = self.world.ports[0].ifindex;
        let bytes = frame.bytes();
        let Some(ran) = self.kernel.run(&bytes, ifindex)? else {
            anyhow::bail!("the kernel takes a datagram")
        };
        let before = DropReason::ALL.iter().map(|r| self.engine.tables.drops(*r));
        let before: Vec<u64> = before.collect();
        let mut native = Buffer::new(bytes);
        let verdict = self.engine.decide(&mut native, ifindex);
        let fate = finish(&mut self.engine, &mut native, verdict);
        compare(verdict, fate, &native, &ran)?;
        if fate == Fate::Leaves {
            return Ok(Ok(native.bytes().to_vec()));
        }
        let counted = |r: &&DropReason| self.engine.tables.drops(**r) > before[**r as usize];
        let reason = DropReason::ALL.iter().find(counted).copied();
        Ok(Err(reason.unwrap_or(DropReason::Fault)))
    }

    pub(crate) fn datagram(
        &self,
        ports: (u16, u16),
        ends: (IpAddr, IpAddr),
        payload: &[u8],
    ) -> Frame {
        let mut bytes = udp(ports.0, ports.1, payload.len());
        bytes[8..].copy_from_slice(payload);
        Frame {
            dst_mac: [0xff; 6],
            src_mac: self.world.ports[0].mac.octets(),
            tags: Vec::new(),
            src: ends.0,
            dst: ends.1,
            ttl: 64,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            keep_whole: false,
            protocol: 17,
            payload: bytes,
        }
    }

    /// A DHCP message of this type with these options in front of it.
    pub(crate) fn dhcp(&self, kind: u8, used: [u8; 4], flags: u8, options: &[u8]) -> Frame {
        let mut b = vec![1, 1, 6, 0, 0xab, 0xcd, 0xef, 1, 0, 0, flags, 0];
        b.extend(used);
        b.resize(28, 0);
        b.extend(self.world.ports[0].mac.octets());
        b.resize(236, 0);
        b.extend([99, 130, 83, 99]);
        b.extend(options);
        b.extend([53, 1, kind, 255]);
        self.datagram((68, 67), (used.into(), [255; 4].into()), &b)
    }

    /// A DHCPv6 message of this type with these options, client identifier first.
    pub(crate) fn dhcp6(&self, kind: u8, options: &[u8]) -> Frame {
        let mut b = vec![kind, 1, 2, 3, 0, 1, 0, 5, 0, 2, 7, 7, 7];
        b.extend(options);
        let local = crate::world::Policy::link_local(&self.world.ports[0]);
        let servers = IpAddr::from([0xff02, 0, 0, 0, 0, 0, 1, 2]);
        self.datagram((546, 547), (local, servers), &b)
    }
}

/// An option of DHCP.
pub(crate) fn option(code: u8, value: &[u8]) -> Vec<u8> {
    [&[code, value.len() as u8], value].concat()
}

/// Message type of an answer (the first option), and the address that it gives.
fn said(answer: &[u8]) -> (u8, [u8; 4]) {
    let given = [answer[58], answer[59], answer[60], answer[61]];
    (answer[284], given)
}

#[test]
fn every_dhcp_question_has_its_answer() {
    tell(|| {
        let mut s = Story::of(POLICY, 0)?;
        let (wanted, server) = (|a: [u8; 4]| option(50, &a), option(54, &SERVER));
        let other_server = option(54, &OTHER);
        let table = [
            ("discover", s.dhcp(1, NOWHERE, 0, &[]), Ok((2, OWN))),
            ("discover, another", s.dhcp(1, NOWHERE, 0, &wanted(OTHER)), Ok((2, OWN))),
            (
                "request",
                s.dhcp(3, NOWHERE, 0, &[wanted(OWN), server.clone()].concat()),
                Ok((5, OWN)),
            ),
            (
                "request, another",
                s.dhcp(3, NOWHERE, 0, &[wanted(OTHER), server].concat()),
                Ok((6, NOWHERE)),
            ),
            (
                "to another server",
                s.dhcp(3, NOWHERE, 0, &[wanted(OWN), other_server].concat()),
                Err(DropReason::Absorbed),
            ),
            ("after a reboot", s.dhcp(3, NOWHERE, 0, &wanted(OWN)), Ok((5, OWN))),
            ("after a move", s.dhcp(3, NOWHERE, 0, &wanted(OTHER)), Ok((6, NOWHERE))),
            ("renewal", s.dhcp(3, OWN, 0, &[]), Ok((5, OWN))),
            ("request for nothing", s.dhcp(3, NOWHERE, 0, &[]), Err(DropReason::BadDhcp)),
            ("inform", s.dhcp(8, OWN, 0, &[]), Ok((5, NOWHERE))),
            ("decline", s.dhcp(4, NOWHERE, 0, &wanted(OWN)), Err(DropReason::Absorbed)),
            ("release", s.dhcp(7, OWN, 0, &[]), Err(DropReason::Absorbed)),
            ("an offer", s.dhcp(2, NOWHERE, 0, &[]), Err(DropReason::NotForGuests)),
            ("no such type", s.dhcp(99, NOWHERE, 0, &[]), Err(DropReason::Unanswered)),
            ("a long option", s.dhcp(1, NOWHERE, 0, &[12, 200]), Err(DropReason::BadDhcp)),
            ("a short address", s.dhcp(1, NOWHERE, 0, &[50, 2, 1, 2]), Err(DropReason::BadDhcp)),
            ("endless options", s.dhcp(1, NOWHERE, 0, &[0; 60]), Err(DropReason::BadDhcp)),
            ("another's address in use", s.dhcp(3, OTHER, 0, &[]), Err(DropReason::SpoofedAddress)),
        ];
        for (what, question, expected) in table {
            let answer = s.ask(&question)?.map(|a| said(&a));
            ensure!(answer == expected, "{what}: {answer:?}, not {expected:?}");
        }
        Ok(())
    });
}

#[test]
fn a_dhcp_answer_keeps_what_it_was_asked_with() {
    tell(|| {
        let mut s = Story::of(POLICY, 0)?;
        let client = option(61, &[1, 2, 3, 4, 5]);
        let broadcast = s.dhcp(1, NOWHERE, 0x80, &client);
        let Ok(answer) = s.ask(&broadcast)? else { anyhow::bail!("no answer") };
        ensure!(answer[..6] == [0xff; 6] && answer[30..34] == [255; 4], "by broadcast");
        ensure!(answer[46..50] == [0xab, 0xcd, 0xef, 1], "the transaction");
        ensure!(answer[294..301] == client, "RFC 6842: {:x?}", &answer[294..301]);
        ensure!(answer.len() == 582, "{}", answer.len());
        let unicast = s.dhcp(1, NOWHERE, 0, &[]);
        let Ok(answer) = s.ask(&unicast)? else { anyhow::bail!("no answer") };
        ensure!(answer[..6] == s.world.ports[0].mac.octets() && answer[30..34] == OWN);
        // Who has an address by other means is not told for how long.
        let inform = s.dhcp(8, OWN, 0, &[]);
        let Ok(answer) = s.ask(&inform)? else { anyhow::bail!("no answer") };
        ensure!(answer[358..390] == [0; 32], "no lease: {:x?}", &answer[358..390]);
        // A refusal tells nothing, and everybody hears it.
        let moved = s.dhcp(3, NOWHERE, 0, &option(50, &OTHER));
        let Ok(answer) = s.ask(&moved)? else { anyhow::bail!("no answer") };
        ensure!(answer[358..361] == [255, 0, 0] && answer[..6] == [0xff; 6]);
        Ok(())
    });
}

#[test]
fn every_dhcpv6_question_has_its_answer() {
    tell(|| {
        let mut s = Story::of(POLICY, 0)?;
        let mac = s.world.network(1).map_or([0; 6], |n| n.gateway_mac.octets());
        let server = [&[0, 2, 0, 10, 0, 3, 0, 1][..], &mac].concat();
        let other = [0, 2, 0, 10, 0, 3, 0, 1, 9, 9, 9, 9, 9, 9];
        let association = |last: u8| {
            let mut b = vec![0, 3, 0, 40, 0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 24];
            b.extend([0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
            b.extend([0; 8]);
            b
        };
        let (own, moved, rapid) = (association(0x11), association(0x99), [0, 14, 0, 0]);
        // Message type, and whether the address or a status is in the answer.
        let table = [
            ("solicit", s.dhcp6(1, &own), Ok((2, Some(0)))),
            ("solicit, rapid", s.dhcp6(1, &[&own[..], &rapid].concat()), Ok((7, Some(0)))),
            ("solicit to a server", s.dhcp6(1, &server), Err(DropReason::BadDhcp)),
            ("request", s.dhcp6(3, &[&server[..], &own].concat()), Ok((7, Some(0)))),
            ("request, another", s.dhcp6(3, &[&server[..], &moved].concat()), Ok((7, Some(0)))),
            ("request to nobody", s.dhcp6(3, &own), Err(DropReason::BadDhcp)),
            (
                "request to another",
                s.dhcp6(3, &[&other[..], &own].concat()),
                Err(DropReason::Absorbed),
            ),
            ("renew", s.dhcp6(5, &[&server[..], &own].concat()), Ok((7, Some(0)))),
            ("rebind", s.dhcp6(6, &own), Ok((7, Some(0)))),
            ("confirm", s.dhcp6(4, &own), Ok((7, None))),
            ("confirm nothing", s.dhcp6(4, &[]), Err(DropReason::Absorbed)),
            ("confirm, moved", s.dhcp6(4, &moved), Ok((7, Some(4)))),
            ("release", s.dhcp6(8, &[&server[..], &own].concat()), Ok((7, None))),
            ("information", s.dhcp6(11, &[]), Ok((7, None))),
            ("an advertisement", s.dhcp6(2, &server), Err(DropReason::NotForGuests)),
            ("relayed", s.dhcp6(12, &[]), Err(DropReason::Unanswered)),
            ("a long option", s.dhcp6(1, &[0, 6, 1, 0]), Err(DropReason::BadDhcp)),
            ("half an option", s.dhcp6(1, &[0, 6]), Err(DropReason::BadDhcp)),
        ];
        for (what, question, expected) in table {
            let answer = s.ask(&question)?.map(|a| (a[62], meaning(&a[66..])));
            ensure!(answer == expected, "{what}: {answer:?}, not {expected:?}");
        }
        Ok(())
    });
}

/// 0 where the options give Ann's address for her association, the status where it is not success.
fn meaning(options: &[u8]) -> Option<u8> {
    let mut at = 0;
    let mut meant = None;
    while at + 4 <= options.len() {
        let len = usize::from(options[at + 3]);
        let value = &options[at + 4..at + 4 + len];
        match options[at + 1] {
            3 if value[3] == 42 && value[16] == 0xfd && value[31] == 0x11 => meant = Some(0),
            13 if value[1] != 0 => meant = Some(value[1]),
            _ => {}
        }
        at += 4 + len;
    }
    meant
}
