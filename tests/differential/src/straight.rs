//! Datagrams from an uplink to a guest: what the gate sends straight, `decide` forwards as it is to the
//! same port; and the gate's program and its twin agree about every frame.

use anyhow::{bail, ensure};
use portcullis_engine::Buffer;
use portcullis_pipeline::{Verdict, lane::NOT_HERE};
use portcullis_policy::generate::Random;

use crate::{
    frames,
    run::interfaces,
    stories::{ANN, Story, tell},
    world::Kind,
};

const POLICY: &str = "
networks: { lan: { vlan: 10, subnets: [10.1.0.0/24], limits: none } }
guests: { ann: { network: lan, ip: 10.1.0.1 }, bob: { network: lan, ip: 10.1.0.2 } }
rules: [{ name: visits, allow: { from: lan, to: ann, for: udp/4000 } }]
";
const FRAMES: u64 = 4_000;
/// Where the checksum of UDP stands behind an IPv4 header without options.
const CHECKSUM: usize = 14 + 20 + 6;

/// A datagram of one of a few connections, which may lack something.
fn frame(s: &Story, uplink: usize, r: &mut Random) -> Vec<u8> {
    let from = &s.world.ports[uplink];
    let mut frame = s.frame(ANN, 17, frames::udp(1000 + r.below(6) as u16, 4000, 18));
    (frame.dst, frame.dst_mac) = (frame.src, frame.src_mac);
    (frame.src, frame.src_mac) = ([10, 1, 0, 99].into(), from.mac.octets());
    let mut bytes = frame.bytes();
    match r.below(8) {
        0 => frames::put_tag(&mut bytes, r.below(20) as u16),
        1 => frames::damage(r, &mut bytes),
        2 => {
            // Left to be finished: the sum of the pseudo header (virtio 1.2, section 5.1.6.2).
            let words = |w: &[u8]| u32::from(u16::from_be_bytes([w[0], w[1]]));
            let sum: u32 = bytes[26..34].chunks_exact(2).map(words).sum();
            let sum = (sum + 17 + bytes.len() as u32 - 34) % 0xffff;
            bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&(sum as u16).to_be_bytes());
        }
        _ => {}
    }
    bytes
}

#[test]
fn what_goes_straight_would_be_forwarded_as_it_is() {
    tell(|| {
        let mut s = Story::of(POLICY, 0)?;
        s.kernel.open_lanes(&interfaces()?)?;
        let is_uplink = |port: &crate::world::Port| port.kind == Kind::Uplink;
        let Some(uplink) = s.world.ports.iter().position(is_uplink) else { bail!("no uplink") };
        let port = s.world.ports[uplink].ifindex;
        let (mut straight, mut r) = (0, Random::new(7));
        for at in 0..FRAMES {
            if at % 500 == 499 {
                s.next_generation(2 + (at / 500) as u32)?;
            }
            let bytes = frame(&s, uplink, &mut r);
            if bytes.len() < 14 {
                continue;
            }
            let gate = s.engine.gate(&Buffer::new(bytes.clone()), port);
            let program = s.kernel.gate(&bytes, port)?;
            ensure!(program == gate.ok().map(|out| out != NOT_HERE), "{program:?} and {gate:?}");
            let Some(verdict) = s.send(bytes, port)? else { continue };
            match gate {
                Ok(NOT_HERE) => {}
                Ok(out) => {
                    straight += 1;
                    ensure!(verdict == Verdict::Forward(out), "straight to {out}, but {verdict:?}");
                }
                Err(reason) => ensure!(verdict == Verdict::Drop(reason), "{reason}: {verdict:?}"),
            }
        }
        ensure!(straight > FRAMES / 2 && straight < FRAMES * 3 / 4, "{straight} of {FRAMES}");
        Ok(())
    });
}
