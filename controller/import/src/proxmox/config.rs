//! Firewall files of Proxmox VE, as they are written.

use ipnet::IpNet;

use crate::program::Place;

/// Whose a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// `firewall/cluster.fw`.
    Cluster,
    /// `nodes/NODE/host.fw`.
    Node(String),
    /// `firewall/VMID.fw`.
    Guest(u32),
}

/// One `.fw` file.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose it is.
    pub owner: Owner,
    /// Its first line.
    pub place: Place,
    /// `[OPTIONS]`.
    pub options: Vec<Setting>,
    /// `[ALIASES]`; names are folded to lower case.
    pub aliases: Vec<Alias>,
    /// `[IPSET NAME]`; names are folded to lower case.
    pub ipsets: Vec<IpSet>,
    /// `[RULES]`.
    pub rules: Vec<Rule>,
    /// `[group NAME]`.
    pub groups: Vec<Group>,
}

/// `KEY: VALUE`.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Where.
    pub place: Place,
    /// As it is written.
    pub text: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// A name for a prefix.
#[derive(Clone, Debug)]
pub struct Alias {
    /// Where.
    pub place: Place,
    /// As it is written.
    pub text: String,
    /// Its name.
    pub name: String,
    /// Its prefix.
    pub net: IpNet,
}

/// A set: an address is in it if the longest entry that covers it is not a `!` one.
#[derive(Clone, Debug)]
pub struct IpSet {
    /// Where.
    pub place: Place,
    /// As it is written.
    pub text: String,
    /// Its name.
    pub name: String,
    /// Its entries.
    pub entries: Vec<Entry>,
}

/// An entry of a set.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where.
    pub place: Place,
    /// As it is written.
    pub text: String,
    /// Does it take out?
    pub nomatch: bool,
    /// Its prefix, or the name of an alias.
    pub what: EntryKind,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A prefix.
    Net(IpNet),
    /// An alias.
    Alias(Name),
}

/// A security group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A name and where it is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// `dc/` or `guest/`, if it is said.
    pub scope: Option<Scope>,
    /// The name, in lower case.
    pub name: String,
}

/// Where a name is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In `cluster.fw`.
    Datacenter,
    /// In the guest's own file.
    Guest,
}

/// Which way a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To whom the file is about.
    In,
    /// From there.
    Out,
    /// Through the node.
    Forward,
}

/// What a line of `[RULES]` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Accept or not, and whether a denial is answered.
    Decide {
        /// Does it accept?
        accept: bool,
        /// Does it answer?
        reject: bool,
    },
    /// The rules of a group stand here.
    Group(String),
}

/// Addresses in a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// First and last addresses.
    List(Vec<(std::net::IpAddr, std::net::IpAddr)>),
    /// `+NAME`.
    Set(Name),
    /// `NAME`.
    Alias(Name),
}

/// A line of `[RULES]` or `[group NAME]`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where.
    pub place: Place,
    /// As it is written.
    pub text: String,
    /// Is it in force (no `|` before it)?
    pub enabled: bool,
    /// Which way; a group has both.
    pub direction: Option<Direction>,
    /// What it does.
    pub action: Action,
    /// The macro before the brackets, as the table has it.
    pub macro_name: Option<&'static str>,
    /// `-i`.
    pub iface: Option<String>,
    /// `-source`.
    pub source: Option<Address>,
    /// `-dest`.
    pub dest: Option<Address>,
    /// `-p`, by number.
    pub protocol: Option<u8>,
    /// `-dport`, where it is about ports.
    pub dports: Option<Vec<(u16, u16)>>,
    /// `-sport`.
    pub sports: Option<Vec<(u16, u16)>>,
    /// `-icmp-type`.
    pub icmp: Option<(Option<u8>, Option<u8>)>,
    /// Is it logged?
    pub log: bool,
}

impl Config {
    /// The value of an option: the last one counts.
    pub fn option(&self, key: &str) -> Option<&Setting> {
        self.options.iter().rev().find(|s| s.key == key)
    }

    /// Is something switched on?
    pub fn is_on(&self, key: &str, default: bool) -> bool {
        self.option(key).map_or(default, |s| s.value == "1")
    }

    /// Does what no rule decides pass?
    pub fn accepts_by_default(&self, direction: Direction) -> bool {
        let (key, default) = match direction {
            Direction::In => ("policy_in", false),
            Direction::Out => ("policy_out", true),
            Direction::Forward => ("policy_forward", true),
        };
        self.option(key).map_or(default, |s| s.value.eq_ignore_ascii_case("ACCEPT"))
    }
}
