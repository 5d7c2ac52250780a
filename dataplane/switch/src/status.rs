//! What the switch tells about itself. Everything here is observed, not desired.

use std::{collections::BTreeMap, fmt, net::IpAddr, ops::Add, path::PathBuf};

use serde::{Deserialize, Serialize};

/// How the programs are attached to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// A tcx link (kernel 6.6 and later), pinned.
    Tcx,
    /// A direct-action filter of the clsact qdisc.
    Clsact,
}

/// Where the programs that run now come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// There were none: loaded now.
    Loaded,
    /// They were running already, from the same object: left untouched.
    Reused,
    /// Others were running: these were loaded and took over at every port.
    Replaced,
}

/// What [`Switch::start`](crate::Switch::start) found and did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartReport {
    /// Where the programs come from.
    pub programs: Origin,
    /// How they are attached.
    pub hook: Hook,
    /// The generation in force, 0 before the first policy.
    pub generation: u32,
    /// Ports (and host legs) whose filter was running already.
    pub filtered: Vec<String>,
    /// What was found wrong, and what was done about it.
    pub notices: Vec<Notice>,
}

/// Something found at start that a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "notice")]
pub enum Notice {
    /// The flow table keeps the size that it was made with.
    FlowTableSize {
        /// Entries that it has.
        pinned: u32,
        /// Entries that were asked for.
        wanted: u32,
    },
    /// Programs whose loading was cut short were removed.
    HalfLoaded,
    /// A filter stood on an interface that is gone; its pin was removed.
    StaleLink {
        /// The interface.
        port: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FlowTableSize { pinned, wanted } => write!(
                f,
                "the running flow table holds {pinned} connections, not {wanted}: its size changes \
                 with the next `down` and `up`"
            ),
            Self::HalfLoaded => f.write_str("an interrupted load was cleaned up"),
            Self::StaleLink { port } => {
                write!(f, "the interface {port} is gone; its filter's pin was removed")
            }
        }
    }
}

/// Why a port is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Closed {
    /// No policy was applied yet.
    NoPolicy,
    /// The policy does not know the guest.
    UnknownGuest {
        /// The guest.
        guest: String,
    },
    /// The port was attached without a guest.
    NoGuest,
    /// The guest has no NIC in that network.
    NoSuchNic {
        /// The guest.
        guest: String,
        /// The network that was asked for.
        network: String,
    },
    /// The guest has several NICs and the port names no network.
    WhichNic {
        /// The guest.
        guest: String,
        /// Networks of its NICs.
        networks: Vec<String>,
    },
    /// Another port carries that NIC already.
    NicTaken {
        /// The other port.
        port: String,
    },
    /// The policy does not know a network of the uplink.
    UnknownNetwork {
        /// The network.
        network: String,
    },
    /// Another uplink, or the same one twice, carries that network already.
    NetworkTaken {
        /// The network.
        network: String,
        /// The uplink that has it.
        port: String,
    },
    /// The uplink was attached without any network.
    NoNetwork,
    /// The network has as many ports as fit.
    NetworkFull {
        /// The network.
        network: String,
    },
    /// The table has no place for one of the networks of a trunk.
    NoSubport,
    /// The interface index falls on that of another port.
    IndexTaken {
        /// The other port.
        port: String,
    },
    /// Nobody declared what is behind it, and it shares a bridge with a port.
    Stranger {
        /// The bridge.
        bridge: String,
    },
    /// The interface was there and is not any more.
    Gone,
    /// The interface could not be made or taken over.
    Failed {
        /// The error, whole.
        error: String,
    },
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPolicy => f.write_str("no policy applied yet"),
            Self::UnknownGuest { guest } => write!(f, "the policy knows no guest {guest}"),
            Self::NoGuest => f.write_str("attached without a guest"),
            Self::NoSuchNic { guest, network } => {
                write!(f, "the policy gives {guest} no NIC in network {network}")
            }
            Self::WhichNic { guest, networks } => {
                write!(f, "{guest} has NICs in {}: attach with --network", networks.join(", "))
            }
            Self::NicTaken { port } => write!(f, "port {port} carries this NIC already"),
            Self::UnknownNetwork { network } => write!(f, "the policy knows no network {network}"),
            Self::NetworkTaken { network, port } => {
                write!(f, "uplink {port} carries network {network} already")
            }
            Self::NoNetwork => f.write_str("attached without a network"),
            Self::NetworkFull { network } => write!(f, "network {network} has no room for a port"),
            Self::NoSubport => f.write_str("the switch has no room for the networks of the trunk"),
            Self::IndexTaken { port } => {
                write!(f, "its interface index collides with that of port {port}")
            }
            Self::Stranger { bridge } => {
                write!(f, "no policy knows it, and it shares the bridge {bridge} with a port")
            }
            Self::Gone => {
                f.write_str("its interface is gone; the port opens again when it is back")
            }
            Self::Failed { error } => f.write_str(error),
        }
    }
}

