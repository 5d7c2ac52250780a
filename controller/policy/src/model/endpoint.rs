//! Who rules speak about.

use ipnet::IpNet;

use crate::source::Span;

/// A label and who carries it.
#[derive(Clone, Debug)]
pub struct Label {
    /// Its name.
    pub name: String,
    /// Where it is declared, else where it is first worn.
    pub span: Span,
    /// Does `labels:` declare it? Only then may nobody wear it.
    pub declared: bool,
    /// Indexes of its guests, ascending.
    pub guests: Vec<usize>,
}

/// A named set: everything in `members` that is not in `except`.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Where it is named.
    pub span: Span,
    /// What is in it.
    pub members: Vec<Term>,
    /// What is taken out again.
    pub except: Vec<Term>,
}

/// A selector: what its terms have in common, all that they have, or what they have not.
#[derive(Clone, Debug)]
pub struct Selector {
    /// Where it stands.
    pub span: Span,
    /// How the terms go together.
    pub combine: Combine,
    /// What it is made of, at least one.
    pub terms: Vec<Term>,
}

/// How the terms of a selector go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Combine {
    /// `all of`: who is in every term.
    All,
    /// `any of`: who is in some term.
    Any,
    /// `not`: who is in no term.
    Not,
}

/// An endpoint where it is used.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// Which.
    pub endpoint: Endpoint,
    /// Where it is written.
    pub span: Span,
}

/// Who a rule can speak about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// Every address.
    Any,
    /// The hypervisor: gateways, declared addresses, and every address it turns out to own.
    Host,
    /// Outside all subnets, and undeclared addresses of external networks.
    World,
    /// One guest.
    Guest(usize),
    /// The guests of one label.
    Label(usize),
    /// The members of one network: its guests' addresses there and undeclared addresses of its
    /// subnets. Its gateway belongs to the host.
    Network(usize),
    /// A set.
    Set(usize),
    /// A selector.
    Selector(usize),
    /// Every address of a prefix, whoever has it (one address is a prefix of full length).
    Prefix(IpNet),
}
