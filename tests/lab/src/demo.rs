//! The demo: the traffic that a person with a DMZ cares about, tried for real.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal},
    time::Duration,
};

use serde_json::Value;

use crate::{Result, host::Status, probe::Probe, world::Dmz};

/// One attempt, and what the author of `policies/dmz.yaml` means to come of it.
#[derive(Clone, Copy, Debug)]
pub struct Play {
    /// Who tries: a guest, `host` or `world`.
    pub from: &'static str,
    /// Whom: a guest, `host` or `world`.
    pub to: &'static str,
    /// What.
    pub probe: Probe,
    /// Over IPv6?
    pub v6: bool,
    /// Shall it work?
    pub works: bool,
}

const fn play(from: &'static str, to: &'static str, probe: Probe, works: bool) -> Play {
    Play { from, to, probe, v6: false, works }
}

const fn play6(from: &'static str, to: &'static str, probe: Probe, works: bool) -> Play {
    Play { from, to, probe, v6: true, works }
}

/// The table.
pub const PLAYS: &[Play] = &[
    // The lan is a lan: its members reach each other.
    play("pc1", "pc2", Probe::Ping, true),
    play6("pc2", "pc1", Probe::Ping, true),
    play("pc2", "files", Probe::Smb, true),
    play6("pc1", "files", Probe::Smb, true),
    // But the platform's word stands above.
    play("pc1", "pc2", TFTP, false),
    // The host reaches its share; from outside the lan nobody else does.
    play("host", "files", Probe::Smb, true),
    play6("host", "files", Probe::Ssh, true),
    play("host", "pc1", Probe::Smb, false),
    play("world", "files", Probe::Smb, false),
    play6("web1", "files", Probe::Smb, false),
    // The web server is for everybody, and only its web.
    play("world", "web1", Probe::Http, true),
    play6("world", "web1", Probe::Http, true),
    play("pc1", "web1", Probe::Http, true),
    play("world", "web1", Probe::Ssh, false),
    play("world", "app1", Probe::Http, false),
    play6("world", "app1", Probe::Ping, false),
    // It calls its application servers, and these nobody.
    play("web1", "app1", APP_API, true),
    play6("web1", "app2", APP_API, true),
    play("app1", "web1", APP_API, false),
    play("app1", "app2", Probe::Ping, false),
    play("web1", "app1", Probe::Http, false),
    // One machine administers the DMZ.
    play("pc1", "app1", Probe::Ssh, true),
    play6("pc1", "web1", Probe::Ssh, true),
    play("pc2", "app1", Probe::Ssh, false),
    // The lan goes out, the DMZ does not.
    play("pc1", "world", Probe::Http, true),
    play6("pc2", "world", DNS, true),
    play("web1", "world", DNS, false),
    // The gateway answers the lan, and is silent to the DMZ and the world.
    play("pc2", "host", Probe::Ping, true),
    play6("pc1", "host", Probe::Ping, true),
    play("web1", "host", Probe::Ssh, false),
    play6("app2", "host", Probe::Ping, false),
    play("world", "host", Probe::Ssh, false),
    play("app2", "pc2", Probe::Ssh, false),
];

/// What the example's `app-api` is, over UDP.
const APP_API: Probe = Probe::Udp(8000);
/// Names.
const DNS: Probe = Probe::Udp(53);
/// File transfer without any protection.
const TFTP: Probe = Probe::Udp(69);

/// What came of one attempt.
#[derive(Clone, Debug)]
pub struct Row {
    /// The attempt.
    pub play: Play,
    /// Did it work?
    pub worked: bool,
    /// What `portcullis explain` says about it.
    pub ruling: Ruling,
    /// The reasons that the switch counted meanwhile, if it did not work.
    pub drops: Vec<String>,
}

/// The answer of `portcullis explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Is it allowed?
    pub allowed: bool,
    /// The deciding rule, with its place; `default deny` where no rule speaks.
    pub rule: String,
}

impl Row {
    /// Is everything as the author meant it? A failed attempt must have been stopped by the
    /// switch, and counted.
    pub fn is_fine(&self) -> bool {
        let expected = self.play.works;
        self.worked == expected
            && self.ruling.allowed == expected
            && (expected || !self.drops.is_empty())
    }
}

