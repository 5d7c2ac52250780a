//! Rules of `iptables-save` and `ip6tables-save`, as they are written.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::program::Place;

/// The table `filter` of one file.
#[derive(Clone, Debug)]
pub struct Ruleset {
    /// Is it about IPv4 (or IPv6)?
    pub v4: bool,
    /// Its chains.
    pub chains: Vec<Chain>,
}

impl Ruleset {
    /// Index of a chain.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.chains.iter().position(|c| c.name == name)
    }
}

/// A chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where it is declared.
    pub place: Place,
    /// How.
    pub text: String,
    /// Does it accept what no rule decides? Only built-in chains say so.
    pub accepts: Option<bool>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// A rule: if all conditions hold, the target.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it stands.
    pub place: Place,
    /// As it is written.
    pub text: String,
    /// What must hold.
    pub conditions: Vec<Condition>,
    /// What then happens.
    pub target: Target,
    /// Its comment.
    pub comment: Option<String>,
}

/// Something about a packet that opens a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Must it not hold?
    pub not: bool,
    /// What.
    pub test: Test,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// `-s`.
    Source(Vec<IpNet>),
    /// `-d`.
    Destination(Vec<IpNet>),
    /// `--src-range`.
    SourceRange(IpAddr, IpAddr),
    /// `--dst-range`.
    DestinationRange(IpAddr, IpAddr),
    /// `-i`.
    In(String),
    /// `-o`.
    Out(String),
    /// `-p`, by number.
    Protocol(u8),
    /// `--sport`, `--sports`.
    SourcePorts(Vec<(u16, u16)>),
    /// `--dport`, `--dports`.
    DestinationPorts(Vec<(u16, u16)>),
    /// `--ports`: either of them.
    EitherPorts(Vec<(u16, u16)>),
    /// `--icmp-type`, `--icmpv6-type`: type and code.
    Icmp(Option<u8>, Option<u8>),
    /// `--src-type LOCAL`.
    SourceIsLocal,
    /// `--dst-type LOCAL`.
    DestinationIsLocal,
    /// Holds for every packet that opens a connection, or for none: TCP flags, kinds of
    /// addresses.
    Opening(bool),
    /// `--ctstate`: does it hold for packets that open a connection, and for some of known ones?
    State {
        /// Of new ones.
        new: bool,
        /// Of known ones.
        known: bool,
    },
    /// Something that has no equal: as it is written, and what the user can do.
    Unknown(String, Option<String>),
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `-j ACCEPT`.
    Accept,
    /// `-j DROP`, and all that also ends the packet's way.
    Drop,
    /// `-j REJECT`.
    Reject,
    /// `-j LOG` and its like.
    Log,
    /// `-j RETURN`.
    Return,
    /// `-j CHAIN`, by index.
    Jump(usize),
    /// `-g CHAIN`, by index.
    Goto(usize),
    /// No target, or one that decides nothing.
    Nothing,
}
