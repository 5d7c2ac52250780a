//! The run: one packet after the other through all three.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use portcullis_engine::{Buffer, Engine, Tables};
use portcullis_pipeline::{
    Answer, DropReason, Tables as _, Verdict, account,
    lane::NOT_HERE,
    layout::{FlowEntry, Traffic as Passed},
    subport::is_subport,
};
use portcullis_policy::generate::Connections;
use portcullis_ports::tap;

use crate::{
    answers, ask, clock,
    expect::Oracle,
    fact::Sent,
    holders::Holders,
    kernel::{FLOWS, Kernel, Ran},
    told::{Told, compare_budgets, hits},
    traffic::Traffic,
    world::{Kind, PORTS_MAX, Policy, World},
};

/// What a run is to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Packets in all.
    pub packets: u64,
    /// Packets for each random world.
    pub packets_per_world: u64,
    /// Where the random numbers start.
    pub seed: u64,
}

/// What a run has seen. Differences end it, so there are none here.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Packets through the native pipeline.
    pub packets: u64,
    /// Of them, packets that the fast lane takes.
    pub lane: u64,
    /// Of them, packets that the gate of an uplink drops.
    pub gate: u64,
    /// And why.
    pub gate_reasons: Vec<DropReason>,
    /// Of them, packets that it sends straight to a guest.
    pub straight: u64,
    /// Of them, packets that the kernel refuses as test frames.
    pub refused: u64,
    /// Of them, packets that were judged at a subport of a trunk.
    pub by_subport: u64,
    /// Random worlds.
    pub worlds: u64,
    /// Verdicts: forwarded, answered, copied, dropped.
    pub verdicts: [u64; 4],
    /// Router advertisements, DHCP and DHCPv6 answers.
    pub notices: [u64; 3],
    /// Fresh connections whose fate the oracle foretold.
    pub foretold: u64,
    /// Of them, how many had to pass.
    pub passing: u64,
    /// Connections compared at the ends.
    pub flows: u64,
    /// Events that both sides told of, by [`portcullis_pipeline::layout::event_verdict`].
    pub events: [u64; 5],
    /// Events that were left out, told with a later one.
    pub suppressed: u64,
    /// Questions to the probe that were compared with the image.
    pub asked: u64,
    /// Drop reasons that occurred.
    pub reasons: Vec<DropReason>,
    /// How long it took.
    pub took: Duration,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [forwarded, answered, copied, dropped] = self.verdicts;
        write!(
            f,
            "differential {} packets in {} worlds, 0 differ ({forwarded} forwarded, {answered} \
             answered ({:?} advertised, DHCP, DHCPv6), {copied} copied, {dropped} dropped for {} reasons; {} not taken by \
             TEST_RUN; {} by the lane, {} dropped by the gate, {} sent by it, {} by subports; oracle foretold {}, {} to pass; {} flows equal; {} events equal, {} left \
             out; {} probes equal; {:.1} s)",
            self.packets,
            self.worlds,
            self.notices,
            self.reasons.len(),
            self.refused,
            self.lane,
            self.gate,
            self.straight,
            self.by_subport,
            self.foretold,
            self.passing,
            self.flows,
            self.events.iter().sum::<u64>(),
            self.suppressed,
            self.asked,
            self.took.as_secs_f64()
        )
    }
}

/// Packets between two changes of generation, by world: many changes, or time for rules to end
/// while connections are open.
const GENERATION_EVERY: [u64; 2] = [500, 2_500];
/// More errors than a run can ask for in a second of its clock.
pub(crate) const ERRORS_PER_SECOND: u64 = 40;

/// Runs the plan in a network namespace of this thread. Programs come fresh for every world.
pub fn run(plan: &Plan) -> Result<Report> {
    let started = Instant::now();
    let ifindexes = interfaces()?;
    let mut report = Report::default();
    let mut seen = [false; 64];
    while report.packets < plan.packets {
        let seed = plan.seed.wrapping_add(report.worlds);
        let packets = plan.packets_per_world.min(plan.packets - report.packets);
        one_world(seed, packets, &ifindexes, &mut report, &mut seen)
            .with_context(|| format!("in the world of seed {seed}"))?;
        report.worlds += 1;
    }
    report.reasons = DropReason::ALL.iter().copied().filter(|r| seen[*r as usize]).collect();
    report.took = started.elapsed();
    Ok(report)
}

