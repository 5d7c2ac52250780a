//! What the switch tells about itself. Everything here is observed, not desired.

mod closed;
mod event;
mod gate;
mod port;
mod report;
mod traffic;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use closed::Closed;
pub use event::{Event, EventCounts, Seen};
pub use gate::{GateMode, GateStatus, NoGate};
pub use port::{Direct, PortConnections, PortStatus, VhostStatus};
pub use report::{Installed, Notice, Origin, RemoveReport, StartReport, SweepReport, Validation};
pub use traffic::{Amount, Traffic};

/// How the programs are attached to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// A tcx link (kernel 6.6 and later), pinned.
    Tcx,
    /// A direct-action filter of the clsact qdisc.
    Clsact,
}

/// A network as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworkStatus {
    /// Name in the policy.
    pub name: String,
    /// VLAN id.
    pub vlan: u16,
    /// The host's own interface in it.
    pub host_leg: Option<String>,
    /// The uplink that carries it.
    pub uplink: Option<String>,
    /// Its subnets, as `address/length`.
    pub subnets: Vec<String>,
    /// Addresses of its gateway.
    pub gateway: Vec<IpAddr>,
    /// Open guest ports in it.
    pub ports: usize,
}

/// Addresses that several guests may have, and who has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedStatus {
    /// Name in the policy.
    pub name: String,
    /// Their network.
    pub network: String,
    /// Their MAC, also where the policy says nothing of it.
    pub mac: String,
    /// The addresses, also where the policy says `auto`.
    pub addresses: Vec<IpAddr>,
    /// The guests that may have them.
    pub by: Vec<String>,
    /// The guest that announced them last, if it is plugged in here.
    pub holder: Option<String>,
}

/// Packets dropped for one reason, since the switch was started first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// The word.
    pub reason: &'static str,
    /// One sentence.
    pub explanation: &'static str,
    /// Packets.
    pub packets: u64,
}

/// New connections that one rule decided in this generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleHits {
    /// Name of the rule; `default` where no rule spoke.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FlowStatus {
    /// Connections in it.
    pub used: u64,
    /// Connections that fit.
    pub capacity: u32,
}

/// A running connection, as it was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// Who opened it.
    pub src: IpAddr,
    /// To whom.
    pub dst: IpAddr,
    /// IP protocol.
    pub protocol: u8,
    /// Source port; 0 where the protocol has none.
    pub sport: u16,
    /// Destination port; 0 where the protocol has none.
    pub dport: u16,
    /// The network that its link-local addresses belong to.
    pub network: Option<String>,
    /// `opening`, `open` or `closing`.
    pub state: &'static str,
    /// How long since its last packet, milliseconds.
    pub idle_ms: u64,
    /// The rule that allowed it, where that was asked in this generation.
    pub rule: Option<String>,
}

/// A loaded program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramStatus {
    /// Its name in the object.
    pub name: &'static str,
    /// The kernel's number for it.
    pub id: u32,
    /// The kernel's hash over its instructions.
    pub tag: String,
    /// Instructions that the verifier walked through; `None` before kernel 5.16.
    pub verified_instructions: Option<u32>,
}

/// Everything that [`Switch::status`](crate::Switch::status) tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SwitchStatus {
    /// The generation in force, 0 before the first policy.
    pub generation: u32,
    /// How the programs are attached.
    pub hook: Hook,
    /// Networks of the policy.
    pub networks: Vec<NetworkStatus>,
    /// Addresses that several guests may have.
    pub shared: Vec<SharedStatus>,
    /// Ports, host legs last.
    pub ports: Vec<PortStatus>,
    /// What has passed all ports, those that are gone included.
    pub traffic: Traffic,
    /// Drops by reason, those that happened.
    pub drops: Vec<Drops>,
    /// Rules that decided something.
    pub rules: Vec<RuleHits>,
    /// What was told about new connections.
    pub events: EventCounts,
    /// The flow table.
    pub flows: FlowStatus,
    /// The programs.
    pub programs: Vec<ProgramStatus>,
}
