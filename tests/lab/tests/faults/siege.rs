//! A host under attack, whose daemon is made to fail.

use std::time::{Duration, Instant};

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

pub const RUNNING: &str = "{ name: running, allow: { from: r1, to: r2, for: udp/9000 } }";
/// What only the other policy allows.
pub const OTHER: &str = "{ name: other, allow: { from: r1, to: r2, for: udp/9005 } }";
pub const GUESTS: &[(&str, Nic)] = &[("r1", Nic::Veth), ("r2", Nic::Veth), ("r3", Nic::Veth)];
const FORBIDDEN: &[u8] = b"FORBIDDEN-FRAME";

/// A host with a flow that runs and somebody who tries what nobody may.
pub struct Siege {
    pub small: Small,
    stream: Option<Stream>,
    hammer: Option<Hammer>,
    capture: Capture,
    /// Faults that were felt.
    pub reached: usize,
}

impl Siege {
    /// At a host of its own.
    pub fn new(tag: &str) -> Self {
        Self::at(Small::with(tag, &[RUNNING], GUESTS).unwrap())
    }

    /// At a host whose policy allows [`RUNNING`], with [`GUESTS`].
    pub fn at(small: Small) -> Self {
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

    /// The host.
    pub fn host(&self) -> &Host {
        &self.small.host
    }

    /// Is the other policy the one in force?
    pub fn has_other(&self) -> bool {
        self.host().status().unwrap().0["policy"]["size"]["rules"] == 2
    }

    fn policy(&self, other: bool) -> String {
        let rules: &[&str] = if other { &[OTHER, RUNNING] } else { &[RUNNING] };
        let text = portcullis_lab::small::policy(rules);
        self.small.lab.file("policy.yaml", &text).unwrap().to_string_lossy().into_owned()
    }

    /// Applies one of the policies; the exit status.
    pub fn apply(&self, other: bool) -> i32 {
        let output = self.host().run(&["apply", &self.policy(other)]).unwrap();
        if output.code() != 0 {
            assert!(output.stderr.starts_with("error: "), "{output:?}");
        }
        output.code()
    }

    /// One fault in the middle of an order to the daemon; if it died, it is started again.
    pub fn under(&mut self, fault: &Fault, order: impl FnOnce(&Self) -> i32) -> i32 {
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

    /// Every port is open.
    pub fn is_open(&self) {
        let status = self.host().status().unwrap();
        let open = GUESTS.iter().all(|(name, _)| status.is_open(&format!("v-{name}")));
        assert!(open, "{}", status.0);
    }

    /// Every port is open, and nothing is amiss any more; what the daemon looks after by itself
    /// it may find out at its next look.
    pub fn is_whole(&self) {
        self.is_open();
        let mut problems = serde_json::Value::Null;
        let fine = wait_for("an end of all problems", 8, || {
            problems = self.host().status().unwrap().0["problems"].clone();
            problems == serde_json::json!([])
        });
        fine.unwrap_or_else(|error| panic!("{error}: {problems}"));
    }

    /// The end: nothing was lost, nothing forbidden passed.
    pub fn end(mut self) {
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

/// Starts the daemon under a fault; true if it answers.
pub fn start_under(host: &Host, fault: &Fault) -> bool {
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
