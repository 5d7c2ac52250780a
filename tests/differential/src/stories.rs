//! Stories that random traffic seldom tells, on both sides at once.

use std::{net::IpAddr, thread};

use anyhow::{Context, Result, anyhow, ensure};
use portcullis_engine::{Buffer, Engine, Tables};
use portcullis_pipeline::{
    DropReason, Verdict,
    layout::{EventEntry, event_verdict},
};
use portcullis_policy::{Moment, Sources, compile_unproved_at, generate::NOW_UNIX_S};

use crate::{
    clock,
    frames::{self, Frame, Tcp},
    kernel::{FLOWS, Kernel},
    run::{ERRORS_PER_SECOND, compare, finish, interfaces},
    traffic::Traffic,
    world::World,
};

const POLICY: &str = "
networks: { lan: { vlan: 10, subnets: [10.1.0.0/24], limits: none } }
guests:
  ann: { network: lan, ip: 10.1.0.1 }
  bob: { network: lan, ip: 10.1.0.2 }
rules:
  - { name: ends, allow: { from: ann, to: bob, for: tcp/80 }, until: 90m }
  - { name: stays, allow: { from: ann, to: bob, for: tcp/81 } }
  - { name: low, allow: { from: ann, to: bob, for: tcp/2049 from 600-1023 } }
  - { name: watch, deny: { from: ann, to: bob, for: [tcp/81, tcp/82] }, mode: observe }
";
/// Ids of rules, in the order above.
const ENDS: u32 = 1;
const WATCH: u32 = 4;

pub(crate) const ANN: usize = 0;
pub(crate) const BOB: usize = 1;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Both sides over one policy.
pub(crate) struct Story {
    /// The next sequence numbers of Ann and Bob, the same for all their connections.
    next: [u32; 2],
    pub(crate) world: World,
    pub(crate) kernel: Kernel,
    pub(crate) engine: Engine,
}

impl Story {
    /// In a network namespace of this thread. Every rule may log so much in a second.
    fn new(mut world: World, log_per_s: u32) -> Result<Self> {
        let mut kernel = Kernel::new(crate::load()?.0)?;
        let mut engine = Engine::new(Tables::new(FLOWS as usize, ERRORS_PER_SECOND));
        let policy = &mut world.policies[0];
        policy.rules.iter_mut().for_each(|r| r.log_per_s = log_per_s);
        kernel.load(1, policy)?;
        kernel.put_in_force(1)?;
        engine.tables.install(1, policy.slot(1));
        let mut story = Self { next: [1_000, 5_000], world, kernel, engine };
        story.at(clock::START)?;
        Ok(story)
    }

    pub(crate) fn of(text: &str, log_per_s: u32) -> Result<Self> {
        let sources = Sources::new([("story.yaml", text)]);
        let compiled = compile_unproved_at(&sources, &Moment::at(NOW_UNIX_S));
        let compiled = compiled.map_err(|e| anyhow!("{e:?}"))?;
        Self::new(World::of(vec![compiled], 0, &interfaces()?), log_per_s)
    }

    pub(crate) fn at(&mut self, now: u64) -> Result<()> {
        self.engine.tables.set_now(now);
        self.kernel.set_now(now, ERRORS_PER_SECOND)
    }

    /// What comes of a frame from a port; the same on both sides. `None`: the kernel does not take
    /// it.
    pub(crate) fn send(&mut self, bytes: Vec<u8>, ifindex: u32) -> Result<Option<Verdict>> {
        let Some(ran) = self.kernel.run(&bytes, ifindex)? else { return Ok(None) };
        let mut native = Buffer::new(bytes);
        let verdict = self.engine.decide(&mut native, ifindex);
        let fate = finish(&mut self.engine, &mut native, verdict);
        compare(verdict, fate, &native, &ran)?;
        Ok(Some(verdict))
    }

    /// A TCP segment without data, whose numbers are right.
    fn tcp(&mut self, from: usize, ports: (u16, u16), flags: u8) -> Result<Verdict> {
        // Everybody begins with the same number.
        let seq = self.next[from] - u32::from(flags & SYN != 0);
        let says = Tcp { flags, seq, ack: self.next[1 - from], ..Tcp::default() };
        self.segment(from, ports, says)
    }

