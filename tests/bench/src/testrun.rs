//! ns per packet of the program alone, by BPF_PROG_TEST_RUN, above a program that does nothing.
//!
//! One flow: the kernel repeats one frame. Many flows and first packets: the [`Walker`] gives every
//! run another connection without leaving the kernel; what it costs is subtracted, as it is
//! measured the same way in front of the empty program. Every reading of ours has one of the empty
//! program right before it.
//!
//! Two policies are loaded at a time, one in each slot of the tables, and readings alternate between
//! them by the generation word alone: program, flow table and minute are the same for both, so that
//! a difference between them is one of the policies.

use std::{
    fs,
    net::Ipv4Addr,
    os::fd::{AsFd, OwnedFd},
};

use portcullis_pipeline::layout::FlowKey;
use serde::Serialize;

use crate::{
    error::Error,
    frame::{Direction, PORTS_AT, PORTS_AT_V6, Segment, Template},
    interrupt::Interrupt,
    netns::{Namespace, pin_this_thread},
    stats::Spread,
    sys::{self, TestRun},
    walker::Walker,
    world::Ends,
    yardstick,
};

/// TC_ACT_REDIRECT.
const REDIRECTED: u32 = 7;
/// TC_ACT_SHOT.
const DROPPED: u32 = 2;
/// First connection of the first-packet readings: behind all that are resident.
const FRESH: u32 = 1_000_000;
const CPU: usize = 0;

/// A loaded switch whose ports `ifindex` lead to the client and to the server.
pub struct Subject<'a> {
    /// Its namespace.
    pub namespace: &'a Namespace,
    /// The program at the ingress of every port.
    pub program: OwnedFd,
    /// Its flow table.
    pub flows: OwnedFd,
    /// Its generation word.
    pub generation: OwnedFd,
    /// Ports of client and server.
    pub ifindex: [u32; 2],
    /// Who sits there.
    pub ends: Ends,
}

impl Subject<'_> {
    /// Its flow table.
    pub fn flow_table(&self) -> Result<Option<FlowTable>, Error> {
        FlowTable::of(&self.flows)
    }

    /// The policy that was put in force last, which has this many rules.
    pub fn newest(&self, rules: u32) -> Result<Loaded, Error> {
        let word = sys::map_word(&self.generation, 0)
            .map_err(|e| Error::system("reading the generation word", e))?;
        Ok(Loaded { rules, generation: word })
    }
}

/// How large a table is: the flow table, or another one.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FlowTable {
    /// Connections, or other entries, that it can hold.
    pub flows: u64,
    /// Memory of the kernel that it takes; the flow table all of it from the beginning.
    pub bytes: u64,
}

impl FlowTable {
    /// Of a map.
    pub fn of(map: &OwnedFd) -> Result<Option<Self>, Error> {
        let path = format!("/proc/self/fdinfo/{}", sys::number(map));
        let text = fs::read_to_string(&path).map_err(|e| Error::system(path, e))?;
        Ok(Self::parse(&text))
    }

    /// As the kernel describes it in fdinfo (Documentation/bpf, bpf_map_show_fdinfo).
    fn parse(text: &str) -> Option<Self> {
        let field = |name| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        Some(Self { flows: field("max_entries:")?, bytes: field("memlock:")? })
    }
}

/// A policy in one of the two slots.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// How many rules it has.
    pub rules: u32,
    /// Its generation.
    pub generation: u64,
}

/// What a packet is to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    /// A TCP segment of an established connection, IPv4.
    Established,
    /// The same, IPv6.
    EstablishedV6,
    /// A SYN of a new connection, IPv4.
    First,
    /// The same, IPv6.
    FirstV6,
    /// A frame with an address that is not its sender's.
    Spoofed,
    /// The empty program itself, not above anything: it tells how fast the machine was meanwhile.
    Empty,
}