/// Plays all attempts, one after the other; `seen` hears of each row.
pub fn perform(dmz: &Dmz, mut seen: impl FnMut(&Row)) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for play in PLAYS {
        // Test guests have no servers but plain ones.
        let plain = || Play { probe: play.probe.plain(), ..*play };
        let play = if dmz.machines.is_empty() { *play } else { plain() };
        let row = attempt(dmz, play)?;
        seen(&row);
        rows.push(row);
    }
    Ok(rows)
}

fn attempt(dmz: &Dmz, play: Play) -> Result<Row> {
    let ruling = ruling(dmz, play)?;
    let to = dmz.address(play.from, play.to, play.v6)?;
    let before = dmz.host.status()?;
    let worked = dmz.tries(play.from, play.probe, to)?;
    let drops = if worked { Vec::new() } else { new_drops(&before, &dmz.host.status()?) };
    Ok(Row { play, worked, ruling, drops })
}

/// Multicast that nobody listens to, and questions that nobody answers, are dropped all the
/// time: they say nothing about the attempt.
const NOISE: [&str; 3] = ["absorbed", "no-listener", "unanswered"];

fn new_drops(before: &Status, after: &Status) -> Vec<String> {
    let mut grown: Vec<(u64, String)> = after
        .reasons()
        .into_iter()
        .map(|(reason, packets)| (packets.saturating_sub(before.drops(&reason)), reason))
        .filter(|(packets, reason)| *packets > 0 && !NOISE.contains(&reason.as_str()))
        .collect();
    grown.sort_by(|a, b| b.cmp(a));
    grown.into_iter().map(|(_, reason)| reason).collect()
}

fn ruling(dmz: &Dmz, play: Play) -> Result<Ruling> {
    let policy = dmz.policy.to_string_lossy();
    let service = play.probe.service();
    let answer = dmz.host.json(&[
        "explain",
        &policy,
        "--from",
        play.from,
        "--to",
        play.to,
        "--service",
        &service,
    ])?;
    Ok(read_ruling(&answer))
}

fn read_ruling(answer: &Value) -> Ruling {
    // Names stand for both families; `mixed` would be no answer to what is played.
    let allowed = answer["verdict"] == "allowed";
    let rule = &answer["answers"][0]["rule"];
    let rule = match (rule["name"].as_str(), rule["file"].as_str(), rule["line"].as_u64()) {
        (Some(name), Some(file), Some(line)) => {
            let file = file.rsplit('/').next().unwrap_or(file);
            format!("{name}  {file}:{line}")
        }
        (Some(name), ..) => name.to_owned(),
        _ => "default deny".to_owned(),
    };
    Ruling { allowed, rule }
}

/// Head of the table.
pub fn head() -> String {
    format!(
        "{:<6} {:<9} {:<6} {:<4} {:<9} {:<9} {:<34} {}\n{}",
        "who",
        "tried",
        "whom",
        "over",
        "expected",
        "observed",
        "rule",
        "dropped as",
        "-".repeat(98)
    )
}

/// One line of the table.
pub fn line(row: &Row) -> String {
    let word = |works: bool| if works { "works" } else { "refused" };
    let mut line = String::new();
    let Play { from, to, probe, v6, works } = row.play;
    let over = if v6 { "IPv6" } else { "IPv4" };
    let _ = write!(
        line,
        "{from:<6} {:<9} {to:<6} {over:<4} {:<9} {:<9} {:<34} {}",
        probe.to_string(),
        word(works),
        word(row.worked),
        row.ruling.rule,
        row.drops.join(", ")
    );
    if !row.is_fine() {
        let explained = word(row.ruling.allowed);
        let _ = write!(line, "   <-- DIFFERS (explain says: {explained})");
    }
    let line = line.trim_end().to_owned();
    if !io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some() {
        return line;
    }
    let colour = match (row.is_fine(), row.worked) {
        (false, _) => "1;31",
        (true, true) => "32",
        (true, false) => "33",
    };
    format!("\x1b[{colour}m{line}\x1b[0m")
}

/// The table's last line.
pub fn summary(rows: &[Row], took: Duration) -> String {
    let wrong = rows.iter().filter(|row| !row.is_fine()).count();
    let verdict =
        if wrong == 0 { "all as expected".to_owned() } else { format!("{wrong} not as expected") };
    format!("{} attempts in {:.0} s: {verdict}", rows.len(), took.as_secs_f64())
}