    /// A TCP segment.
    fn segment(&mut self, from: usize, ports: (u16, u16), says: Tcp) -> Result<Verdict> {
        let payload = frames::tcp(ports.0, ports.1, says);
        let ifindex = self.world.ports[from].ifindex;
        let frame = self.frame(from, 6, payload).bytes();
        self.send(frame, ifindex)?.context("the kernel takes a TCP segment")
    }

    /// A packet from one of the two to the other.
    pub(crate) fn frame(&self, from: usize, protocol: u8, payload: Vec<u8>) -> Frame {
        let to = if from == ANN { BOB } else { ANN };
        let (src, dst) = (&self.world.ports[from], &self.world.ports[to]);
        Frame {
            dst_mac: dst.mac.octets(),
            src_mac: src.mac.octets(),
            tags: Vec::new(),
            src: src.addrs[0],
            dst: dst.addrs[0],
            ttl: 64,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            keep_whole: true,
            protocol,
            payload,
        }
    }

    /// An ICMP error of Bob's about a segment of Ann's, which is said to need fragmentation.
    fn too_big(&mut self, ports: (u16, u16), seq: u32) -> Result<Verdict> {
        let says = Tcp { flags: ACK, seq, ..Tcp::default() };
        let quoted = self.frame(ANN, 6, frames::tcp(ports.0, ports.1, says)).bytes();
        let error = frames::icmp(3, 4, [0, 0, 2, 0x40], &quoted[14..42]);
        let ifindex = self.world.ports[BOB].ifindex;
        let frame = self.frame(BOB, 1, error).bytes();
        self.send(frame, ifindex)?.context("the kernel takes an ICMP error")
    }

    /// Puts the same policy in force again, as another generation.
    pub(crate) fn next_generation(&mut self, generation: u32) -> Result<()> {
        let policy = &self.world.policies[0];
        self.kernel.load(generation, policy)?;
        self.kernel.put_in_force(generation)?;
        self.engine.tables.install(generation, policy.slot(generation));
        Ok(())
    }

    /// Opens a connection from Ann to Bob; what came of its three packets.
    fn open(&mut self, ports: (u16, u16)) -> Result<[Verdict; 3]> {
        let back = (ports.1, ports.0);
        Ok([
            self.tcp(ANN, ports, SYN)?,
            self.tcp(BOB, back, SYN | ACK)?,
            self.tcp(ANN, ports, ACK)?,
        ])
    }

    fn events(&mut self) -> Result<Vec<EventEntry>> {
        let timeless = |e: EventEntry| EventEntry { time: 0, ..e };
        let ours: Vec<EventEntry> = self.engine.tables.take_events().map(timeless).collect();
        let theirs: Vec<EventEntry> =
            self.kernel.take_events()?.into_iter().map(timeless).collect();
        ensure!(ours == theirs, "events differ:\n{ours:x?}\n{theirs:x?}");
        Ok(ours)
    }

    fn hits(&self, rule: u32) -> u64 {
        self.engine.tables.rule_hits(1, rule)
    }
}

/// In a thread of its own, which leaves for a network namespace of its own.
pub(crate) fn tell(story: impl FnOnce() -> Result<()> + Send + 'static) {
    let told = thread::spawn(story).join().expect("no panic");
    told.unwrap_or_else(|e| panic!("{e:#}"));
}

pub(crate) const fn passes(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Forward(_))
}

pub(crate) const EXPIRED: Verdict = Verdict::Drop(DropReason::Expired);
const BAD_SEQUENCE: Verdict = Verdict::Drop(DropReason::BadSequence);
pub(crate) const NO_RULE: Verdict = Verdict::Drop(DropReason::NoRule);

