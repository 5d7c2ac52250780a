//! What a person asks for: where the switch lives, and which ports it shall have.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where one switch keeps its things and how large they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Directory of this switch; its own bpffs is mounted at `<run_dir>/bpf`.
    pub run_dir: PathBuf,
    /// Connections that the flow table can hold.
    pub flows: u32,
    /// Name of this switch: the alias `portcullis:<instance>` marks every interface that it made.
    pub instance: String,
    /// Group whose members may open the switch's taps; without one they are its user's.
    pub group: Option<u32>,
}

impl Config {
    /// A switch that keeps its things in `run_dir`, with the usual sizes.
    pub fn new(run_dir: impl Into<PathBuf>) -> Self {
        Self { run_dir: run_dir.into(), flows: 262_144, instance: "default".into(), group: None }
    }
}

/// One port as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// Interface name on the switch's side, 1..15 bytes.
    pub name: String,
    /// What kind of port, and what only that kind has.
    pub kind: PortKind,
    /// The guest that sits behind it; `None` for an uplink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<String>,
    /// The guest's network, where the guest has several NICs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// Whose a file is, by number; where nothing is said, the daemon's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "owner")]
    pub user: Option<u32>,
    /// The group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
}

/// Kinds of ports that can be attached. (The host's legs follow from the networks.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum PortKind {
    /// A tap that a virtual machine monitor opens by name.
    Tap {
        /// Queues that may be opened; 1 makes a single-queue tap.
        queues: u16,
    },
    /// A socket for the front end of a virtual machine monitor, whose rings the engine serves. To the
    /// kernel's half it is a tap.
    VhostUser {
        /// User and group whose the socket is.
        #[serde(flatten)]
        owner: Owner,
    },
    /// A veth pair whose other end goes into a network namespace.
    Veth {
        /// Path of the namespace (`/run/netns/NAME`, `/proc/PID/ns/net`); `None`: the switch's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<PathBuf>,
        /// Name of the other end.
        peer: String,
        /// Give the other end the guest's addresses and routes, and bring it up.
        configure: bool,
    },
    /// A physical-like NIC that exists already.
    Uplink {
        /// Networks whose frames carry their VLAN tag there.
        #[serde(default)]
        tagged: Vec<String>,
        /// The network of untagged frames.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        untagged: Option<String>,
        /// Its gate.
        #[serde(default)]
        xdp: Gate,
    },
    /// An interface of somebody else that shares a bridge with a port, and that no policy knows:
    /// never open.
    Stranger {
        /// The bridge.
        bridge: String,
    },
}

/// Whether an uplink gets a gate: an XDP program that drops what can never be allowed before there
/// is a packet buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// In the driver of hardware; none in front of others, whose large frames it would cut or copy.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// In the kernel, behind the driver.
    Generic,
    /// None.
    Off,
}

impl PortKind {
    /// The word that `status` shows.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Tap { .. } => "tap",
            Self::VhostUser { .. } => "vhost-user",
            Self::Veth { .. } => "veth",
            Self::Uplink { .. } => "uplink",
            Self::Stranger { .. } => "stranger",
        }
    }

    /// Is it a tap?
    pub const fn is_tap(&self) -> bool {
        matches!(self, Self::Tap { .. })
    }

    /// Did the switch make the interface (and so deletes it)?
    pub const fn is_ours(&self) -> bool {
        !matches!(self, Self::Uplink { .. } | Self::Stranger { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_survives_json() {
        let spec = PortSpec {
            name: "vm1".into(),
            kind: PortKind::Veth { netns: None, peer: "eth0".into(), configure: true },
            guest: Some("web1".into()),
            network: None,
        };
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<PortSpec>(&text).unwrap(), spec);
        assert!(text.contains(r#""type":"veth""#), "{text}");
        let owner = Owner { user: Some(64055), group: None };
        for owner in [Owner::default(), owner] {
            let kind = PortKind::VhostUser { owner };
            let text = serde_json::to_string(&kind).unwrap();
            assert_eq!(serde_json::from_str::<PortKind>(&text).unwrap(), kind, "{text}");
        }
        let before: PortKind = serde_json::from_str(r#"{"type":"vhost_user"}"#).unwrap();
        assert_eq!(before, PortKind::VhostUser { owner: Owner::default() });
    }
}
