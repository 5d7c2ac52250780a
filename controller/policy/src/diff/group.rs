//! Groups of addresses and of services, as people name them.

use std::fmt;

use serde::Serialize;

use super::numbers::holds;
use crate::model::{Ports, Purpose};

/// What kind of name a group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupKind {
    /// Every address.
    Any,
    /// A network: its guests there, and its undeclared addresses.
    Network,
    /// A label.
    Label,
    /// A set.
    Set,
    /// The hypervisor.
    Host,
    /// The outside.
    World,
    /// A guest.
    Guest,
    /// The addresses of a network that nobody declares; the name is the network's.
    Undeclared,
    /// Every address of a prefix, as rules see them.
    Prefix,
    /// One address, whoever has it.
    Address,
    /// One link-local address; the name ends in `%` and its network.
    LinkLocal,
    /// The addresses that only the hypervisor knows it has.
    HostItself,
}

/// Addresses with a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Group {
    /// What the name is.
    pub kind: GroupKind,
    /// The name: as the policy has it, or an address or prefix.
    pub name: String,
    /// What of it is not meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Group>,
}

impl Group {
    /// All of it.
    pub fn whole(kind: GroupKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into(), except: Vec::new() }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            GroupKind::Undeclared => write!(f, "undeclared in {}", self.name)?,
            GroupKind::HostItself => f.write_str("undeclared addresses of the host")?,
            _ => f.write_str(&self.name)?,
        }
        but(f, &self.except)
    }
}

/// Services with a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Services {
    /// The name: of a service, or its numbers.
    pub name: String,
    /// What the name means.
    #[serde(skip)]
    pub ports: Vec<Ports>,
    /// What of it is not meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Services>,
}

impl Services {
    /// Is a connection meant?
    pub fn cover(&self, purpose: Purpose) -> bool {
        self.ports.iter().any(|p| holds(p, purpose))
            && !self.except.iter().any(|e| e.cover(purpose))
    }
}

impl fmt::Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        but(f, &self.except)
    }
}

fn but<T: fmt::Display>(f: &mut fmt::Formatter<'_>, except: &[T]) -> fmt::Result {
    match except {
        [] => Ok(()),
        [one] => write!(f, " except {one}"),
        _ => write!(f, " except ({})", list(except)),
    }
}

/// `a, b, c`.
pub fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
