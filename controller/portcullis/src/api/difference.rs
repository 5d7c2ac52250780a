//! What applying a policy would change.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Size;

/// What applying a policy would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The files of the policy in force; `None`: nothing is allowed yet.
    pub from: Option<Vec<String>>,
    /// Connections that become allowed and denied, for people; empty if there are none.
    pub rendered: String,
    /// The same for programs: a `portcullis_policy::Difference`.
    pub changes: serde_json::Value,
    /// How large the new policy is.
    pub size: Size,
    /// Running connections that it would cut: the first of them.
    pub cuts: Vec<Cut>,
    /// How many they are.
    pub cuts_total: u64,
    /// Warnings, for people; empty if there are none.
    pub warnings_rendered: String,
    /// Warnings, for programs.
    pub warnings: Vec<serde_json::Value>,
}

/// A running connection that a policy would cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
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
    /// The guest that opened it.
    pub from_guest: Option<String>,
    /// The guest that it goes to.
    pub to_guest: Option<String>,
    /// `opening`, `open` or `closing`.
    pub state: String,
    /// How long since its last packet, milliseconds.
    pub idle_ms: u64,
    /// The rule that allows it now.
    pub allowed_by: Option<RulePlace>,
    /// The rule that would deny it; `None`: no rule would allow it any more.
    pub denied_by: Option<RulePlace>,
}

/// A rule and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulePlace {
    /// Its name.
    pub rule: String,
    /// Its file.
    pub file: String,
    /// Its line.
    pub line: u32,
}
