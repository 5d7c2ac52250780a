//! What the command line and the daemon say to each other: the whole vocabulary of the Unix
//! socket. Scripts see the same types through `--format json`.

mod difference;
mod event;
mod gate;
mod traffic;
mod usage;

use std::{net::IpAddr, path::PathBuf};

pub use portcullis_host_rules::foreign::Finding as Foreign;
pub use portcullis_switch::SharedStatus as Shared;
use portcullis_switch::{self as switch, PortSpec};
use serde::{Deserialize, Serialize};

pub use self::{
    difference::{Cut, Difference, RulePlace},
    event::{Event, EventCounts, EventQuery, Events, Seen},
    gate::Gate,
    traffic::{Connections, Traffic},
    usage::{Exchange, Usage},
};

/// Version of this vocabulary; the two sides must agree.
pub const PROTOCOL: u32 = 5;

/// One policy file as the user named it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// The name that messages show.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A question or an order to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Request {
    /// Who are you?
    Info,
    /// How are things?
    Status,
    /// The files of the applied policy.
    Policy,
    /// Check and enforce this policy.
    Apply {
        /// Its files.
        sources: Vec<SourceFile>,
        /// Shall diagnostics be coloured?
        color: bool,
        /// Go back by itself unless it is confirmed within so many seconds.
        confirm_s: Option<u32>,
    },
    /// Say what applying this policy would change; nothing changes.
    Difference {
        /// Its files.
        sources: Vec<SourceFile>,
        /// Shall diagnostics be coloured?
        color: bool,
    },
    /// Tell the next events of logged rules.
    Events(EventQuery),
    /// What has every guest used?
    Usage,
    /// Keep the policy that waits for a confirmation.
    Confirm,
    /// Go back at once from the policy that waits for a confirmation.
    Rollback,
    /// Give a guest (or an uplink) its port.
    Attach {
        /// The port.
        port: PortSpec,
    },
    /// Take a port away.
    Detach {
        /// Its name.
        name: String,
    },
    /// Remove everything of the switch and end.
    Down,
}