/// Interfaces for the ports of a world, in a network namespace of this thread.
pub(crate) fn interfaces() -> Result<Vec<u32>> {
    unshare(CloneFlags::CLONE_NEWNET).context("no network namespace of our own")?;
    let tap = |i| Ok(tap::create(&format!("t{i}"), 1, "portcullis:differential")?.index);
    (0..PORTS_MAX).map(tap).collect()
}

/// All three, over one world.
struct Bed<'a> {
    world: &'a World,
    kernel: Kernel,
    engine: Engine,
    oracle: Oracle<'a>,
    holders: Holders<'a>,
    connections: Connections,
    /// The generation in force.
    generation: u32,
    now: u64,
}

fn one_world(
    seed: u64,
    packets: u64,
    ifindexes: &[u32],
    report: &mut Report,
    seen: &mut [bool; 64],
) -> Result<()> {
    let world = World::new(seed, ifindexes)?;
    let mut traffic = Traffic::new(&world, seed);
    let mut bed = Bed {
        world: &world,
        kernel: Kernel::new(crate::load()?.0)?,
        engine: Engine::new(Tables::new(FLOWS as usize, ERRORS_PER_SECOND)),
        oracle: Oracle::new(&world),
        holders: Holders::new(&world),
        connections: Connections::new(&world.policies[0].model, seed),
        generation: 0,
        now: clock::START,
    };
    bed.kernel.open_lanes(ifindexes)?;
    for at in 0..packets {
        if at % GENERATION_EVERY[(seed & 1) as usize] == 0 {
            report.asked += bed.next_generation().with_context(|| format!("before packet {at}"))?;
        }
        if at % 16 == 0 {
            // Mostly a little, sometimes past the shorter idle times.
            bed.advance(if at % 1024 == 0 { 40_000 } else { 200 })?;
        }
        let sent = traffic.next_packet();
        report.packets += 1;
        bed.judge(&sent, report, seen)
            .with_context(|| format!("packet {at}: {}", bed.describe(&sent)))?;
    }
    bed.finish(report)
}

