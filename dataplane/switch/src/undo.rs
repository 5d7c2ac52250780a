//! Going back: what a failed operation leaves is what was there before it.

use std::collections::BTreeSet;

use portcullis_pipeline::layout::{GenerationEntry, PORTS, PortEntry, port_kind};
use portcullis_ports::{Interfaces, host_leg, link};
use zerocopy::FromBytes;

use crate::{
    Switch,
    error::{Error, Result},
    legs,
    maps::name,
    place::table_index,
    spec::PortSpec,
    switch::{Port, State},
    writer::Writer,
};

/// What an operation has made so far: goes away again if it fails.
#[derive(Default)]
pub(crate) struct Made {
    pub(crate) interfaces: Vec<String>,
    pub(crate) uplinks: Vec<String>,
}

impl Made {
    /// Takes over what another one has made.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.interfaces.append(&mut other.interfaces);
        self.uplinks.append(&mut other.uplinks);
    }
}

impl Switch {
    /// After a failed install: the slot of generation `before` is in force, legs are what its
    /// policy wants them to be, and what was made is gone. Errors on the way do not matter: the
    /// one that led here does.
    pub(crate) fn undo(&mut self, before: u32, made: &Made) {
        // The tables first: nothing may point at an interface that goes.
        if self.state.generation != before {
            let _ = self.flip_back();
        }
        self.unmake(made);
        let Some(image) = &self.state.image else { return };
        let Ok(now) = Interfaces::look() else { return };
        for (_, leg) in legs::all_wanted(image) {
            let _ = host_leg::configure(&leg, &now);
        }
    }

    /// After a failed install that was in force already: as [`Switch::undo`], with the ports as
    /// they were; `settled` are those that nothing has happened to.
    pub(crate) fn undo_opened(&mut self, kept: State, settled: &BTreeSet<u32>, made: &Made) {
        let (before, generation) = (kept.generation, self.state.generation);
        self.state = State { generation, ..kept };
        self.undo(before, made);
        let Some(image) = self.state.image.clone() else { return };
        let touched = |port: &&Port| !port.numbers().all(|number| settled.contains(&number));
        let touched: Vec<Port> = self.state.ports.iter().filter(touched).cloned().collect();
        for port in touched {
            let _ = self.open(&port, &image);
        }
    }

    /// Puts the other slot, which is as it was, in force again. The number is a new one: no
    /// connection that the failed generation has judged may pass for judged by the next one.
    fn flip_back(&mut self) -> Result<()> {
        let next = self.state.generation + 1;
        let slot = next & 1;
        let entry = self.maps.generations.get(&slot, 0);
        let entry = entry.map_err(Error::map("read", name::GENERATIONS))?;
        let entry = GenerationEntry::read_from_bytes(&entry).expect("an entry of that size");
        let entry = GenerationEntry { generation: next, ..entry };
        Writer::new(&mut self.maps, next).shape(&entry)?;
        self.flip(next)?;
        self.banks.put_in_force(entry.denied);
        Ok(())
    }

    /// Undoes what a failed operation has made, as far as that goes.
    pub(crate) fn unmake(&self, made: &Made) {
        for interface in &made.interfaces {
            // The error that matters is the one that led here.
            let _ = self.give_back(interface, true);
        }
        for uplink in &made.uplinks {
            let _ = self.give_back(uplink, false);
        }
    }

    /// Is this port open in a generation, with its interface still there? Then nothing that goes
    /// wrong with it may close it. Where nobody can tell, it is, unless it never had a program.
    pub(crate) fn runs(&self, spec: &PortSpec, generation: u32) -> bool {
        let mut known = self.state.ports.iter();
        if known.any(|port| port.spec.name == spec.name && port.spec != *spec) {
            return false;
        }
        match link::find(&spec.name) {
            Ok(None) => false,
            Ok(Some(link)) => self
                .entry(link.index, generation)
                .is_none_or(|entry| entry.kind != port_kind::CLOSED && entry.ifindex == link.index),
            Err(_) => self.links.ports().is_ok_and(|ports| ports.contains(&spec.name)),
        }
    }

    /// What a generation says of an interface; `None` where the table cannot be read.
    fn entry(&self, ifindex: u32, generation: u32) -> Option<PortEntry> {
        let index = (generation & 1) * PORTS + table_index(ifindex);
        PortEntry::read_from_bytes(&self.maps.ports.get(&index, 0).ok()?).ok()
    }
}
