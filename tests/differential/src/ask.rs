//! The probe: what it says about a slot that is not in force is what the image says.

use anyhow::{Result, ensure};
use portcullis_engine::{Buffer, Engine};
use portcullis_pipeline::{Scratch, addr::Addr, policy::Judged, probe};
use portcullis_policy::{
    generate::{Connection, Connections},
    lookup::{lookup, lookup_observed},
    model::Protocol,
};

use crate::{
    frames::{self, Frame, Tcp},
    kernel::Kernel,
    world::Policy,
};

/// Connections that each slot is asked about.
const QUESTIONS: usize = 40;
const DROP: u32 = 1 << 31;

/// Asks the program and the pipeline about the policy that was loaded into a slot, and compares
/// with the image. How many connections have been compared.
pub fn compare(
    kernel: &mut Kernel,
    engine: &Engine,
    policy: &Policy,
    slot: u32,
    connections: &mut Connections,
) -> Result<u64> {
    let mut compared = 0;
    for _ in 0..QUESTIONS {
        let asked = connections.next_connection();
        let bytes = frame(&asked).bytes();
        let Some(ran) = kernel.ask(&bytes, slot, asked.network)? else { continue };
        let mut scratch = Scratch::NEW;
        let frame = Buffer::new(bytes);
        let native = probe::ask(&frame, &engine.tables, slot, asked.network, &mut scratch);
        if let Err(reason) = native {
            ensure!(ran.words[4] == DROP | reason as u32, "{asked:?}: {reason}, {:x?}", ran.words);
            continue;
        }
        let native = probe::answer(&scratch);
        let program = Judged::new(cell(ran.words[0]), cell(ran.words[1]));
        ensure!(ran.words[4] == 0 && native == program, "{asked:?}: {native:?}, {:x?}", ran.words);
        if is_itself(&asked) {
            let image = by_image(policy, &asked);
            ensure!(native == image, "{asked:?}: asked {native:?}, in the image {image:?}");
            compared += 1;
        }
    }
    Ok(compared)
}

const fn cell(word: u32) -> portcullis_pipeline::policy::Cell {
    portcullis_pipeline::policy::Cell(word)
}

fn by_image(policy: &Policy, c: &Connection) -> Judged {
    let (src, dst): (Addr, Addr) = (c.src.into(), c.dst.into());
    let (image, purpose) = (&policy.image, c.purpose());
    let cell = lookup(image, c.network, src, dst, purpose);
    Judged::new(cell, lookup_observed(image, c.network, src, dst, purpose))
}

/// Is the packet what was asked about? Numbers of protocols with a table of their own, and ICMP
/// of the other family, have no packet.
fn is_itself(c: &Connection) -> bool {
    match c.service {
        (Protocol::Proto, number) => ![1, 2, 6, 17, 58, 132].contains(&number),
        (Protocol::Icmp, _) => c.src.is_ipv4(),
        (Protocol::Icmpv6, _) => c.src.is_ipv6(),
        _ => true,
    }
}

const SYN: u8 = 2;

fn frame(c: &Connection) -> Frame {
    let (protocol, number) = c.service;
    let [kind, code] = number.to_be_bytes();
    let (protocol, payload) = match protocol {
        Protocol::Tcp => (6, frames::tcp(c.source, number, Tcp { flags: SYN, ..Tcp::default() })),
        Protocol::Udp => (17, frames::udp(c.source, number, 8)),
        Protocol::Sctp => (132, frames::sctp(c.source, number)),
        Protocol::Icmp => (1, frames::icmp(kind, code, [0; 4], &[0; 24])),
        Protocol::Icmpv6 => (58, frames::icmp(kind, code, [0; 4], &[0; 24])),
        Protocol::Proto => (number as u8, vec![0; 24]),
    };
    Frame {
        dst_mac: [2; 6],
        src_mac: [4; 6],
        tags: Vec::new(),
        src: c.src,
        dst: c.dst,
        ttl: 64,
        options: Vec::new(),
        extensions: Vec::new(),
        fragment: None,
        keep_whole: true,
        protocol,
        payload,
    }
}