impl Bed<'_> {
    fn policy(&self) -> &Policy {
        &self.world.policies[(self.generation - 1) as usize % self.world.policies.len()]
    }

    /// Loads the next generation, asks about it, puts it in force. How many answers were compared.
    fn next_generation(&mut self) -> Result<u64> {
        let generation = self.generation + 1;
        let next = &self.world.policies[self.generation as usize % self.world.policies.len()];
        self.kernel.load(generation, next)?;
        self.engine.tables.load(generation & 1, next.slot(generation));
        let (kernel, engine) = (&mut self.kernel, &self.engine);
        let asked = ask::compare(kernel, engine, next, generation & 1, &mut self.connections)?;
        self.kernel.put_in_force(generation)?;
        self.engine.tables.put_in_force(generation);
        self.generation = generation;
        Ok(asked)
    }

    fn advance(&mut self, ticks: u64) -> Result<()> {
        self.now += ticks;
        self.engine.tables.set_now(self.now);
        self.kernel.set_now(self.now, ERRORS_PER_SECOND)
    }

    /// One packet, through all three.
    fn judge(&mut self, sent: &Sent, report: &mut Report, seen: &mut [bool; 64]) -> Result<()> {
        let port = self.world.ports[sent.port].ifindex;
        let mut native = Buffer::new(sent.bytes.clone());
        let before = hits(&self.engine, self.policy(), self.generation);
        let lane = self.lane(sent, &native, port)?;
        report.lane += u64::from(lane != NOT_HERE);
        let gate = self.gate(sent, &native, port)?;
        report.gate += u64::from(gate.is_err());
        report.straight += u64::from(gate.is_ok_and(|out| out != NOT_HERE));
        let Some(ran) = self.kernel.run(&sent.bytes, port)? else {
            // What the kernel does not take must change nothing here either.
            report.refused += 1;
            return Ok(());
        };
        let verdict = self.engine.decide(&mut native, port);
        report.by_subport += u64::from(is_subport(self.engine.judged_at()));
        let fate = finish(&mut self.engine, &mut native, verdict);
        compare(verdict, fate, &native, &ran)?;
        let as_decided = verdict == Verdict::Forward(lane) && native.bytes() == sent.bytes;
        ensure!(lane == NOT_HERE || as_decided, "by the lane to {lane}, but {verdict:?}");
        match gate {
            Err(reason) => {
                if !report.gate_reasons.contains(&reason) {
                    report.gate_reasons.push(reason);
                }
                ensure!(verdict == Verdict::Drop(reason), "the gate: {reason}, but {verdict:?}");
            }
            Ok(NOT_HERE) => {
                ensure!(!self.is_for_the_gate(sent, &verdict), "not by the gate: {verdict:?}")
            }
            Ok(out) => {
                let as_decided = verdict == Verdict::Forward(out) && native.bytes() == sent.bytes;
                ensure!(as_decided, "by the gate to {out}, but {verdict:?}");
            }
        }
        if let (Verdict::Answer(Answer::Notice(n)), Fate::Leaves) = (verdict, fate) {
            report.notices[n.kind as usize] += 1;
        }
        let after = hits(&self.engine, self.policy(), self.generation);
        let told = Told::compare(&mut self.kernel, &mut self.engine, &before, &after)?;
        tally(report, seen, verdict);
        for event in &told.events {
            report.events[usize::from(event.verdict)] += 1;
            report.suppressed += u64::from(event.suppressed);
        }
        if let Err(what) = self.holders.check(sent, &verdict) {
            bail!("{what}: {verdict:?}");
        }
        let index = (self.generation - 1) as usize % self.world.policies.len();
        match &sent.fact {
            Some(fact) if sent.damaged || is_limited(&verdict) => {
                self.oracle.suspect(index, fact, &verdict, self.now)
            }
            Some(fact) => {
                if let Err(what) = self.oracle.check(index, fact, &verdict, &told, self.now) {
                    bail!("{what}: {verdict:?}");
                }
            }
            None => {}
        }
        Ok(())
    }

    /// What the fast lane makes of it, of which the program and its twin know nothing different.
    fn lane(&mut self, sent: &Sent, native: &Buffer, port: u32) -> Result<u32> {
        // The kernel makes no XDP frame of less than an Ethernet header.
        if sent.bytes.len() < 14 {
            return Ok(NOT_HERE);
        }
        let lane = self.engine.lane(native, port);
        let taken = self.kernel.lane(&sent.bytes, port)?;
        ensure!(taken == (lane != NOT_HERE), "the lane takes it: {taken}; natively: {lane}");
        Ok(lane)
    }

    /// The same of the gate of uplinks. It drops nothing that does not come from one, but for what
    /// comes from a closed port.
    fn gate(
        &mut self,
        sent: &Sent,
        native: &Buffer,
        port: u32,
    ) -> Result<std::result::Result<u32, DropReason>> {
        if sent.bytes.len() < 14 {
            return Ok(Ok(NOT_HERE));
        }
        let gate = self.engine.gate(native, port);
        let passed = self.kernel.gate(&sent.bytes, port)?;
        let straight = gate.ok().map(|out| out != NOT_HERE);
        ensure!(passed == straight, "the gate sends it: {passed:?}; natively: {gate:?}");
        Ok(gate)
    }

    /// Is it what the gate is there for, and did it see all that there is to see?
    fn is_for_the_gate(&self, sent: &Sent, verdict: &Verdict) -> bool {
        use DropReason::{DeniedSet, DoubleTag, SpoofedAddress, UnknownVlan};
        let Verdict::Drop(reason) = verdict else { return false };
        let never = matches!(reason, DeniedSet | DoubleTag | SpoofedAddress | UnknownVlan);
        never && self.world.ports[sent.port].kind == Kind::Uplink && !self.world.hides_tags
    }

    fn finish(mut self, report: &mut Report) -> Result<()> {
        report.foretold += self.oracle.foretold;
        report.passing += self.oracle.passing;
        report.flows += compare_flows(&mut self.kernel, &self.engine)?;
        let rules = self.world.policies.iter().map(|p| p.rules.len()).max().unwrap_or(0) as u32;
        compare_budgets(&mut self.kernel, &self.engine, rules)?;
        self.compare_holders()?;
        for port in &self.world.ports {
            // Tags stand beside the bytes in the kernel, and among them here.
            let tagged = port.kind == Kind::Uplink || self.world.is_trunk(port.ifindex);
            compare_port(&mut self.kernel, &self.engine, port.number, tagged)?;
            compare_port(&mut self.kernel, &self.engine, port.ifindex, tagged)?;
        }
        compare_counters(&mut self.kernel, &self.engine, rules)
    }

    /// Both know the same holder of every shared address.
    fn compare_holders(&mut self) -> Result<()> {
        for shared in &self.world.shared {
            let (network, mac, addr) = (shared.network, shared.mac.0, shared.addr);
            let native = self.engine.tables.holder(network, mac).map(|h| h.held.get());
            let program = self.kernel.holder(network, mac)?;
            ensure!(native == program, "{addr} is held by {program:x?}, native {native:x?}");
        }
        Ok(())
    }

    fn describe(&self, sent: &Sent) -> String {
        let hex: Vec<String> = sent.bytes.iter().map(|b| format!("{b:02x}")).collect();
        let port = self.world.ports[sent.port].ifindex;
        format!("from port {port} at {}, {:?}\n{}", self.now, sent.fact, hex.join(""))
    }
}