#[test]
fn what_a_rule_allowed_is_cut_when_it_ends() {
    tell(|| {
        let mut s = Story::of(POLICY, 0)?;
        ensure!(s.open((1000, 80))?.iter().all(passes) && s.open((1000, 81))?.iter().all(passes));
        let end = s.world.policies[0].rules[ENDS as usize].end;
        ensure!(end == clock::end(NOW_UNIX_S + 90 * 60));
        s.at(end - 1)?;
        ensure!(passes(&s.tcp(ANN, (1000, 80), ACK)?) && passes(&s.tcp(BOB, (80, 1000), ACK)?));
        for now in [end, end + 1, end + 20_000] {
            s.at(now)?;
            ensure!(s.tcp(ANN, (1000, 80), ACK)? == EXPIRED);
            ensure!(s.tcp(BOB, (80, 1000), ACK)? == EXPIRED);
            ensure!(s.tcp(ANN, (1001, 80), SYN)? == EXPIRED);
            // Nothing else has changed.
            ensure!(passes(&s.tcp(ANN, (1000, 81), ACK)?) && passes(&s.tcp(BOB, (81, 1000), ACK)?));
            ensure!(s.tcp(ANN, (1000, 82), SYN)? == NO_RULE);
        }
        Ok(())
    });
}

#[test]
fn a_source_port_opens_what_others_do_not() {
    tell(|| {
        let mut s = Story::of(POLICY, 0)?;
        for (source, allowed) in [(599, false), (600, true), (1023, true), (1024, false)] {
            let verdict = s.tcp(ANN, (source, 2049), SYN)?;
            ensure!(passes(&verdict) == allowed, "from {source}: {verdict:?}");
        }
        // The answers come from the port that the rule is about.
        ensure!(passes(&s.tcp(BOB, (2049, 600), SYN | ACK)?));
        // Judged again, by another generation, from either side.
        s.next_generation(3)?;
        ensure!(passes(&s.tcp(BOB, (2049, 600), ACK)?) && passes(&s.tcp(ANN, (600, 2049), ACK)?));
        Ok(())
    });
}

#[test]
fn numbers_are_followed_over_generations() {
    tell(|| {
        let mut s = Story::of(POLICY, 0)?;
        let ports = (1000, 81);
        let back = (81, 1000);
        ensure!(s.tcp(ANN, ports, SYN)? != BAD_SEQUENCE);
        let wrong = Tcp { flags: SYN | ACK, seq: 4_999, ack: 1_001, ..Tcp::default() };
        ensure!(s.segment(BOB, back, wrong)? == BAD_SEQUENCE);
        ensure!(passes(&s.tcp(BOB, back, SYN | ACK)?) && passes(&s.tcp(ANN, ports, ACK)?));
        let data = Tcp { flags: ACK, seq: 1_000, ack: 5_000, data: 900, sum: 0 };
        ensure!(passes(&s.segment(ANN, ports, data)?));
        // What is not known anew in every generation: what was sent before.
        for generation in [3, 4, 261, 517] {
            s.next_generation(generation)?;
            for seq in [0, 999 + (1 << 30), 998, 1_901 + 0xffff] {
                let reset = Tcp { flags: RST, seq, ..Tcp::default() };
                ensure!(s.segment(ANN, ports, reset)? == BAD_SEQUENCE, "{seq}");
                let end = Tcp { flags: FIN | ACK, seq, ack: 5_000, ..Tcp::default() };
                ensure!(s.segment(ANN, ports, end)? == BAD_SEQUENCE, "{seq}");
            }
            // Errors are about what is under way.
            for (seq, fits) in [(1_000, true), (1_900, true), (998, false), (1_901, false)] {
                ensure!(passes(&s.too_big(ports, seq)?) == fits, "{seq}");
            }
            ensure!(passes(&s.tcp(BOB, back, ACK)?));
        }
        let reset = Tcp { flags: RST | ACK, seq: 1_900, ack: 5_000, ..Tcp::default() };
        ensure!(passes(&s.segment(ANN, ports, reset)?));
        // The addresses are free again, for any number.
        ensure!(passes(&s.tcp(ANN, ports, SYN)?) && passes(&s.tcp(BOB, back, SYN | ACK)?));
        Ok(())
    });
}

