//! Faults at every step of `apply`, `attach` and `up`: system calls that fail, a process that is
//! killed, programs that are refused, a store that is full or damaged. No port opens, what runs goes
//! on without losing a packet, what failed was not done, and the next try does it.

use std::{
    env,
    time::{Duration, Instant},
};

use nix::mount::{MsFlags, mount};
use portcullis_lab::{
    capture::Capture,
    frame::{Udp, holds},
    hammer::Hammer,
    host::Host,
    inject::{Fault, Injected},
    patience,
    process::wait_for,
    small::Small,
    stream::Stream,
    world::Nic,
};

const RUNNING: &str = "{ name: running, allow: { from: r1, to: r2, for: udp/9000 } }";
/// What only the other policy allows.
const OTHER: &str = "{ name: other, allow: { from: r1, to: r2, for: udp/9005 } }";
const GUESTS: &[(&str, Nic)] = &[("r1", Nic::Veth), ("r2", Nic::Veth), ("r3", Nic::Veth)];
const FORBIDDEN: &[u8] = b"FORBIDDEN-FRAME";

fn is_long() -> bool {
    env::var_os("PORTCULLIS_TEST_LONG").is_some()
}

/// Numbers of calls at which something fails: close together first, then further apart.
fn steps(below: usize) -> Vec<usize> {
    let (mut at, mut steps) = (1, Vec::new());
    while at < below {
        steps.push(at);
        at += if is_long() { 1 + at / 12 } else { 2 + at * 4 };
    }
    steps
}

fn faults(calls: &[(&'static str, &'static str)]) -> Vec<Fault> {
    let of = |(call, what): &(&'static str, &'static str)| {
        let (call, what) = (*call, *what);
        let below = if call == "bpf" { 1000 } else { 30 };
        steps(below).into_iter().map(move |at| Fault { call, what, at })
    };
    calls.iter().flat_map(of).collect()
}

/// A host with a flow that runs and somebody who tries what nobody may.
struct Siege {
    small: Small,
    stream: Option<Stream>,
    hammer: Option<Hammer>,
    capture: Capture,
    reached: usize,
}

impl Siege {
    fn new(tag: &str) -> Self {
        let small = Small::with(tag, &[RUNNING], GUESTS).unwrap();
        let frame = |v6: bool, from: &str| {
            let honest = small.datagram("r3", "r2", v6, 9001);
            Udp { from: small.address(from, v6), ..honest }.frame(FORBIDDEN)
        };
        let frames = [frame(false, "r3"), frame(true, "r3"), frame(false, "r1"), frame(true, "r1")];
        let hammer = Hammer::on_nic(small.space("r3"), "eth0", frames.into());
        let capture = Capture::start(small.space("r2"), "eth0").unwrap();
        let to = small.address("r2", false);
        let stream = Stream::start(small.space("r1"), small.space("r2"), to, 9000).unwrap();
        wait_for("traffic", 5, || stream.sent() > 50 && hammer.sent() > 50).unwrap();
        let (stream, hammer) = (Some(stream), Some(hammer));
        Self { small, stream, hammer, capture, reached: 0 }
    }

    fn host(&self) -> &Host {
        &self.small.host
    }

    /// Is the other policy the one in force?
    fn has_other(&self) -> bool {
        self.host().status().unwrap().0["policy"]["size"]["rules"] == 2
    }

    fn policy(&self, other: bool) -> String {
        let rules: &[&str] = if other { &[OTHER, RUNNING] } else { &[RUNNING] };
        let text = portcullis_lab::small::policy(rules);
        self.small.lab.file("policy.yaml", &text).unwrap().to_string_lossy().into_owned()
    }

    fn apply(&self, other: bool) -> i32 {
        let output = self.host().run(&["apply", &self.policy(other)]).unwrap();
        if output.code() != 0 {
            assert!(output.stderr.starts_with("error: "), "{output:?}");
        }
        output.code()
    }

    /// One fault in the middle of an order to the daemon; if it died, it is started again.
    fn under(&mut self, fault: &Fault, order: impl FnOnce(&Self) -> i32) -> i32 {
        let daemon = self.host().daemon();
        let code = {
            let _injected = Injected::start(fault, daemon[0]).unwrap();
            order(self)
        };
        assert!([0, 2].contains(&code), "{fault}: {code}");
        self.reached += usize::from(code != 0);
        let dead = self.host().daemon().is_empty();
        assert!(!dead || fault.is_deadly(), "{fault} killed the daemon");
        if dead {
            self.host().up().unwrap();
        }
        code
    }

