//! What a frame from a denied address costs an uplink altogether: every frame from another one of
//! them all, written into a tap, inside whose write(2) the kernel drops it.

use std::time::{Duration, Instant};

use portcullis_switch::Gate;

use super::{ends, prefixes, row};
use crate::{
    error::Error,
    frame::{Direction, Template},
    generator::thread_cpu,
    interrupt::Interrupt,
    machine,
    netns::{Namespace, on_cpu},
    peers::{Policy, Running, Uplink},
    report::grouped,
    rows::Row,
    tap::Tap,
    world::Ends,
};

const READING: Duration = Duration::from_millis(100);
/// Readings of each in each round.
const READINGS: u32 = 3;
/// Frames between two looks at the clock.
const BURST: u32 = 64;
const CPU: usize = 0;
const TAP: &str = "outside";

/// Who drops.
enum Way {
    /// An uplink of a switch.
    Ours(Box<Uplink>),
    /// nftables at the ingress of an interface.
    Nft(Tap, Namespace),
}

/// One of those side by side.
struct Side {
    what: String,
    way: Way,
    /// CPU ns per frame.
    ns: Vec<f64>,
}

/// What a frame costs each, and what it took to load the prefixes.
pub fn rows(policy: &Policy, rounds: u32, interrupt: &Interrupt) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut sides = vec![
        Side::nft("nftables that drops unseen", &prefixes::nft_bare(TAP))?,
        Side::ours("the gate in the driver", policy, Gate::Native)?,
        Side::ours("the gate behind it", policy, Gate::Generic)?,
    ];
    let before = machine::slab_bytes()?;
    let text = prefixes::nft(TAP);
    let start = Instant::now();
    sides.insert(1, Side::nft("the nftables set", &text)?);
    let took = start.elapsed();
    let slab = machine::slab_bytes()?.saturating_sub(before) as f64 / f64::from(1 << 20);
    let start = Instant::now();
    sides.push(Side::ours("the filter", policy, Gate::Off)?);
    let ours = start.elapsed();
    let prefixes = grouped(prefixes::PREFIXES.into());
    rows.push(row(format!("{prefixes} prefixes: the nftables set (slab)"), "MiB", vec![slab])?);
    rows.push(row("  loaded by nft", "ms", vec![took.as_secs_f64() * 1e3])?);
    rows.push(row("  by a new switch, read back", "ms", vec![ours.as_secs_f64() * 1e3])?);
    for round in 0..rounds {
        for side in &mut sides {
            eprintln!("round {}/{rounds}: {}", round + 1, side.what);
            for _ in 0..READINGS {
                interrupt.check()?;
                let tap = side.way.tap();
                let ns = on_cpu(CPU, || read(tap))?;
                side.ns.push(ns);
            }
        }
    }
    for mut side in sides {
        side.way.check()?;
        rows.push(row(format!("a denied frame of a flood: {}", side.what), "ns", side.ns)?);
    }
    Ok(rows)
}

impl Side {
    fn ours(what: &str, policy: &Policy, gate: Gate) -> Result<Self, Error> {
        let uplink = Running::on_uplink(&Namespace::without_ipv6()?, policy, gate)?;
        Ok(Self { what: what.to_owned(), way: Way::Ours(Box::new(uplink)), ns: Vec::new() })
    }

    fn nft(what: &str, ruleset: &str) -> Result<Self, Error> {
        let namespace = Namespace::without_ipv6()?;
        let tap = Tap::open(&namespace, TAP)?;
        namespace.ip(&format!("link set {TAP} up\n"))?;
        namespace.nft(ruleset)?;
        Ok(Self { what: what.to_owned(), way: Way::Nft(tap, namespace), ns: Vec::new() })
    }
}

impl Way {
    fn tap(&self) -> &Tap {
        match self {
            Self::Ours(uplink) => &uplink.tap,
            Self::Nft(tap, _) => tap,
        }
    }

    /// `Err` when a frame has passed: who does not drop is no peer.
    fn check(&mut self) -> Result<(), Error> {
        let (sent, received) = match self {
            Self::Ours(uplink) => {
                let traffic = uplink.traffic()?;
                let denied = traffic.reasons.get("denied-set").copied().unwrap_or(0);
                (traffic.in_packets, traffic.in_packets - denied)
            }
            Self::Nft(_, namespace) => {
                let list = ["list", "counter", "netdev", "bench", "passed"];
                let text = namespace.run(|| crate::command::run("nft", &list, ""))?;
                (0, if text.contains("packets 0 ") { 0 } else { 1 })
            }
        };
        if received == 0 { Ok(()) } else { Err(Error::Leaked { sent, received }) }
    }
}

/// CPU ns per frame, generator included.
fn read(tap: &Tap) -> Result<f64, Error> {
    let Ends { client, server } = ends();
    let mut template = Template::udp(client, server, Direction::Forward);
    let (mut sent, mut number) = (0_u64, 0_u32);
    let (start, before) = (Instant::now(), thread_cpu()?);
    while start.elapsed() < READING {
        for _ in 0..BURST {
            template.set_source(prefixes::address(number));
            number = number.wrapping_add(1);
            sent += u64::from(tap.write(template.with_vnet_header())?);
        }
    }
    Ok((thread_cpu()? - before).as_nanos() as f64 / sent as f64)
}