impl Case {
    /// Its name in a table.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Established => "established TCP/IPv4",
            Self::EstablishedV6 => "established TCP/IPv6",
            Self::First => "first packet TCP/IPv4",
            Self::FirstV6 => "first packet TCP/IPv6",
            Self::Spoofed => "spoofed source",
            Self::Empty => "(the empty program itself)",
        }
    }
}

/// How many of everything.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Counts {
    /// Runs of one frame in a reading.
    pub repeat: u32,
    /// New connections in a reading.
    pub fresh: u32,
    /// Readings of each case in each round.
    pub readings: u32,
}

/// All readings of one case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseResult {
    /// What the packet was.
    pub case: Case,
    /// Rules of the policy.
    pub rules: u32,
    /// Connections in the flow table.
    pub flows: u32,
    /// ns above the empty program, one a reading.
    pub ns: Vec<f64>,
    /// The same, each divided by the reading with the smallest policy just before it.
    pub against_few: Vec<f64>,
}

impl CaseResult {
    /// The spread of the readings.
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(self.ns.iter().copied())
    }

    /// The spread of what the size of the policy does to the cost.
    pub fn growth(&self) -> Option<Spread> {
        Spread::of(self.against_few.iter().copied())
    }
}

/// Adds a reading to those of the same case.
pub fn collect(
    results: &mut Vec<CaseResult>,
    (case, rules, flows): (Case, u32, u32),
    ns: f64,
    few: Option<f64>,
) {
    let same = |r: &CaseResult| (r.case, r.rules, r.flows) == (case, rules, flows);
    let index = results.iter().position(same).unwrap_or_else(|| {
        results.push(CaseResult { case, rules, flows, ns: Vec::new(), against_few: Vec::new() });
        results.len() - 1
    });
    results[index].ns.push(ns);
    results[index].against_few.extend(few.map(|few| ns / few));
}