    /// Every port is open, and nothing is amiss any more; what the daemon looks after by itself
    /// it may find out at its next look.
    fn is_whole(&self) {
        let status = self.host().status().unwrap();
        let open = GUESTS.iter().all(|(name, _)| status.is_open(&format!("v-{name}")));
        assert!(open, "{}", status.0);
        let mut problems = serde_json::Value::Null;
        let fine = wait_for("an end of all problems", 8, || {
            problems = self.host().status().unwrap().0["problems"].clone();
            problems == serde_json::json!([])
        });
        fine.unwrap_or_else(|error| panic!("{error}: {problems}"));
    }

    /// The end: nothing was lost, nothing forbidden passed.
    fn end(mut self) {
        let attacks = self.hammer.take().unwrap().sent();
        let report = self.stream.take().unwrap().finish();
        let seen = self.capture.frames();
        let passed = seen.iter().filter(|seen| holds(&seen.head, FORBIDDEN)).count();
        println!("{} faults, {attacks} attacks, {} datagrams", self.reached, report.sent);
        assert_eq!(passed, 0);
        assert!(report.missing.is_empty(), "lost {:?} of {}", report.missing, report.sent);
        assert!(self.reached > 1 && attacks > 100 && report.sent > 100);
    }
}

#[test]
fn a_change_that_fails_at_any_step_is_no_change() {
    let mut siege = Siege::new("plp");
    let calls = [
        ("bpf", "error=E2BIG"),
        ("bpf", "error=ENOMEM"),
        ("bpf", "signal=KILL"),
        ("sendto", "error=ENOBUFS"),
        ("fdatasync", "error=EIO"),
        ("pwrite64", "error=ENOSPC"),
        ("membarrier", "error=ENOMEM"),
    ];
    let mut other = false;
    for fault in faults(&calls) {
        let code = siege.under(&fault, |siege| siege.apply(!other));
        match (code, fault.is_deadly()) {
            (0, _) => other = !other,
            // Nobody heard what came of it: one or the other, and not a mix.
            (_, true) => other = siege.has_other(),
            (_, false) => {}
        }
        assert_eq!(siege.has_other(), other, "{fault}: {code}");
        // The next one is done, whatever happened to this one.
        assert_eq!(siege.apply(!other), 0, "after {fault}");
        other = !other;
        assert_eq!(siege.has_other(), other, "after {fault}");
        if is_long() {
            println!("{fault}: {code}");
        }
        siege.is_whole();
    }
    siege.end();
}

#[test]
fn a_port_that_fails_at_any_step_is_no_port() {
    let mut siege = Siege::new("plq");
    let space = siege.small.lab.space("b1").unwrap();
    let path = space.path().to_string_lossy().into_owned();
    let attach = ["attach", "veth", "v-b1", "--guest", "b1", "--netns", &path];
    let before = siege.host().space().interfaces().unwrap();
    let calls = [
        ("bpf", "error=ENOMEM"),
        ("bpf", "signal=KILL"),
        ("sendto", "error=ENOBUFS"),
        ("fdatasync", "error=EIO"),
        ("membarrier", "error=ENOMEM"),
    ];
    for fault in faults(&calls) {
        let code = siege.under(&fault, |siege| siege.host().run(&attach).unwrap().code());
        if code != 0 && !fault.is_deadly() {
            assert_eq!(siege.host().space().interfaces().unwrap(), before, "{fault}");
        }
        if siege.host().status().unwrap().port("v-b1").is_none() {
            siege.host().portcullis(&attach).unwrap_or_else(|error| panic!("{fault}: {error}"));
        }
        assert!(siege.host().status().unwrap().is_open("v-b1"), "{fault}");
        siege.host().portcullis(&["detach", "v-b1"]).unwrap();
        siege.is_whole();
    }
    siege.end();
}

/// Starts the daemon under a fault; true if it answers.
fn start_under(host: &Host, fault: &Fault) -> bool {
    let up = fault.around(&host.command(&["up", "--foreground"]));
    let mut child = host.space().spawn(up).unwrap();
    let end = Instant::now() + patience::limit(Duration::from_secs(30));
    let mut answers = false;
    while Instant::now() < end && child.try_wait().unwrap().is_none() && !answers {
        answers = host.run(&["status"]).unwrap().code() == 0;
        std::thread::sleep(Duration::from_millis(10));
    }
    host.kill_daemon().unwrap();
    let _ = child.kill();
    let _ = child.wait();
    answers
}

