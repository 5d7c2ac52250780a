//! All interfaces with their addresses, as they were at one moment: two questions to the kernel,
//! where one for each interface would cost milliseconds at every change of a policy.

use std::collections::BTreeMap;

use crate::{
    address::{self, Owned, Prefixed},
    error::Result,
    link::{self, Link},
};

/// What the kernel showed.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    links: BTreeMap<String, Link>,
    addresses: Vec<Owned>,
}

impl Interfaces {
    /// Those of the calling thread's network namespace.
    pub fn look() -> Result<Self> {
        let links = link::list()?.into_iter().map(|link| (link.name.clone(), link)).collect();
        Ok(Self { links, addresses: address::list()? })
    }

    /// The one with this name.
    pub fn get(&self, name: &str) -> Option<&Link> {
        self.links.get(name)
    }

    /// All, by name.
    pub fn all(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The addresses of one, by its index.
    pub fn addresses_of(&self, index: u32) -> impl Iterator<Item = Prefixed> + '_ {
        self.addresses.iter().filter(move |o| o.interface == index).map(|o| o.address)
    }
}
