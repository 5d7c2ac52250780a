//! The counters of ports for whoever adds them up over everything that ends: every counter is seen
//! until it is another's, and what it said last is told.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::IterableMap;
use portcullis_pipeline::layout::PORTS;

use crate::{
    Switch,
    error::{Error, Result},
    maps::name,
    numbers::{self, Numbers},
    peer::Told,
    place::table_index,
    status::{PortStatus, Traffic},
    traffic::{self, Counted},
};

/// What has passed every port, at one moment. Counters belong to a number: the index of an interface,
/// or that of a tagged network of a trunk.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// The kernel's number of the table in which they stand: those of another one are others.
    pub table: u32,
    /// The ports, host legs last. Their traffic is what the kernel's half has counted.
    pub ports: Vec<PortStatus>,
    /// What the other half has counted of its ports, by number; `None`: it does not say.
    pub beside: Option<BTreeMap<u32, Traffic>>,
    /// Counters of numbers that are no port any more, by place.
    pub left: BTreeMap<u32, Traffic>,
    /// Those whose place another number has got since the last time, by place, in that order.
    pub retired: Vec<(u32, Traffic)>,
}

impl Counters {
    /// The place in the table of the counters of a number; at a time it belongs to one number.
    pub const fn place(number: u32) -> u32 {
        table_index(number)
    }
}

impl Switch {
    /// Reads the counters of all ports. What was retired is told once.
    pub fn counters(&mut self) -> Result<Counters> {
        let counted = Counted::read(&self.maps, &Told::default())?;
        let info = self.maps.traffic.map().info().map_err(Error::map("look at", name::TRAFFIC))?;
        let mut ports = self.port_statuses();
        for port in ports.iter_mut().filter(|p| p.ifindex != 0) {
            port.traffic = Some(counted.of(port.ifindex));
        }
        let there = ports.iter().filter(|p| p.ifindex != 0);
        let live: BTreeSet<u32> = there.map(|port| table_index(port.ifindex)).collect();
        let left = counted.places().filter(|(place, _)| *place != PORTS && !live.contains(place));
        let beside = |told: Told| {
            let ports = told.ports.iter();
            ports.map(|port| (port.ifindex, traffic::of_words(&port.traffic))).collect()
        };
        Ok(Counters {
            table: info.id(),
            left: left.map(|(place, traffic)| (place, traffic.clone())).collect(),
            ports,
            beside: self.hear().map(beside),
            retired: std::mem::take(&mut self.retired),
        })
    }

    /// A new interface has no past: what stood at its place belonged to one that is gone.
    pub(crate) fn retire(&mut self, number: u32) -> Result<()> {
        let past = traffic::retire(&mut self.maps, number)?;
        self.retired.extend(past.map(|past| (table_index(number), past)));
        Ok(())
    }

    /// A subport that gets its number now has no past either.
    pub(crate) fn retire_others(&mut self, known: &Numbers, wanted: &Numbers) -> Result<()> {
        numbers::new(known, wanted).try_for_each(|number| self.retire(number))
    }
}
