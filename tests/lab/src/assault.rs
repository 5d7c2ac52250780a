//! An attacker among guests: what of a real tool's packets is counted under which name, and
//! whether anything arrives.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Error, Result, Space, capture::Capture, host::Status, patience, process, small::Small,
    world::Nic,
};

/// Who attacks; r1 may talk to port 80 of r2 and b1, which nobody asks for here.
pub const ATTACKER: &str = "r1";
/// Who listens: a neighbour, another neighbour, and a guest of another network.
pub const VICTIMS: [&str; 3] = ["r2", "r3", "b1"];
const RULES: &[&str] = &[
    "{ name: web, allow: { from: r1, to: [r2, b1], for: http } }",
    "{ name: others, allow: { from: r3, to: r2, for: any } }",
];
/// How long counters must stand still to count as settled: after a run, and before the first one,
/// when stacks that have just come up still announce themselves.
const STILL: Duration = Duration::from_millis(120);
const STILL_AT_FIRST: Duration = Duration::from_millis(1500);

/// How often counters may come to rest and not agree: something is on its way that took longer.
const SETTLES: usize = 5;

/// One run of a tool.
#[derive(Clone, Debug)]
pub struct Assault {
    /// The command, run in the attacker's namespace with a standard input that stays open.
    pub command: String,
    /// When it is ended, if it has not by itself, and has sent as much as it should.
    pub time: Duration,
    /// Under these names all of it is dropped.
    pub reasons: &'static [&'static str],
    /// At least so many packets.
    pub least: u64,
}

/// What the counters say of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Packets that the attacker sent.
    pub sent: u64,
    /// Packets that it got: answers of the switch, since nobody else may talk to it.
    pub answered: u64,
    /// Packets dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
}

impl Account {
    /// All drops.
    pub fn drops(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// A host with an attacker, victims and captures at the victims.
#[derive(Debug)]
pub struct Field {
    /// The host and its guests.
    pub small: Small,
    captures: Vec<(&'static str, Capture)>,
}

impl Field {
    /// Sets it up and waits until nobody says anything any more.
    pub fn new(tag: &str) -> Result<Self> {
        let mut small = Small::with(tag, RULES, &[])?;
        for name in [ATTACKER].into_iter().chain(VICTIMS) {
            small.attach(name, Nic::Veth)?;
            // A stack without a router asks for one again and again; these questions would stand
            // among the attacker's packets.
            small.space(name).sysctl("net/ipv6/conf/eth0/router_solicitations", "0")?;
            small.space(name).sysctl("net/ipv6/conf/eth0/accept_ra", "0")?;
        }
        let mut field = Self { small, captures: Vec::new() };
        field.settle(STILL_AT_FIRST)?;
        for name in VICTIMS {
            let capture = Capture::start(field.small.space(name), "eth0")?;
            field.captures.push((name, capture));
        }
        Ok(field)
    }

    /// The attacker's namespace.
    pub fn attacker(&self) -> &Space {
        self.small.space(ATTACKER)
    }

    /// Frames that arrived anywhere, by victim.
    pub fn arrived(&self) -> Vec<(&'static str, usize)> {
        let count = |(name, capture): &(&'static str, Capture)| (*name, capture.frames().len());
        self.captures.iter().map(count).filter(|(_, frames)| *frames > 0).collect()
    }

    /// Heads of the frames that arrived at a victim.
    pub fn heads(&self, victim: &str) -> Vec<Vec<u8>> {
        let at = self.captures.iter().filter(|(name, _)| *name == victim);
        at.flat_map(|(_, capture)| capture.frames()).map(|seen| seen.head).collect()
    }

    /// Runs a tool and tells what became of its packets. It goes on for `time`, and for longer on a
    /// machine on which it needs that for its `least` packets.
    pub fn run(&self, command: Command, time: Duration, least: u64) -> Result<Account> {
        let before = (self.counters()?, self.small.host.status()?);
        self.play(command, time, || Ok(self.account(&before)?.drops() >= least))?;
        for _ in 0..SETTLES {
            self.settle(STILL)?;
            let account = self.account(&before)?;
            if account.sent == account.drops() + account.answered {
                return Ok(account);
            }
        }
        self.account(&before)
    }

    /// What has happened since somebody looked.
    fn account(&self, (counters, status): &((u64, u64), Status)) -> Result<Account> {
        let (counters_now, status_now) = (self.counters()?, self.small.host.status()?);
        Ok(Account {
            sent: counters_now.0 - counters.0,
            answered: counters_now.1 - counters.1,
            dropped: difference(status, &status_now),
        })
    }

    /// A line as a command, with `$MAC` for the attacker's own.
    pub fn command(&self, line: &str) -> Command {
        let line = line.replace("$MAC", &self.small.guest(ATTACKER).mac);
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }

    fn play(
        &self,
        mut command: Command,
        time: Duration,
        enough: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        // Some tools end when nobody is at the keyboard.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Some tools leave a log where they are.
        command.current_dir(self.small.lab.dir());
        let line = process::line(&command);
        let mut child = self.attacker().spawn(command)?;
        let begun = Instant::now();
        let (end, latest) = (begun + patience::stretched(time), begun + patience::limit(time));
        while Instant::now() < latest {
            if child.try_wait().map_err(Error::system(line.clone()))?.is_some() {
                return Ok(());
            }
            if Instant::now() >= end && enough()? {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        child.wait().map(drop).map_err(Error::system(line))
    }

    /// Packets sent and got by the attacker's interface.
    fn counters(&self) -> Result<(u64, u64)> {
        let text = self.attacker().ip("-j -s link show eth0")?;
        let unclear = || Error::Output { command: "ip -j -s link".into(), output: text.clone() };
        let links: Value = serde_json::from_str(&text).map_err(|_| unclear())?;
        let packets = |way: &str| links[0]["stats64"][way]["packets"].as_u64();
        packets("tx").zip(packets("rx")).ok_or_else(unclear)
    }

    /// Waits until no counter moves any more.
    fn settle(&self, time: Duration) -> Result<()> {
        let all = || -> Result<_> { Ok((self.counters()?, self.small.host.status()?.reasons())) };
        let (mut before, mut still) = (all()?, Instant::now());
        let end = still + patience::limit(Duration::from_secs(15));
        while still.elapsed() < patience::silence(time) {
            thread::sleep(STILL / 2);
            let now = all()?;
            if now != before {
                (before, still) = (now, Instant::now());
            }
            if Instant::now() > end {
                return Err(Error::TimedOut { what: "silence".into(), seconds: 15 });
            }
        }
        Ok(())
    }
}

/// What was dropped between two looks.
fn difference(before: &Status, after: &Status) -> BTreeMap<String, u64> {
    let more = after.reasons().into_iter().map(|(reason, packets)| {
        let more = packets - before.drops(&reason);
        (reason, more)
    });
    more.filter(|(_, packets)| *packets > 0).collect()
}
