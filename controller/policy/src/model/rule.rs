//! Rules and invariants.

use serde::Serialize;

use super::{Service, Term};
use crate::source::Span;

/// Who decides first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Above: its deny cannot be undone below.
    Platform,
    /// Below.
    Tenant,
}

impl Tier {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Tenant => "tenant",
        }
    }
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The connection may be.
    Allow,
    /// It may not.
    Deny,
    /// The tier below decides.
    Pass,
}

impl Action {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Pass => "pass",
        }
    }
}

/// A rule about connections.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name; `rule-LINE` where it has none.
    pub name: String,
    /// Where it begins.
    pub span: Span,
    /// Its tier.
    pub tier: Tier,
    /// What it says.
    pub action: Action,
    /// Who opens the connection: any of these.
    pub from: Vec<Term>,
    /// To whom: any of these.
    pub to: Vec<Term>,
    /// For what: any of these.
    pub services: Vec<Service>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Why it is there.
    pub ticket: Option<String>,
    /// When it ends.
    pub until: Option<Until>,
    /// Does it only count and log what it would do?
    pub observe: bool,
    /// Are its connections logged?
    pub log: Option<Log>,
}

impl Rule {
    /// Has it ended?
    pub fn is_expired(&self, now_unix_s: u64) -> bool {
        self.until.as_ref().is_some_and(|u| u.at_unix_s <= now_unix_s)
    }
}

/// The end of a rule: a moment, or a duration since the rule was first in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Until {
    /// When, seconds of Unix time; from then on the rule does not count.
    pub at_unix_s: u64,
    /// Where it is written.
    pub span: Span,
    /// Of a duration: where it counts from.
    pub anchor: Option<Anchor>,
}

/// Where a duration counts from: the moment in which the rule was first in force on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The rule's name and a stable hash of what it says: what the moment is kept under, see
    /// [`crate::Moment`]. A rule that says something else begins anew.
    pub key: String,
    /// The moment, seconds of Unix time.
    pub since_unix_s: u64,
}

/// How a rule's connections are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Most events a second on each CPU; more are counted, not logged.
    pub events_per_s: u32,
}

/// What an invariant demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    /// No such connection is allowed.
    Never,
    /// No such connection is allowed by a rule that does not name both sides.
    NeverUnnamed,
    /// Every such connection is allowed.
    Always,
}

impl Demand {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::NeverUnnamed => "never unless named",
            Self::Always => "always",
        }
    }
}

/// What must hold whatever the rules say.
#[derive(Clone, Debug)]
pub struct Invariant {
    /// Its name.
    pub name: String,
    /// Where it begins.
    pub span: Span,
    /// What it demands.
    pub demand: Demand,
    /// Who opens the connection.
    pub from: Vec<Term>,
    /// To whom.
    pub to: Vec<Term>,
    /// For what.
    pub services: Vec<Service>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Why it is there.
    pub ticket: Option<String>,
}