#[test]
fn who_observes_counts_and_tells_and_changes_nothing() {
    tell(|| {
        let mut s = Story::of(POLICY, 2)?;
        for source in 1000..1010 {
            ensure!(passes(&s.tcp(ANN, (source, 81), SYN)?));
        }
        ensure!(s.tcp(ANN, (1000, 82), SYN)? == NO_RULE);
        ensure!(s.hits(WATCH) == 11, "{}", s.hits(WATCH));
        let told = s.events()?;
        let watched = told.iter().filter(|e| e.rule == WATCH).count();
        ensure!(watched == 2 && told.len() == 2 + 2 + 1, "{told:x?}");
        ensure!(told[1].verdict == event_verdict::WOULD_DENY && told[4].rule == 0, "{told:x?}");
        let denied = (told[4].verdict, u32::from(told[4].reason));
        ensure!(denied == (event_verdict::DENIED, DropReason::NoRule as u32), "{told:x?}");
        // The next second tells what was left out of the one before.
        s.at(clock::START + 1_000)?;
        ensure!(s.tcp(ANN, (2000, 82), SYN)? == NO_RULE);
        let told = s.events()?;
        let ends: (IpAddr, IpAddr) = (told[1].src.into(), told[1].dst.into());
        ensure!(ends == ("10.1.0.1".parse()?, "10.1.0.2".parse()?), "{told:x?}");
        let numbers = (told[1].rule, told[1].suppressed, told[1].sport, told[1].dport);
        ensure!(numbers == (WATCH, 9, 2000, 82) && told[0].suppressed == 0, "{told:x?}");
        let (ann, bob) = (s.world.ports[ANN].ifindex, s.world.ports[BOB].ifindex);
        let place = (told[1].ingress, told[1].egress, told[1].network, told[1].length);
        ensure!(place == (ann, bob, 1, 40), "{told:x?}");
        Ok(())
    });
}

#[test]
fn a_full_log_loses_events_and_no_packet() {
    tell(|| {
        let mut s = Story::new(World::new(5, &interfaces()?)?, u32::MAX)?;
        let world = World::new(5, &s.world.ports.iter().map(|p| p.ifindex).collect::<Vec<_>>())?;
        let mut traffic = Traffic::new(&world, 5);
        for at in 0..400_000 {
            let sent = traffic.next_packet();
            s.send(sent.bytes, world.ports[sent.port].ifindex)?;
            if at % 10_000 == 0 && s.kernel.events_lost()? > 0 {
                break;
            }
        }
        let (theirs, lost) = (s.kernel.take_events()?.len() as u64, s.kernel.events_lost()?);
        let ours = s.engine.tables.take_events().count() as u64 + s.engine.tables.events_lost();
        ensure!(lost > 0 && theirs > 10_000, "{theirs} events, {lost} lost");
        ensure!(theirs + lost == ours, "{theirs} events and {lost} lost, native {ours}");
        Ok(())
    });
}

const LIMITED: &str = "
networks: { lan: { vlan: 10, subnets: [10.1.0.0/24] } }
guests:
  ann: { network: lan, ip: 10.1.0.1, limits: { half-open: 1, new: 3/s } }
  bob: { network: lan, ip: 10.1.0.2 }
rules: [{ name: all, allow: { from: ann, to: bob, for: tcp/80 } }]
log-denied: 5/s
";

#[test]
fn who_hits_a_limit_is_told_of_as_often_as_those_that_no_rule_is_about() {
    tell(|| {
        let mut s = Story::of(LIMITED, 5)?;
        for port in 1000..1020 {
            let verdict = s.segment(ANN, (port, 80), Tcp { flags: SYN, ..Tcp::default() })?;
            ensure!(passes(&verdict) == (port == 1000), "{port}: {verdict:?}");
        }
        let said = |e: &EventEntry| (e.rule, u32::from(e.reason));
        let theirs: Vec<_> = s.kernel.take_events()?.iter().map(said).collect();
        let ours: Vec<_> = s.engine.tables.take_events().map(|e| said(&e)).collect();
        ensure!(theirs == ours, "{theirs:?} and {ours:?}");
        for reason in [DropReason::LimitHalfOpen, DropReason::LimitNew] {
            ensure!(ours.contains(&(0, reason as u32)), "{reason}: {ours:?}");
        }
        let limits = ours.iter().filter(|(rule, _)| *rule == 0).count();
        ensure!(limits == 5, "{limits} of some twenty: {ours:?}");
        Ok(())
    });
}
