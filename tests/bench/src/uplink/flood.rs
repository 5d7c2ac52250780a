//! What a frame of a flood costs an uplink altogether: every frame from another address, written into a
//! tap, inside whose write(2) the kernel drops it. Denied ones, and such as may come, of which a limit
//! refuses nearly all.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

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

/// Frames of which so many must have been refused, where a limit admits some.
const REFUSED: f64 = 0.99;

/// Where the frames of a flood come from, and why they are dropped.
#[derive(Clone, Copy)]
struct Flood {
    from: fn(u32) -> Ipv4Addr,
    reason: &'static str,
}

const DENIED: Flood = Flood { from: prefixes::address, reason: "denied-set" };
const LIMITED: Flood = Flood { from: prefixes::other_address, reason: "limit-new" };

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
    measure(DENIED, &mut sides, rounds, interrupt)?;
    let prefixes = grouped(prefixes::PREFIXES.into());
    rows.push(row(format!("{prefixes} prefixes: the nftables set (slab)"), "MiB", vec![slab])?);
    rows.push(row("  loaded by nft", "ms", vec![took.as_secs_f64() * 1e3])?);
    rows.push(row("  by a new switch, read back", "ms", vec![ours.as_secs_f64() * 1e3])?);
    for side in sides {
        rows.push(row(format!("a denied frame of a flood: {}", side.what), "ns", side.ns)?);
    }
    Ok(rows)
}

/// What a frame costs that wants to open a connection too many.
pub fn limited(policy: &Policy, rounds: u32, interrupt: &Interrupt) -> anyhow::Result<Vec<Row>> {
    let mut sides = [
        Side::ours("the gate in the driver", policy, Gate::Native)?,
        Side::ours("the gate behind it", policy, Gate::Generic)?,
        Side::ours("the filter", policy, Gate::Off)?,
    ];
    measure(LIMITED, &mut sides, rounds, interrupt)?;
    let row =
        |side: Side| row(format!("a connection too many of a flood: {}", side.what), "ns", side.ns);
    sides.into_iter().map(row).collect()
}

/// Side by side, and makes sure that it was this.
fn measure(
    flood: Flood,
    sides: &mut [Side],
    rounds: u32,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    for round in 0..rounds {
        for side in &mut *sides {
            eprintln!("round {}/{rounds}: {} by {}", round + 1, flood.reason, side.what);
            for _ in 0..READINGS {
                interrupt.check()?;
                let tap = side.way.tap();
                let ns = on_cpu(CPU, || read(tap, flood.from))?;
                side.ns.push(ns);
            }
        }
    }
    for side in sides {
        side.way.check(flood.reason)?;
    }
    Ok(())
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

    /// `Err` when too many frames have passed: who does not drop is no peer.
    fn check(&mut self, reason: &str) -> Result<(), Error> {
        let (sent, received) = match self {
            Self::Ours(uplink) => {
                let traffic = uplink.traffic()?;
                let refused = traffic.reasons.get(reason).copied().unwrap_or(0);
                let least = if reason == DENIED.reason { 1.0 } else { REFUSED };
                let enough = refused as f64 >= traffic.in_packets as f64 * least;
                (traffic.in_packets, if enough { 0 } else { traffic.in_packets - refused })
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
fn read(tap: &Tap, from: fn(u32) -> Ipv4Addr) -> Result<f64, Error> {
    let Ends { client, server } = ends();
    let mut template = Template::udp(client, server, Direction::Forward);
    let (mut sent, mut number) = (0_u64, 0_u32);
    let (start, before) = (Instant::now(), thread_cpu()?);
    while start.elapsed() < READING {
        for _ in 0..BURST {
            template.set_source(from(number));
            number = number.wrapping_add(1);
            sent += u64::from(tap.write(template.with_vnet_header())?);
        }
    }
    Ok((thread_cpu()? - before).as_nanos() as f64 / sent as f64)
}