/// Measures every case with the smallest policy and another one, which the subject carries now.
pub fn measure(
    subject: &Subject<'_>,
    policies: [Loaded; 2],
    flows: &[u32],
    counts: Counts,
    interrupt: &Interrupt,
    results: &mut Vec<CaseResult>,
) -> Result<(), Error> {
    subject.namespace.run(|| {
        pin_this_thread(CPU)?;
        let rig = Rig::new(subject, policies, counts)?;
        rig.clear()?;
        rig.shake_hands(Family::V6, 1)?;
        rig.alternate((Case::EstablishedV6, 1), results, |_| rig.established_one(Family::V6))?;
        rig.alternate((Case::FirstV6, 1), results, |n| rig.first(Family::V6, 1, n))?;
        rig.alternate((Case::Spoofed, 1), results, |_| rig.spoofed())?;
        rig.alternate((Case::Empty, 1), results, |_| rig.empty())?;
        for &resident in flows {
            interrupt.check()?;
            rig.clear()?;
            rig.shake_hands(Family::V4, resident)?;
            rig.alternate((Case::Established, resident), results, |_| match resident {
                1 => rig.established_one(Family::V4),
                _ => rig.established_many(resident),
            })?;
            rig.alternate((Case::First, resident), results, |n| {
                rig.first(Family::V4, resident, n)
            })?;
        }
        rig.clear().map(drop)
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// The programs of a measurement.
struct Rig<'a> {
    subject: &'a Subject<'a>,
    policies: [Loaded; 2],
    counts: Counts,
    empty: OwnedFd,
    /// In front of the subject and of the empty program, for IPv4 and for IPv6.
    walkers: [(Walker, Walker); 2],
}

impl<'a> Rig<'a> {
    fn new(subject: &'a Subject<'a>, policies: [Loaded; 2], counts: Counts) -> Result<Self, Error> {
        let empty = yardstick::empty()?;
        let pair = |ports_at| {
            Ok::<_, Error>((
                Walker::new(subject.program.as_fd(), ports_at)?,
                Walker::new(empty.as_fd(), ports_at)?,
            ))
        };
        let walkers = [pair(PORTS_AT)?, pair(PORTS_AT_V6)?];
        Ok(Self { subject, policies, counts, empty, walkers })
    }

    /// Takes readings with one policy and the other in turn. `read` gets the reading's number.
    fn alternate(
        &self,
        (case, flows): (Case, u32),
        results: &mut Vec<CaseResult>,
        read: impl Fn(u32) -> Result<f64, Error>,
    ) -> Result<(), Error> {
        let [few, many] = self.policies;
        for reading in 0..self.counts.readings {
            let mut ns = [0.0; 2];
            // Each goes first every other time.
            for turn in 0..2 {
                let who = ((reading + turn) % 2) as usize;
                self.enter(self.policies[who])?;
                ns[who] = read(2 * reading + turn)?;
            }
            collect(results, (case, few.rules, flows), ns[0], None);
            collect(results, (case, many.rules, flows), ns[1], Some(ns[0]));
        }
        Ok(())
    }

    /// Puts the other slot's policy in force. No packet is under way, so nothing has to be waited
    /// for.
    fn enter(&self, policy: Loaded) -> Result<(), Error> {
        sys::map_update(&self.subject.generation, 0, &policy.generation.to_ne_bytes())
            .map_err(|e| Error::system("writing the generation word", e))
    }

    /// Empties the flow table; how many connections it held.
    fn clear(&self) -> Result<u64, Error> {
        sys::map_clear::<{ size_of::<FlowKey>() }>(&self.subject.flows)
            .map_err(|e| Error::system("emptying the flow table", e))
    }

    fn frame(&self, family: Family, segment: Segment) -> Vec<u8> {
        let Ends { client, server } = self.subject.ends;
        match family {
            Family::V4 => Template::tcp(client, server, segment).frame().to_vec(),
            Family::V6 => segment.frame_v6(client, server),
        }
    }

    fn ifindex(&self, segment: Segment) -> u32 {
        match segment.direction() {
            Direction::Forward => self.subject.ifindex[0],
            Direction::Reply => self.subject.ifindex[1],
        }
    }

    /// Walks a segment through `count` connections from `first`, by the subject's walker.
    fn walk(
        &self,
        walker: &Walker,
        family: Family,
        segment: Segment,
        connections: (u32, u32),
        repeat: u32,
    ) -> Result<TestRun, Error> {
        let frame = self.frame(family, segment);
        let ifindex = self.ifindex(segment);
        walker.run(&frame, ifindex, segment.direction(), connections, repeat)
    }

    /// Brings connections 0..count into the flow table, established.
    fn shake_hands(&self, family: Family, count: u32) -> Result<(), Error> {
        let (ours, _) = &self.walkers[family as usize];
        for segment in Segment::HANDSHAKE {
            let run = self.walk(ours, family, segment, (0, count), count)?;
            expect("a segment of a handshake", REDIRECTED, run.verdict)?;
        }
        Ok(())
    }

    /// ns above empty for one frame of one established connection.
    fn established_one(&self, family: Family) -> Result<f64, Error> {
        let frame = self.frame(family, Segment::Ack);
        self.repeated(&frame, "an established segment", REDIRECTED)
    }

    /// ns above empty for a frame whose source is not its sender's.
    fn spoofed(&self) -> Result<f64, Error> {
        let Ends { client, server } = self.subject.ends;
        let syn = Template::tcp(client, server, Segment::Syn);
        self.repeated(&syn.spoofed(Ipv4Addr::new(10, 77, 0, 99)), "a spoofed frame", DROPPED)
    }

    /// ns of the empty program.
    fn empty(&self) -> Result<f64, Error> {
        let frame = self.frame(Family::V4, Segment::Ack);
        sys::test_run(self.empty.as_fd(), &frame, self.subject.ifindex[0], self.counts.repeat)
            .map(|run| f64::from(run.duration_ns))
            .map_err(|e| Error::system("BPF_PROG_TEST_RUN of the empty program", e))
    }

    fn repeated(&self, frame: &[u8], what: &'static str, verdict: u32) -> Result<f64, Error> {
        let ifindex = self.subject.ifindex[0];
        let run = |program: &OwnedFd, repeat| {
            sys::test_run(program.as_fd(), frame, ifindex, repeat)
                .map_err(|e| Error::system(format!("BPF_PROG_TEST_RUN with {what}"), e))
        };
        // The first packet of a generation is judged again; that is not the cost of the others.
        run(&self.subject.program, 1)?;
        let empty = run(&self.empty, self.counts.repeat)?;
        let ours = run(&self.subject.program, self.counts.repeat)?;
        expect(what, verdict, ours.verdict)?;
        Ok(above(ours, empty))
    }

    /// ns above empty for one segment of each of `count` established connections in turn.
    fn established_many(&self, count: u32) -> Result<f64, Error> {
        let walk = |walker, repeat| self.walk(walker, Family::V4, Segment::Ack, (0, count), repeat);
        let repeat = self.counts.repeat.max(count);
        let (ours, empty) = &self.walkers[Family::V4 as usize];
        // All are judged again once, as above.
        walk(ours, count)?;
        let empty = walk(empty, repeat)?;
        let ours = walk(ours, repeat)?;
        expect("an established segment", REDIRECTED, ours.verdict)?;
        Ok(above(ours, empty))
    }

    /// ns above empty for the first packets of new connections while `resident` others are there.
    fn first(&self, family: Family, resident: u32, reading: u32) -> Result<f64, Error> {
        let fresh = self.counts.fresh;
        // What the readings before have added does not count among many.
        if resident < fresh {
            self.clear()?;
            self.shake_hands(family, resident)?;
        }
        let connections = (FRESH + reading * fresh, fresh);
        let walk = |walker| self.walk(walker, family, Segment::Syn, connections, fresh);
        let (ours, empty) = &self.walkers[family as usize];
        let empty = walk(empty)?;
        let ours = walk(ours)?;
        expect("a first packet", REDIRECTED, ours.verdict)?;
        Ok(above(ours, empty))
    }
}

/// Mean duration above the empty program's, ns.
fn above(ours: TestRun, empty: TestRun) -> f64 {
    f64::from(ours.duration_ns) - f64::from(empty.duration_ns)
}

/// `Err` when the program did something else: such a number would measure something else.
fn expect(what: &'static str, expected: u32, verdict: u32) -> Result<(), Error> {
    if verdict == expected { Ok(()) } else { Err(Error::Verdict { what, expected, verdict }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_one_case_come_together() {
        let mut results = Vec::new();
        collect(&mut results, (Case::First, 10, 1), 1.0, None);
        collect(&mut results, (Case::First, 100, 1), 9.0, Some(1.0));
        collect(&mut results, (Case::First, 10, 1), 3.0, None);
        collect(&mut results, (Case::First, 100, 1), 9.0, Some(3.0));
        assert_eq!(results.len(), 2);
        assert_eq!(results[0].spread().unwrap().median, 2.0);
        assert_eq!((results[0].growth(), results[1].growth().unwrap().median), (None, 6.0));
    }

    #[test]
    fn the_flow_table_says_how_large_it_is() {
        let text = "pos:\t0\nmax_entries:\t262144\nmap_flags:\t0x0\nmemlock:\t48235712\n";
        let table = FlowTable::parse(text).unwrap();
        assert_eq!((table.flows, table.bytes), (262_144, 48_235_712));
        assert!(FlowTable::parse("memlock:\t1\n").is_none());
    }

    #[test]
    fn another_verdict_is_an_error() {
        assert!(expect("x", REDIRECTED, REDIRECTED).is_ok());
        assert!(matches!(
            expect("x", REDIRECTED, DROPPED),
            Err(Error::Verdict { expected: 7, verdict: 2, .. })
        ));
    }
}