/// What became of the frame in the end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It leaves.
    Leaves,
    /// It does not.
    Stays,
}

pub(crate) fn finish(engine: &mut Engine, native: &mut Buffer, verdict: Verdict) -> Fate {
    match verdict {
        Verdict::Forward(_) => Fate::Leaves,
        Verdict::Answer(wanted) if engine.answer(native, &wanted) => Fate::Leaves,
        // The kernel's copies are not sent here, for want of the program that makes them.
        Verdict::Flood(_) => {
            let port = engine.judged_at();
            let own = engine.tables.traffic(port);
            account::dropped(&engine.tables, own, port, DropReason::Fault);
            Fate::Stays
        }
        _ => Fate::Stays,
    }
}

/// TC_ACT_SHOT and TC_ACT_REDIRECT.
const SHOT: u32 = 2;
const REDIRECT: u32 = 7;

pub(crate) fn compare(verdict: Verdict, fate: Fate, native: &Buffer, ran: &Ran) -> Result<()> {
    let words = words(verdict);
    let same = match verdict {
        Verdict::Forward(_) | Verdict::Drop(_) => ran.words[4] == words[4],
        _ => ran.words == words,
    };
    ensure!(same, "native {verdict:?} {words:x?}, the program {:x?}", ran.words);
    let code = if fate == Fate::Leaves { REDIRECT } else { SHOT };
    ensure!(ran.code == code, "the hook returns {} for {verdict:?}", ran.code);
    if fate == Fate::Leaves {
        let bytes = untagged(native.bytes());
        // A tag that the program puts on is in the skb's metadata, which TEST_RUN keeps.
        ensure!(bytes == ran.frame, "frames differ:\n{bytes:x?}\n{:x?}", ran.frame);
        if matches!(verdict, Verdict::Answer(_)) {
            answers::check(native.bytes())
                .map_err(|e| anyhow::anyhow!("{e}: {:x?}", native.bytes()))?;
        }
    }
    Ok(())
}

/// The frame without a tag that it got on its way out.
fn untagged(bytes: &[u8]) -> Vec<u8> {
    let mut bare = bytes.to_vec();
    if bytes.len() >= 18 && bytes[12..14] == [0x81, 0] {
        bare.drain(12..16);
    }
    bare
}

/// A verdict as the programs write it down (`ebpf/src/pass.rs`).
fn words(verdict: Verdict) -> [u32; 5] {
    use portcullis_pipeline::verdict::IcmpError;
    match verdict {
        Verdict::Forward(port) => [0, 0, 0, 0, port],
        Verdict::Drop(reason) => [0, 0, 0, 0, 1 << 31 | reason as u32],
        Verdict::Flood(f) => [f.network, f.class, f.service, f.generation, 1 << 30],
        Verdict::Answer(Answer::Neighbour { mac, v6, router, vlan }) => {
            let flags = u32::from(v6) | u32::from(router) << 1;
            [flags, vlan << 16 | (mac >> 32) as u32, mac as u32, 0, 1 << 29]
        }
        Verdict::Answer(Answer::Error { error, network, generation, v6, vlan }) => {
            let (kind, mtu) = match error {
                IcmpError::TimeExceeded => (0, 0),
                IcmpError::TooBig(mtu) => (1, mtu),
                IcmpError::Unreachable => (2, 0),
            };
            let flags = 4 | u32::from(v6) | kind << 8;
            [flags, vlan << 16 | network, mtu, generation, 1 << 29]
        }
        Verdict::Answer(Answer::Notice(n)) => {
            [8 | n.kind << 8, n.vlan << 16 | n.network, 0, n.generation, 1 << 29]
        }
    }
}

/// What the oracle cannot foretell: it counts nobody's packets.
const fn is_limited(verdict: &Verdict) -> bool {
    use DropReason::{LimitBandwidth, LimitFlows, LimitHalfOpen, LimitNew};
    let Verdict::Drop(reason) = verdict else { return false };
    matches!(reason, LimitBandwidth | LimitFlows | LimitHalfOpen | LimitNew)
}