#[test]
fn a_start_that_fails_at_any_step_leaves_what_runs() {
    let mut siege = Siege::new("plb");
    let calls = [
        ("bpf", "error=ENOMEM"),
        ("bpf", "signal=KILL"),
        ("sendto", "error=ENOBUFS"),
        ("fdatasync", "error=EIO"),
        ("membarrier", "error=ENOMEM"),
    ];
    let every = if is_long() { 1 } else { 2 };
    for fault in faults(&calls).into_iter().step_by(every) {
        siege.host().kill_daemon().unwrap();
        siege.reached += usize::from(!start_under(siege.host(), &fault));
        siege.host().up().unwrap_or_else(|error| panic!("after {fault}: {error}"));
        siege.is_whole();
    }
    siege.end();
}

#[test]
fn programs_that_are_refused_leave_the_old_ones_in_force() {
    let mut siege = Siege::new("plu");
    let pins = std::fs::read_dir(siege.host().run_dir().join("bpf")).unwrap();
    let version = pins.map(|entry| entry.unwrap().path()).next().unwrap();
    let code = || {
        let all = std::fs::read_dir(&version).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> = all.filter(|p| p.to_string_lossy().contains("code-")).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    };
    let rounds = if is_long() { 20 } else { 3 };
    for round in 0..rounds {
        siege.host().kill_daemon().unwrap();
        // What runs is of another version now, as far as anybody can tell; there and back.
        let (ours, other) = (code(), version.join(format!("code-{round:016x}")));
        std::fs::rename(&ours, &other).unwrap();
        // The verifier refuses: everything that is loaded now fails, somewhere.
        for at in [30 + 5 * round, 60 + 5 * round] {
            let fault = Fault { call: "bpf", what: "error=EACCES", at };
            siege.reached += usize::from(!start_under(siege.host(), &fault));
        }
        siege.host().up().unwrap();
        assert_eq!(code(), ours, "the new version took over");
        siege.is_whole();
    }
    siege.end();
}

#[test]
fn a_full_store_refuses_and_works_again_when_it_has_room() {
    let small = Small::new("pls").unwrap();
    small.host.down().unwrap();
    let state = small.host.state_dir();
    std::fs::create_dir_all(state).unwrap();
    // Removed with the lab, as every mount below its directory is.
    mount(Some("tmpfs"), state, Some("tmpfs"), MsFlags::empty(), Some("size=4m")).unwrap();
    small.host.up().unwrap();
    small.apply(&[RUNNING]).unwrap();
    let filler = state.join("filler");
    let room = std::iter::repeat_n(0_u8, 8 << 20).collect::<Vec<_>>();
    assert!(std::fs::write(&filler, room).is_err(), "there is still room");
    let long: Vec<String> =
        (0..4000).map(|n| OTHER.replacen("other", &format!("other{n}"), 1)).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let before = small.host.status().unwrap().0["policy"].clone();
    let refused = small.apply(&long).unwrap_err().to_string();
    assert!(
        refused.contains("could not be stored") && refused.contains("in force again"),
        "{refused}"
    );
    let after = small.host.status().unwrap().0["policy"].clone();
    assert_eq!(after["size"], before["size"], "{after}");
    std::fs::remove_file(&filler).unwrap();
    small.apply(&[RUNNING, OTHER]).unwrap();
    assert_eq!(small.host.status().unwrap().0["problems"], serde_json::json!([]));
    small.host.kill_daemon().unwrap();
    small.host.up().unwrap();
    assert_eq!(small.host.status().unwrap().0["policy"]["size"]["rules"], 2);
}

#[test]
fn a_damaged_store_is_named_and_opens_nothing() {
    let siege = Siege::new("plx");
    siege.host().kill_daemon().unwrap();
    let store = std::fs::read_dir(siege.host().state_dir()).unwrap();
    let store = store.map(|entry| entry.unwrap().path()).find(|p| p.is_file()).unwrap();
    let whole = std::fs::read(&store).unwrap();
    let mut damaged = whole.clone();
    damaged.iter_mut().skip(64).step_by(97).for_each(|byte| *byte ^= 0x5a);
    std::fs::write(&store, damaged).unwrap();
    let output = siege.host().run(&["up"]).unwrap();
    assert_eq!(output.code(), 2, "{output:?}");
    assert!(output.stderr.contains(&store.display().to_string()), "{output:?}");
    std::fs::write(&store, whole).unwrap();
    siege.host().up().unwrap();
    siege.is_whole();
    Siege { reached: 4, ..siege }.end();
}