/// The daemon's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Response {
    /// To [`Request::Info`].
    Info(Info),
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Policy`].
    Policy {
        /// The applied files; `None` before the first policy.
        sources: Option<Vec<SourceFile>>,
    },
    /// To [`Request::Apply`].
    Applied(Applied),
    /// To [`Request::Apply`]: the policy is not fit to be applied; nothing changed.
    Refused(Refused),
    /// To [`Request::Difference`].
    Difference(Box<Difference>),
    /// To [`Request::Events`].
    Events(Events),
    /// To [`Request::Usage`].
    Usage {
        /// By guest and network.
        usage: Vec<Usage>,
    },
    /// To [`Request::Confirm`].
    Confirmed {
        /// The generation that stays in force.
        generation: u32,
    },
    /// To [`Request::Rollback`].
    RolledBack(RolledBack),
    /// To [`Request::Attach`].
    Attached(Port),
    /// To [`Request::Detach`].
    Detached,
    /// To [`Request::Down`].
    Down(Removed),
    /// To anything: it did not work.
    Failed(Failure),
}

/// Why something did not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A word for programs, see [`crate::error::Error::code`] and [`code`].
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without advice.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), hint: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Words of [`Failure::code`] that the daemon uses.
pub mod code {
    /// The request could not be understood.
    pub const BAD_REQUEST: &str = "bad-request";
    /// The two sides are of different versions.
    pub const PROTOCOL: &str = "protocol";
    /// The peer may not talk to this daemon.
    pub const DENIED: &str = "not-permitted";
    /// More clients or requests than the daemon serves at once.
    pub const BUSY: &str = "busy";
    /// The kernel switch refused.
    pub const SWITCH: &str = "switch";
    /// The host's own stack could not be made what the policy says.
    pub const HOST_RULES: &str = "host-rules";
    /// The state could not be read or written.
    pub const STORE: &str = "store";
    /// A port of this name exists.
    pub const PORT_IN_USE: &str = "port-in-use";
    /// No port has this name.
    pub const NO_SUCH_PORT: &str = "no-such-port";
    /// The host has no interface of this name.
    pub const NO_SUCH_INTERFACE: &str = "no-such-interface";
    /// This cannot be the name of an interface.
    pub const BAD_NAME: &str = "bad-name";
    /// The policy knows no such guest.
    pub const NO_SUCH_GUEST: &str = "no-such-guest";
    /// The policy knows no such network, or the guest has no NIC there.
    pub const NO_SUCH_NETWORK: &str = "no-such-network";
    /// The guest has several NICs and none was named.
    pub const WHICH_NETWORK: &str = "which-network";
    /// No policy waits for a confirmation.
    pub const NOTHING_PENDING: &str = "nothing-pending";
    /// The daemon is ending.
    pub const ENDING: &str = "ending";
}

/// Who the daemon is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Version of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Its run directory.
    pub run_dir: PathBuf,
    /// Its state directory.
    pub state_dir: PathBuf,
    /// Connections that the flow table was asked to hold.
    pub flows: u32,
    /// The group that may use the socket besides the owner.
    pub group: Option<String>,
    /// What it found when it started.
    pub start: Started,
}

/// What a daemon in the background says on its standard output: one line, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// It can be talked to.
    Ready(Info),
    /// It cannot start.
    Failed(Failure),
}

/// What the daemon found when it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// `loaded`, `reused` or `replaced`: where the running programs come from.
    pub programs: String,
    /// Ports whose filter was running already.
    pub filtered: Vec<String>,
    /// The generation in force when it was ready, 0 before the first policy.
    pub generation: u32,
    /// What was found wrong, and what was done about it.
    pub notices: Vec<String>,
}

/// The answer to a successful apply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// The generation now in force.
    pub generation: u32,
    /// Every port: open under this generation, or closed and why.
    pub ports: Vec<Port>,
    /// Interfaces that were removed because no network asks for them any more.
    pub removed: Vec<String>,
    /// How large the policy is.
    pub size: Size,
    /// How it was found that what was loaded is what was compiled.
    pub validation: Validation,
    /// It goes back by itself unless it is confirmed in time.
    pub pending: Option<Pending>,
    /// Warnings, for people; empty if there are none.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub rendered: String,
    /// Warnings, for programs.
    pub warnings: Vec<serde_json::Value>,
    /// Rules of others on this host that stand in the way of what the policy allows.
    #[serde(default)]
    pub foreign: Vec<Foreign>,
}

/// How it was found that what was loaded is what was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    /// Packets that the loaded program was asked about.
    pub packets: usize,
    /// How long it took to read everything back and compare it, microseconds.
    pub read_us: u64,
    /// How long all of it took, microseconds.
    pub total_us: u64,
}

impl From<switch::Validation> for Validation {
    fn from(v: switch::Validation) -> Self {
        Self { packets: v.packets, read_us: v.read_us, total_us: v.total_us }
    }
}

/// A policy that waits for its confirmation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Until when, seconds since 1970.
    pub until_unix_s: u64,
    /// How long that is from now, milliseconds.
    pub left_ms: u64,
    /// The files of the policy that comes back otherwise; `None`: everything is closed then.
    pub before: Option<Vec<String>>,
}

/// The answer to a successful rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// The generation now in force.
    pub generation: u32,
    /// The files of its policy; `None`: everything is closed.
    pub files: Option<Vec<String>>,
}

/// A policy that was not applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// Is the file well formed, and only an invariant violated?
    pub violated: bool,
    /// The diagnostics for people.
    pub rendered: String,
    /// The diagnostics for programs.
    pub diagnostics: Vec<serde_json::Value>,
}

/// How large a compiled policy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Networks.
    pub networks: usize,
    /// Guests.
    pub guests: usize,
    /// Rules, those of the networks' kinds included.
    pub rules: usize,
    /// Identity classes.
    pub classes: u32,
    /// Service classes.
    pub services: u32,
}

impl Size {
    /// Of an image.
    pub fn of(image: &portcullis_image::Image) -> Self {
        let mut guests: Vec<&str> = image.nics.iter().map(|nic| nic.guest.as_str()).collect();
        guests.sort_unstable();
        guests.dedup();
        Self {
            networks: image.networks.len(),
            guests: guests.len(),
            rules: image.rules.len(),
            classes: image.classes,
            services: image.services,
        }
    }
}

/// What `down` removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Interfaces deleted.
    pub interfaces: Vec<String>,
    /// Uplinks released; they are as they were before.
    pub uplinks: Vec<String>,
    /// Pinned kernel objects removed.
    pub pins: usize,
}

impl From<switch::RemoveReport> for Removed {
    fn from(r: switch::RemoveReport) -> Self {
        Self { interfaces: r.interfaces, uplinks: r.uplinks, pins: r.pins }
    }
}

/// A port as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Interface name on the switch's side.
    pub name: String,
    /// `tap`, `veth`, `uplink` or `host`.
    pub kind: String,
    /// The guest behind it.
    pub guest: Option<String>,
    /// Its networks: one, or those of an uplink.
    pub networks: Vec<String>,
    /// The MAC that it may use.
    pub mac: Option<String>,
    /// The addresses that it may use.
    pub addresses: Vec<IpAddr>,
    /// Interface index; 0 where the interface does not exist.
    pub ifindex: u32,
    /// Does it carry the generation in force?
    pub open: bool,
    /// Why it does not, for people.
    pub closed: Option<String>,
    /// Why it does not, for programs: an object with the word `why` and what belongs to it.
    pub closed_by: Option<serde_json::Value>,
    /// Has its tap the fast lane (XDP) at the moment?
    #[serde(default)]
    pub lane: bool,
    /// The XDP program of an uplink.
    #[serde(default)]
    pub xdp: Option<Box<Gate>>,
    /// The socket of a vhost-user port, and who is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost: Option<Box<switch::VhostStatus>>,
    /// What has passed it since its interface was made; only `status` tells.
    pub traffic: Option<Traffic>,
    /// What has passed a trunk's interface by networks that it carries no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<Box<Traffic>>,
    /// What it has of the flow table; only `status` tells.
    pub connections: Option<Connections>,
}

impl From<switch::PortStatus> for Port {
    fn from(p: switch::PortStatus) -> Self {
        Self {
            name: p.name,
            kind: p.kind.to_owned(),
            guest: p.guest,
            networks: p.networks,
            mac: p.mac,
            addresses: p.addresses,
            ifindex: p.ifindex,
            open: p.open,
            closed: p.closed.as_ref().map(ToString::to_string),
            closed_by: p.closed.as_ref().and_then(|c| serde_json::to_value(c).ok()),
            lane: p.lane,
            xdp: p.gate.map(|gate| Box::new(gate.into())),
            vhost: p.vhost.map(Box::new),
            traffic: p.traffic.map(Into::into),
            past: p.past.map(|past| Box::new(past.into())),
            connections: p.connections.map(Into::into),
        }
    }
}

/// A network as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Name in the policy.
    pub name: String,
    /// VLAN id.
    pub vlan: u16,
    /// The host's own interface in it.
    pub host_leg: Option<String>,
    /// The uplink that carries it.
    pub uplink: Option<String>,
    /// Its subnets, as `address/length`.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// Addresses of its gateway.
    pub gateway: Vec<IpAddr>,
    /// Open guest ports in it.
    pub ports: usize,
    /// `routed` or `masquerade`: how it reaches the outside, where the policy says so.
    #[serde(default)]
    pub outside: Option<String>,
}

/// Ports of the host that lead to a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Name in the policy.
    pub name: String,
    /// At which address; `None`: at all of the host's.
    pub at: Option<IpAddr>,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
    /// The guest's address.
    pub to: IpAddr,
    /// The guest's port; `None`: the one that was asked for.
    pub port: Option<u16>,
}

/// A NIC that the policy declares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Its guest.
    pub guest: String,
    /// Its network.
    pub network: String,
    /// Its MAC, also where the policy says `auto`.
    pub mac: String,
    /// Its addresses, also where the policy says `auto`.
    pub addresses: Vec<IpAddr>,
    /// The port that carries it.
    pub port: Option<String>,
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// The word.
    pub reason: String,
    /// One sentence.
    pub explanation: String,
    /// Packets since the switch was started first.
    pub packets: u64,
}

/// New connections that one rule decided in this generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleHits {
    /// Its name; `default` where no rule spoke.
    pub rule: String,
    /// Its file.
    pub file: Option<String>,
    /// Its line.
    pub line: Option<u32>,
    /// Did it allow them?
    pub allow: bool,
    /// Did it only observe? Then this is what it would have allowed or denied.
    pub observe: bool,
    /// Connections.
    pub hits: u64,
}

/// The flow table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// Connections in it.
    pub used: u64,
    /// Connections that fit.
    pub capacity: u32,
}

/// A loaded program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// The kernel's number for it.
    pub id: u32,
    /// The kernel's hash over its instructions.
    pub tag: String,
    /// Instructions that the verifier walked through.
    pub verified_instructions: Option<u32>,
}

/// The applied policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Names of its files.
    pub files: Vec<String>,
    /// When it was applied, seconds since 1970.
    pub applied_unix_s: u64,
    /// How large it is.
    pub size: Size,
}

/// A rule that ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleEnd {
    /// Its name.
    pub rule: String,
    /// Its file.
    pub file: String,
    /// Its line.
    pub line: u32,
    /// Does it allow?
    pub allow: bool,
    /// When it ends, seconds since 1970.
    pub until_unix_s: u64,
    /// Has it ended?
    pub ended: bool,
}

/// Everything `status` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Who tells it.
    pub daemon: Info,
    /// The generation in force, 0 before the first policy.
    pub generation: u32,
    /// The policy of that generation.
    pub policy: Option<Policy>,
    /// It waits for a confirmation.
    pub pending: Option<Pending>,
    /// Its rules that end, or have ended.
    pub ends: Vec<RuleEnd>,
    /// `tcx` or `clsact`: how the programs are attached.
    pub hook: String,
    /// Networks of the policy.
    pub networks: Vec<Network>,
    /// Addresses that several guests may have.
    #[serde(default)]
    pub shared: Vec<Shared>,
    /// Ports, host legs last.
    pub ports: Vec<Port>,
    /// The policy's guests.
    pub guests: Vec<Nic>,
    /// What has passed all ports, those that are gone included.
    pub traffic: Traffic,
    /// Drops by reason, those that happened.
    pub drops: Vec<Drops>,
    /// Rules that decided something.
    pub rules: Vec<RuleHits>,
    /// What was told of logged rules.
    pub events: EventCounts,
    /// The flow table.
    pub flows: Flows,
    /// The programs.
    pub programs: Vec<Program>,
    /// Ports of the host that lead to guests.
    #[serde(default)]
    pub published: Vec<Published>,
    /// Rules of others on this host that stand in the way of what the policy allows.
    #[serde(default)]
    pub foreign: Vec<Foreign>,
    /// What is not as it should be, and why.
    pub problems: Vec<String>,
}

/// The word that serde gives a plain enum.
pub fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}
