//! ns per packet of gate and filter alone, by BPF_PROG_TEST_RUN, above programs that do nothing; and
//! what the tables take. One frame is repeated, so its part of the tables is in the caches.

use std::os::fd::{AsFd, OwnedFd};

use super::{ends, prefixes, row};
use crate::{
    error::Error,
    frame::{Direction, Segment, Template},
    interrupt::Interrupt,
    netns::{Namespace, pin_this_thread},
    peers::{Policy, Programs, Running},
    report::grouped,
    rows::Row,
    sys,
    testrun::FlowTable,
    world::Ends,
    yardstick::{self, Hook},
};

/// Runs of one frame in a reading.
const REPEAT: u32 = 100_000;
const CPU: usize = 0;
/// A port that no rule names.
const CLOSED_PORT: u16 = 7777;
/// XDP_DROP, XDP_PASS; TC_ACT_SHOT, TC_ACT_REDIRECT.
const GATE: (u32, u32) = (1, 2);
const FILTER: (u32, u32) = (2, 7);

/// What a frame is, and what drops it.
type Case = (&'static str, Vec<u8>, Dropped);

/// Who drops a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dropped {
    /// Either of them.
    ByBoth,
    /// The filter alone: it is no business of the gate.
    Behind,
    /// Nobody.
    Never,
}

/// Every case by both programs, and the memory.
pub fn rows(policy: &Policy, rounds: u32, interrupt: &Interrupt) -> anyhow::Result<Vec<Row>> {
    let namespace = Namespace::new()?;
    let uplink = Running::on_uplink(&namespace, policy, portcullis_switch::Gate::Native)?;
    let (programs, cases) = (&uplink.programs, cases());
    let mut readings = vec![(Vec::new(), Vec::new()); cases.len()];
    namespace.run(|| {
        pin_this_thread(CPU)?;
        let rig = Rig::new(programs)?;
        rig.open_connection()?;
        for round in 0..rounds {
            eprintln!("round {}/{rounds}: the programs alone", round + 1);
            for (case, (gate, filter)) in cases.iter().zip(&mut readings) {
                interrupt.check()?;
                gate.push(rig.read(Hook::Xdp, case)?);
                filter.push(rig.read(Hook::Tcx, case)?);
            }
        }
        Ok(())
    })?;
    let mut rows = Vec::new();
    for ((what, _, _), (gate, filter)) in cases.iter().zip(readings) {
        rows.push(row(format!("{what}: the gate alone"), "ns", gate)?);
        rows.push(row("  the filter alone", "ns", filter)?);
    }
    let table = FlowTable::of(&programs.denied)?;
    let mib = table.map(|table| table.bytes as f64 / f64::from(1 << 20));
    rows.push(row(
        format!("{} prefixes: their table", grouped(prefixes::PREFIXES.into())),
        "MiB",
        mib.into_iter().collect(),
    )?);
    Ok(rows)
}

fn cases() -> Vec<Case> {
    let Ends { client, server } = ends();
    let syn = Template::tcp(client, server, Segment::Syn);
    let mut foreign = syn.frame().to_vec();
    foreign.splice(12..12, [0x81, 0, 0, 99]);
    let mut denied6 = client;
    denied6.ip6 = prefixes::address_v6();
    let mut closed = Template::udp(client, server, Direction::Forward);
    closed.set_ports(40_000, CLOSED_PORT);
    vec![
        ("denied, by its /24", syn.spoofed(prefixes::address(2)), Dropped::ByBoth),
        ("denied, by itself", syn.spoofed(prefixes::address(3)), Dropped::ByBoth),
        ("denied, IPv6", Segment::Syn.frame_v6(denied6, server), Dropped::ByBoth),
        ("a foreign VLAN", foreign, Dropped::ByBoth),
        ("a forged source", syn.spoofed([10, 77, 0, 3].into()), Dropped::ByBoth),
        ("from elsewhere, to a closed port", closed.frame().to_vec(), Dropped::Behind),
        (
            "allowed, established",
            Template::tcp(client, server, Segment::Ack).frame().to_vec(),
            Dropped::Never,
        ),
        ("allowed, established, IPv6", Segment::Ack.frame_v6(client, server), Dropped::Never),
    ]
}

/// The programs.
struct Rig<'a> {
    programs: &'a Programs,
    empty: [OwnedFd; 2],
}

impl<'a> Rig<'a> {
    fn new(programs: &'a Programs) -> Result<Self, Error> {
        Ok(Self { programs, empty: [yardstick::empty()?, yardstick::empty_xdp()?] })
    }

    /// Shakes hands, in both families, by the filter.
    fn open_connection(&self) -> Result<(), Error> {
        let Ends { client, server } = ends();
        for segment in Segment::HANDSHAKE {
            let from = match segment.direction() {
                Direction::Forward => self.programs.ifindex[0],
                Direction::Reply => self.programs.ifindex[1],
            };
            let v4 = Template::tcp(client, server, segment).frame().to_vec();
            for frame in [v4, segment.frame_v6(client, server)] {
                let run = sys::test_run(self.programs.filter.as_fd(), &frame, from, 1)
                    .map_err(|e| Error::system("BPF_PROG_TEST_RUN of a handshake", e))?;
                expect("a segment of a handshake", FILTER.1, run.verdict)?;
            }
        }
        Ok(())
    }

    /// ns above empty.
    fn read(&self, hook: Hook, (what, frame, dropped): &Case) -> Result<f64, Error> {
        let ifindex = self.programs.ifindex[0];
        let [empty, empty_xdp] = &self.empty;
        let (program, empty, (drop, pass), passes) = match hook {
            Hook::Tcx => (&self.programs.filter, empty, FILTER, *dropped == Dropped::Never),
            Hook::Xdp => (&self.programs.gate, empty_xdp, GATE, *dropped != Dropped::ByBoth),
        };
        let run = |program: &OwnedFd| {
            let run = match hook {
                Hook::Tcx => sys::test_run(program.as_fd(), frame, ifindex, REPEAT),
                Hook::Xdp => sys::test_run_xdp(program.as_fd(), frame, ifindex, REPEAT),
            };
            run.map_err(|e| Error::system(format!("BPF_PROG_TEST_RUN of {what}"), e))
        };
        let empty = run(empty)?;
        let ours = run(program)?;
        expect("a measured frame", if passes { pass } else { drop }, ours.verdict)?;
        Ok(f64::from(ours.duration_ns) - f64::from(empty.duration_ns))
    }
}

fn expect(what: &'static str, expected: u32, verdict: u32) -> Result<(), Error> {
    if verdict == expected { Ok(()) } else { Err(Error::Verdict { what, expected, verdict }) }
}
