//! ns per packet of the program alone, by BPF_PROG_TEST_RUN, above a program that does nothing.
//!
//! One flow: the kernel repeats one frame. Many flows and first packets: the [`Walker`] gives every
//! run another connection without leaving the kernel; what it costs is subtracted, as it is
//! measured the same way in front of the empty program. Every reading of ours has one of the empty
//! program right before it.

use std::{
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
const FRESH: u32 = 600_000;
const CPU: usize = 0;

/// A loaded switch whose ports `ifindex` lead to the client and to the server.
pub struct Subject<'a> {
    /// Its namespace.
    pub namespace: &'a Namespace,
    /// The program at the ingress of every port.
    pub program: OwnedFd,
    /// Its flow table.
    pub flows: OwnedFd,
    /// Ports of client and server.
    pub ifindex: [u32; 2],
    /// Who sits there.
    pub ends: Ends,
}

/// What a packet is to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
}

impl CaseResult {
    /// Their spread.
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(self.ns.iter().copied())
    }
}

/// Adds readings to those of the same case.
pub fn collect(results: &mut Vec<CaseResult>, case: Case, rules: u32, flows: u32, ns: Vec<f64>) {
    let same = |r: &&mut CaseResult| (r.case, r.rules, r.flows) == (case, rules, flows);
    match results.iter_mut().find(same) {
        Some(result) => result.ns.extend(ns),
        None => results.push(CaseResult { case, rules, flows, ns }),
    }
}

/// Measures every case with a policy of `rules` rules, which the subject carries now.
pub fn measure(
    subject: &Subject<'_>,
    rules: u32,
    flows: &[u32],
    counts: Counts,
    interrupt: &Interrupt,
    results: &mut Vec<CaseResult>,
) -> Result<(), Error> {
    subject.namespace.run(|| {
        pin_this_thread(CPU)?;
        let rig = Rig::new(subject, counts)?;
        rig.clear()?;
        rig.shake_hands(Family::V6, 1)?;
        collect(results, Case::EstablishedV6, rules, 1, rig.established_one(Family::V6)?);
        collect(results, Case::FirstV6, rules, 1, rig.first(Family::V6, 1)?);
        collect(results, Case::Spoofed, rules, 1, rig.spoofed()?);
        for &resident in flows {
            interrupt.check()?;
            rig.clear()?;
            rig.shake_hands(Family::V4, resident)?;
            let established = match resident {
                1 => rig.established_one(Family::V4)?,
                _ => rig.established_many(resident)?,
            };
            collect(results, Case::Established, rules, resident, established);
            collect(results, Case::First, rules, resident, rig.first(Family::V4, resident)?);
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
    counts: Counts,
    empty: OwnedFd,
    /// In front of the subject and of the empty program, for IPv4 and for IPv6.
    walkers: [(Walker, Walker); 2],
}

impl<'a> Rig<'a> {
    fn new(subject: &'a Subject<'a>, counts: Counts) -> Result<Self, Error> {
        let empty = yardstick::empty()?;
        let pair = |ports_at| {
            Ok::<_, Error>((
                Walker::new(subject.program.as_fd(), ports_at)?,
                Walker::new(empty.as_fd(), ports_at)?,
            ))
        };
        let walkers = [pair(PORTS_AT)?, pair(PORTS_AT_V6)?];
        Ok(Self { subject, counts, empty, walkers })
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
    fn established_one(&self, family: Family) -> Result<Vec<f64>, Error> {
        let frame = self.frame(family, Segment::Ack);
        self.repeated(&frame, "an established segment", REDIRECTED)
    }

    /// ns above empty for a frame whose source is not its sender's.
    fn spoofed(&self) -> Result<Vec<f64>, Error> {
        let Ends { client, server } = self.subject.ends;
        let syn = Template::tcp(client, server, Segment::Syn);
        self.repeated(&syn.spoofed(Ipv4Addr::new(10, 77, 0, 99)), "a spoofed frame", DROPPED)
    }

    fn repeated(&self, frame: &[u8], what: &'static str, verdict: u32) -> Result<Vec<f64>, Error> {
        let ifindex = self.subject.ifindex[0];
        let run = |program: &OwnedFd| {
            sys::test_run(program.as_fd(), frame, ifindex, self.counts.repeat)
                .map_err(|e| Error::system(format!("BPF_PROG_TEST_RUN with {what}"), e))
        };
        (0..self.counts.readings)
            .map(|_| {
                let empty = run(&self.empty)?;
                let ours = run(&self.subject.program)?;
                expect(what, verdict, ours.verdict)?;
                Ok(above(ours, empty))
            })
            .collect()
    }

    /// ns above empty for one segment of each of `count` established connections in turn.
    fn established_many(&self, count: u32) -> Result<Vec<f64>, Error> {
        let repeat = self.counts.repeat.max(count);
        let (ours, empty) = &self.walkers[Family::V4 as usize];
        (0..self.counts.readings)
            .map(|_| {
                let [empty, ours] = [empty, ours]
                    .map(|walker| self.walk(walker, Family::V4, Segment::Ack, (0, count), repeat));
                let ours = ours?;
                expect("an established segment", REDIRECTED, ours.verdict)?;
                Ok(above(ours, empty?))
            })
            .collect()
    }

    /// ns above empty for the first packets of new connections while `resident` others are there.
    fn first(&self, family: Family, resident: u32) -> Result<Vec<f64>, Error> {
        let fresh = self.counts.fresh;
        let (ours, empty) = &self.walkers[family as usize];
        (0..self.counts.readings)
            .map(|reading| {
                // What the readings before have added does not count among many.
                if resident < fresh {
                    self.clear()?;
                    self.shake_hands(family, resident)?;
                }
                let connections = (FRESH + reading * fresh, fresh);
                let [empty, ours] =
                    [empty, ours].map(|w| self.walk(w, family, Segment::Syn, connections, fresh));
                let ours = ours?;
                expect("a first packet", REDIRECTED, ours.verdict)?;
                Ok(above(ours, empty?))
            })
            .collect()
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
        collect(&mut results, Case::First, 10, 1, vec![1.0]);
        collect(&mut results, Case::First, 100, 1, vec![9.0]);
        collect(&mut results, Case::First, 10, 1, vec![3.0]);
        assert_eq!(results.len(), 2);
        assert_eq!(results[0].spread().unwrap().median, 2.0);
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