/// A port as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortStatus {
    /// Interface name on the switch's side; of a subport with `:` and the network behind it.
    pub name: String,
    /// `tap`, `veth`, `uplink`, `host` or `stranger`; `subport` for a tagged network of the trunk before it.
    pub kind: &'static str,
    /// The guest behind it.
    pub guest: Option<String>,
    /// Its networks: one, or those of an uplink.
    pub networks: Vec<String>,
    /// The MAC that it may use.
    pub mac: Option<String>,
    /// The addresses that it may use.
    pub addresses: Vec<IpAddr>,
    /// Interface index, or the number of a subport; 0 where the interface does not exist.
    pub ifindex: u32,
    /// Does it carry the generation in force?
    pub open: bool,
    /// Why it does not.
    pub closed: Option<Closed>,
    /// Has its tap the fast lane (XDP) at the moment?
    pub lane: bool,
    /// The gate (XDP) of an uplink.
    pub gate: Option<GateStatus>,
    /// The other end of a vhost-user port; only [`Switch::status`](crate::Switch::status) tells.
    pub vhost: Option<VhostStatus>,
    /// What has passed it; only [`Switch::status`](crate::Switch::status) tells.
    pub traffic: Option<Traffic>,
    /// What has passed a trunk's interface by networks that it carries no more; only
    /// [`Switch::status`](crate::Switch::status) tells.
    pub past: Option<Traffic>,
    /// What it has of the flow table; only [`Switch::status`](crate::Switch::status) tells.
    pub connections: Option<PortConnections>,
}

/// The end of a vhost-user port that its guest's monitor connects to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VhostStatus {
    /// The socket.
    pub socket: PathBuf,
    /// Does the engine serve it at the moment?
    pub served: bool,
    /// Is a front end connected, and has said what it wants?
    pub connected: bool,
    /// What it has negotiated, by name.
    pub features: Vec<String>,
    /// The queue that was stopped because its driver broke the rules, and how.
    pub stopped: Option<String>,
    /// Frames for which the guest had no buffers.
    pub no_room: u64,
    /// What the guest has sent and what was no frame.
    pub malformed: u64,
    /// Of what has passed the port, what went straight from one guest's memory to another's. The rest
    /// passed its tap.
    pub direct: Direct,
}

/// What has passed a port without the kernel's half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direct {
    /// Packets from the guest.
    pub in_packets: u64,
    /// Their bytes.
    pub in_bytes: u64,
    /// Packets to the guest.
    pub out_packets: u64,
    /// Their bytes.
    pub out_bytes: u64,
}

/// The gate of an uplink, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GateStatus {
    /// How it runs.
    pub mode: Option<GateMode>,
    /// Why it does not.
    pub none: Option<NoGate>,
    /// May the driver hide VLAN tags from it? Then it leaves what looks untagged to the filter where
    /// the uplink has tagged networks.
    pub hides_tags: bool,
    /// Frames that it has dropped; they count among the port's [`Traffic`], too.
    pub dropped: u64,
    /// Datagrams of known connections that it has sent straight to a guest; they count there, too.
    pub sent: u64,
}

/// How a gate runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GateMode {
    /// In the driver, before there is a packet buffer.
    Native,
    /// In the kernel, behind the driver.
    Generic,
}

/// Why an uplink has no gate. Its filter drops what the gate would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum NoGate {
    /// It was attached so.
    Off,
    /// The driver takes frames that are still to be segmented, which a gate would cut or copy.
    Segments {
        /// The driver.
        driver: String,
    },
    /// The port has not been opened.
    Closed,
    /// The kernel or the driver said no.
    Refused {
        /// The error, whole.
        error: String,
    },
}

impl fmt::Display for NoGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Segments { driver } => {
                write!(
                    f,
                    "{driver} takes large frames, which it would cut; --xdp native to have it"
                )
            }
            Self::Closed => f.write_str("the port has not been opened"),
            Self::Refused { error } => f.write_str(error),
        }
    }
}