fn tally(report: &mut Report, seen: &mut [bool; 64], verdict: Verdict) {
    let at = match verdict {
        Verdict::Forward(_) => 0,
        Verdict::Answer(_) => 1,
        Verdict::Flood(_) => 2,
        Verdict::Drop(reason) => {
            seen[reason as usize] = true;
            3
        }
    };
    report.verdicts[at] += 1;
}

/// Every word of every connection.
fn compare_flows(kernel: &mut Kernel, engine: &Engine) -> Result<u64> {
    let theirs = kernel.flows()?;
    let ours = &engine.tables.flows;
    ensure!(theirs.len() == ours.len(), "{} flows, native {}", theirs.len(), ours.len());
    for (key, bytes) in &theirs {
        let Some(e) = ours.get(key) else { bail!("only the program knows {key:?}") };
        let native = entry_words(e);
        let program: Vec<u64> = bytes
            .chunks(8)
            .map(|c| u64::from_ne_bytes(c.try_into().expect("eight bytes")))
            .collect();
        ensure!(native[..] == program[..], "{key:?}\nnative  {native:x?}\nprogram {program:x?}");
    }
    Ok(theirs.len() as u64)
}

fn entry_words(e: &FlowEntry) -> [u64; 8] {
    let side =
        |s: &portcullis_pipeline::layout::FlowSide| [s.way.get(), s.half.get(), s.sent.get()];
    let ([a, b, c], [d, f, g]) = (side(&e.a), side(&e.b));
    [e.judged.get(), e.last.get(), a, b, c, d, f, g]
}

/// What passed a port: both say the same, and every packet that came in has one end.
fn compare_port(kernel: &mut Kernel, engine: &Engine, port: u32, tagged: bool) -> Result<()> {
    let words = |t: &Passed| {
        let ends = [&t.forwarded, &t.flooded, &t.answered, &t.dropped].map(|w| w.get());
        let bytes = [&t.in_bytes, &t.out_bytes].map(|w| if tagged { 0 } else { w.get() });
        let far = [&t.in_routed, &t.out_routed, &t.in_outside, &t.out_outside];
        let far = far.map(|a| [a.packets.get(), if tagged { 0 } else { a.bytes.get() }]);
        ([t.in_packets.get(), t.out_packets.get()], bytes, ends, far)
    };
    let (program, native) = (kernel.traffic(port)?, engine.tables.port_traffic(port));
    let (passed, bytes, ends, far) = words(&program);
    ensure!(
        (passed, bytes, ends, far) == words(native),
        "port {port}: {:?}, native {:?}",
        words(&program),
        words(native)
    );
    ensure!(passed[0] == ends.iter().sum::<u64>(), "port {port}: {} came in, {ends:?}", passed[0]);
    let [to_others, from_others, to_outside, from_outside] = far.map(|[packets, _]| packets);
    ensure!(to_others + to_outside <= ends[0], "port {port}: {far:?} of {} forwarded", ends[0]);
    ensure!(from_others + from_outside <= passed[1], "port {port}: {far:?} of {}", passed[1]);
    let mut dropped = 0;
    for reason in DropReason::ALL {
        let program = kernel.port_drops(port, *reason as u32)?;
        let native = engine.tables.port_drops(port, *reason);
        ensure!(program == native, "port {port}: {reason} {program}, native {native}");
        dropped += program;
    }
    let taken = kernel.taken(port)?;
    let state = engine.tables.port_state(port).map(|s| [s.flows.get(), s.half_open.get()]);
    ensure!(state == Some(taken), "port {port}: {taken:?} taken, native {state:?}");
    ensure!(dropped == ends[3], "port {port}: {dropped} dropped by reason of {}", ends[3]);
    Ok(())
}

fn compare_counters(kernel: &mut Kernel, engine: &Engine, rules: u32) -> Result<()> {
    for reason in DropReason::ALL {
        let (program, native) = (kernel.drops(*reason as u32)?, engine.tables.drops(*reason));
        ensure!(program == native, "{reason}: counted {program}, native {native}");
    }
    for (slot, rule) in (0..2).flat_map(|s| (0..rules).map(move |r| (s, r))) {
        let (program, native) =
            (kernel.rule_hits(slot, rule)?, engine.tables.rule_hits(slot, rule));
        ensure!(program == native, "rule {rule} of slot {slot}: {program}, native {native}");
    }
    Ok(())
}
