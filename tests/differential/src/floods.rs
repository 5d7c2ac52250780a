//! Floods from an uplink: whatever a limit refuses, and what belongs to no connection, the gate drops
//! for the reason that `decide` has; and it leaves to `decide` what the log would hear of.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{bail, ensure};
use portcullis_engine::Buffer;
use portcullis_pipeline::{DropReason, Verdict};
use portcullis_policy::generate::Random;

use crate::{
    clock,
    frames::{self, Frame, Tcp},
    stories::{ANN, Story, tell},
    world::Kind,
};

const POLICY: &str = "
networks:
  lan: { vlan: 10, subnets: [10.1.0.0/24, 'fd01::/64'],
         uplink-limits: { new: 20/s, broadcast: 20/s, neighbours: 20/s } }
guests:
  ann: { network: lan, ip: [10.1.0.1, 'fd01::1'] }
  bob: { network: lan, ip: 10.1.0.2 }
rules: [{ name: visits, allow: { from: lan, to: ann, for: [tcp/80, udp/4000] } }]
";
const FRAMES: u64 = 6_000;
/// Frames between two ticks of the clock, and these: a tenth of what is admitted is offered.
const BURST: u64 = 60;
const TICKS: u64 = 100;
/// What a flood is dropped for.
const REASONS: [DropReason; 4] = [
    DropReason::NoConnection,
    DropReason::LimitNew,
    DropReason::LimitBroadcast,
    DropReason::LimitNeighbour,
];

/// A frame of a flood of some kind, tagged or not, and sometimes damaged.
fn frame(s: &Story, uplink: usize, r: &mut Random) -> Vec<u8> {
    let host = 100 + r.below(100) as u8;
    let mac = s.world.ports[uplink].mac.octets();
    let (from, six) = ([10, 1, 0, host], [0xfd01, 0, 0, 0, 0, 0, 0, u16::from(host)]);
    let kind = r.below(6);
    let payload = match kind {
        0 => frames::udp(1000 + r.below(60_000) as u16, 4000, 18),
        1 => frames::tcp(1000, 80, Tcp { flags: 0x02, ..Tcp::default() }),
        2 => frames::tcp(2000, 80, Tcp { flags: 0x10, ..Tcp::default() }),
        3 => frames::udp(1000, 9, 18),
        _ => Vec::new(),
    };
    let protocol = if matches!(kind, 1 | 2) { 6 } else { 17 };
    let base = s.frame(ANN, protocol, payload);
    let (ann, ann_mac) = (base.src, base.src_mac);
    let own = Frame { dst: ann, dst_mac: ann_mac, src: from.into(), src_mac: mac, ..base };
    let mut bytes = match kind {
        3 => Frame { dst: [255; 4].into(), dst_mac: [0xff; 6], ..own }.bytes(),
        4 => frames::arp([0xff; 6], mac, 1, (mac, from), ([0; 6], [10, 1, 0, 1]), &[]),
        5 => solicitation(own, IpAddr::from(six)),
        _ => own.bytes(),
    };
    match r.below(10) {
        0 => frames::put_tag(&mut bytes, 10),
        1 => frames::damage(r, &mut bytes),
        _ => {}
    }
    bytes
}

/// A neighbour solicitation (RFC 4861, section 4.3).
fn solicitation(frame: Frame, from: IpAddr) -> Vec<u8> {
    let target: [u8; 16] = *b"\xfd\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x01";
    let option = [&[1, 1][..], &frame.src_mac].concat();
    let payload = frames::icmp(135, 0, [0; 4], &[&target[..], &option].concat());
    let dst = std::net::Ipv6Addr::from(*b"\xff\x02\0\0\0\0\0\0\0\0\0\x01\xff\0\0\x01").into();
    let dst_mac = [0x33, 0x33, 0xff, 0, 0, 1];
    Frame { src: from, dst, dst_mac, ttl: 255, protocol: 58, payload, ..frame }.bytes()
}

/// How often the gate dropped for each reason. `log_per_s`: none, unless it is of a policy that logs.
fn flooded(policy: &str, log_per_s: u32) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut s = Story::of(policy, log_per_s)?;
    let Some(uplink) = s.world.ports.iter().position(|port| port.kind == Kind::Uplink) else {
        bail!("no uplink")
    };
    let port = s.world.ports[uplink].ifindex;
    let (mut dropped, mut left, mut r) = (BTreeMap::new(), 0, Random::new(11));
    for at in 0..FRAMES {
        if at % BURST == 0 {
            s.at(clock::START + at / BURST * TICKS)?;
        }
        let bytes = frame(&s, uplink, &mut r);
        if bytes.len() < 14 {
            continue;
        }
        let gate = s.engine.gate(&Buffer::new(bytes.clone()), port);
        let program = s.kernel.gate(&bytes, port)?;
        ensure!(program.is_none() == gate.is_err(), "{program:?} and {gate:?}");
        let Some(verdict) = s.send(bytes, port)? else { continue };
        match (gate, verdict) {
            (Err(reason), verdict) => {
                ensure!(verdict == Verdict::Drop(reason), "{reason}, but {verdict:?}");
                *dropped.entry(reason.to_string()).or_insert(0) += 1;
            }
            (Ok(_), Verdict::Drop(reason)) => left += u64::from(REASONS.contains(&reason)),
            _ => {}
        }
    }
    let theirs = s.kernel.take_events()?;
    let ours: Vec<_> = s.engine.tables.take_events().collect();
    ensure!(theirs.len() == ours.len(), "{} events, native {}", theirs.len(), ours.len());
    let told = ours.iter().filter(|e| REASONS.iter().any(|r| *r as u16 == e.reason)).count() as u64;
    ensure!(left == told, "{left} left to decide, of which {told} were told");
    Ok(dropped)
}

#[test]
fn what_no_limit_admits_ends_at_the_gate() {
    tell(|| {
        let dropped = flooded(POLICY, 0)?;
        for reason in REASONS {
            let frames = dropped.get(&reason.to_string()).copied().unwrap_or(0);
            ensure!(frames > FRAMES / 12, "{reason}: {dropped:?}");
        }
        Ok(())
    });
}

#[test]
fn what_the_log_hears_of_is_left_to_the_filter() {
    tell(|| {
        let quiet = flooded(POLICY, 0)?;
        let told = flooded(&format!("{POLICY}log-denied: 2/s\n"), 2)?;
        for reason in &REASONS[1..] {
            let [quiet, told] = [&quiet, &told].map(|of| of.get(&reason.to_string()).copied());
            ensure!(told < quiet && told > Some(FRAMES / 20), "{reason}: {told:?} of {quiet:?}");
        }
        Ok(())
    });
}
