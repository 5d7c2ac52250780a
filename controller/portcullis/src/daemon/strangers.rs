//! Interfaces that meet the switch's ports behind its back. Those in a bridge with an uplink get the
//! filter, which passes nothing of theirs; ports that somebody has put into a bridge are taken out.

use std::collections::BTreeSet;

use portcullis_store::Store;
use portcullis_switch::{PortKind, PortSpec};
use vmm_attach::strangers::{self, Strangers};

use super::{
    actor::{Actor, Topic},
    failure::chain,
    log::log,
};
use crate::dataplane::{DataPlane, Launcher};

impl<L: Launcher, S: Store> Actor<L, S> {
    /// Looks whether there are others, if anything has changed since the last look.
    pub(super) fn watch_for_strangers(&mut self) {
        let changed = self.links.as_mut().is_none_or(vmm_attach::LinkWatch::has_changed);
        if changed || self.ports_changed {
            self.look_for_strangers();
        }
    }

    /// Before a policy is put in force at a start: who was kept out stays out.
    pub(super) fn expect_strangers(&mut self) {
        if let Ok(found) = self.find_strangers() {
            let specs = found.in_bridges.into_iter().map(|(name, bridge)| spec(name, bridge));
            self.ports.extend(specs);
        }
    }

    fn look_for_strangers(&mut self) {
        match self.find_strangers() {
            Ok(found) => {
                self.ports_changed = false;
                let told = self.deal_with(&found);
                match told.is_empty() {
                    true => drop(self.problems.remove(&Topic::Strangers)),
                    false => self.problem(Topic::Strangers, told.join("; ")),
                }
            }
            Err(error) => {
                let text = format!("the host's interfaces cannot be looked at: {}", chain(&error));
                self.problem(Topic::Strangers, text);
            }
        }
    }

    fn find_strangers(&self) -> Result<Strangers, vmm_attach::Error> {
        let names = |wanted: fn(&PortKind) -> bool| -> BTreeSet<&str> {
            let ports = self.ports.iter().filter(|port| wanted(&port.kind));
            ports.map(|port| port.name.as_str()).collect()
        };
        let uplinks = names(|kind| matches!(kind, PortKind::Uplink { .. }));
        strangers::look(&names(PortKind::is_ours), &uplinks)
    }

    /// Keeps them out; what there is to tell.
    fn deal_with(&mut self, found: &Strangers) -> Vec<String> {
        let mut told = Vec::new();
        for (port, bridge) in &found.misplaced {
            match strangers::take_out(port) {
                Ok(()) => log(format!("port {port}: taken out of {bridge}, it is a port already")),
                Err(error) => told.push(format!(
                    "port {port} is in {bridge}, past its filter, and cannot be taken out: {}",
                    chain(&error)
                )),
            }
        }
        let known = self.ports.iter().filter(|port| is_stranger(port));
        let gone: Vec<String> = known
            .filter(|port| !found.in_bridges.contains_key(&port.name))
            .map(|port| port.name.clone())
            .collect();
        for name in gone {
            self.let_go(&name);
        }
        for (name, bridge) in &found.in_bridges {
            told.push(match self.keep_out(name, bridge) {
                Ok(()) => format!(
                    "{name} shares {bridge} with an uplink, and no policy knows it: its frames are \
                     dropped; `portcullis discover` says what to do"
                ),
                Err(error) => format!(
                    "{name} shares {bridge} with an uplink, and its frames cannot be stopped: {}",
                    chain(&error)
                ),
            });
        }
        let above = found.on_uplinks.iter();
        told.extend(above.map(|(name, uplink)| {
            format!(
                "{name} stands on uplink {uplink} and sends past its filter: remove it, and give \
                 its guest a port"
            )
        }));
        told
    }

    /// Gives a stranger the filter, unless it has it.
    fn keep_out(&mut self, name: &str, bridge: &str) -> Result<(), <L::Plane as DataPlane>::Error> {
        if self.ports.iter().any(|port| port.name == name && is_stranger(port)) {
            return Ok(());
        }
        let spec = spec(name.to_owned(), bridge.to_owned());
        self.plane.attach(&spec)?;
        log(format!("{name} is kept out: it shares {bridge} with an uplink"));
        self.ports.push(spec);
        Ok(())
    }

    /// Somebody who is not there any more, or has left the bridge. What cannot be done now is done
    /// at the next change.
    fn let_go(&mut self, name: &str) {
        match self.plane.detach(name) {
            Ok(()) => {
                self.ports.retain(|port| port.name != name);
                log(format!("{name} is let go: it shares no bridge with an uplink any more"));
            }
            Err(error) => log(format!("{name} is still kept out: {}", chain(&error))),
        }
        self.waiting.forget(name);
    }
}

fn spec(name: String, bridge: String) -> PortSpec {
    PortSpec { name, kind: PortKind::Stranger { bridge }, guest: None, network: None }
}

/// Is it no port that somebody has asked for?
pub(super) fn is_stranger(port: &PortSpec) -> bool {
    matches!(port.kind, PortKind::Stranger { .. })
}