/// Connections that a port has opened, and how many it may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortConnections {
    /// Connections in the flow table.
    pub flows: u64,
    /// Of them, TCP connections that are not established.
    pub half_open: u64,
    /// Most that `flows` may be.
    pub flows_max: Option<u32>,
    /// Most that `half_open` may be.
    pub half_open_max: Option<u32>,
}

/// What has passed a port since its interface was made, or all ports since the switch was started
/// first. Packets are frames as the kernel hands them over, one still to be segmented counts once;
/// bytes begin with the Ethernet header. Of what came in every packet is one of `forwarded`,
/// `flooded`, `answered` and `dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Packets that came in here.
    pub in_packets: u64,
    /// Their bytes.
    pub in_bytes: u64,
    /// Packets that left here: forwarded ones, copies of broadcasts, answers of the switch.
    pub out_packets: u64,
    /// Their bytes.
    pub out_bytes: u64,
    /// Of those that came in, forwarded to another port.
    pub forwarded: u64,
    /// Of those that came in, copied to one port or more.
    pub flooded: u64,
    /// Of those that came in, answered by the switch.
    pub answered: u64,
    /// Of those that came in, dropped.
    pub dropped: u64,
    /// Of those forwarded: to guests of other networks here.
    pub in_routed: Amount,
    /// Of those that left: from guests of other networks here.
    pub out_routed: Amount,
    /// Of those forwarded: to the host, to what is behind it, or by an uplink.
    pub in_outside: Amount,
    /// Of those that left: from there.
    pub out_outside: Amount,
    /// Of those dropped, how many for which reason.
    pub reasons: BTreeMap<&'static str, u64>,
}

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }
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

/// What became of a new connection, or would have become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It was allowed.
    Allowed,
    /// It was denied.
    Denied,
    /// A rule that only observes would have allowed it.
    WouldAllow,
    /// A rule that only observes would have denied it.
    WouldDeny,
}

/// A new connection that a rule wants to be told about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When, milliseconds since 1970.
    pub unix_ms: u64,
    /// The generation that judged.
    pub generation: u32,
    /// What became of it.
    pub seen: Seen,
    /// The word of the reason for which it was dropped.
    pub reason: Option<&'static str>,
    /// Name of the rule; `default` where no rule spoke.
    pub rule: String,
    /// Its file.
    pub file: Option<String>,
    /// Its line.
    pub line: Option<u32>,
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// IP protocol; of ARP its EtherType, 2054.
    pub protocol: u16,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
    /// ICMP type and code.
    pub icmp: Option<[u8; 2]>,
    /// The guest that has the source's address.
    pub from_guest: Option<String>,
    /// The guest that has the destination's address.
    pub to_guest: Option<String>,
    /// The port that the packet came from.
    pub from_port: Option<String>,
    /// The port that it would leave by.
    pub to_port: Option<String>,
    /// The network that it came from.
    pub network: Option<String>,
    /// Bytes of the packet from the IP header on.
    pub bytes: u32,
    /// Events of the same rule that were left out before this one.
    pub suppressed: u32,
}

/// How many events there were since the process took over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EventCounts {
    /// Those that were told.
    pub told: u64,
    /// Those above the rate of their rule.
    pub suppressed: u64,
    /// Those that there was no room for.
    pub lost: u64,
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

/// What [`Switch::install`](crate::Switch::install) did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// The generation now in force.
    pub generation: u32,
    /// Every port, open under this generation or closed and why.
    pub ports: Vec<PortStatus>,
    /// Interfaces that were removed because nothing asks for them any more.
    pub removed: Vec<String>,
    /// How it was found that what was loaded is what was compiled.
    pub validation: Validation,
}

/// What a translation validation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Validation {
    /// Packets that the loaded program was asked about.
    pub packets: usize,
    /// How long it took to read everything back and compare it, microseconds.
    pub read_us: u64,
    /// How long all of it took, microseconds.
    pub total_us: u64,
}

/// What [`Switch::sweep`](crate::Switch::sweep) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SweepReport {
    /// Connections looked at.
    pub seen: u64,
    /// Idle ones removed.
    pub removed: u64,
    /// Was the end of the table reached?
    pub complete: bool,
}

/// What [`Switch::remove`](crate::Switch::remove) removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RemoveReport {
    /// Interfaces deleted.
    pub interfaces: Vec<String>,
    /// Uplinks released.
    pub uplinks: Vec<String>,
    /// Pinned objects removed.
    pub pins: usize,
}
