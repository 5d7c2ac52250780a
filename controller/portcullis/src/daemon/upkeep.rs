//! What the daemon does by itself: keep what is in force right.

use std::{net::IpAddr, sync::Arc, time::Instant};

use portcullis_host_rules::Plan;
use portcullis_image::Image;
use portcullis_store::Store;
use portcullis_switch::{Closed, Installed, PortKind, PortSpec};

use super::{
    actor::{Actor, Topic},
    failure::{chain, host_failure, switch_failure},
    log::log,
};
use crate::{
    api::{Failure, code},
    dataplane::{DataPlane, Launcher},
    host,
    render::events as describe,
};

impl<L: Launcher, S: Store> Actor<L, S> {
    /// Without a policy to install, the ports are taken over one by one; they are closed, or
    /// keep the filter of before.
    pub(super) fn adopt_ports(&mut self) {
        for port in &self.ports {
            if let Err(error) = self.plane.attach(port) {
                self.waiting.add(&port.name, chain(&error));
            }
        }
    }

    /// A port whose interface was taken away is closed, and waits for it as one that never had
    /// any. What cannot be looked at or closed now is seen again at the next look.
    pub(super) fn miss(&mut self) {
        let lost = self.plane.lost().unwrap_or_default();
        if !lost.is_empty() {
            // With the interface its counters go.
            self.note_usage();
        }
        for name in lost {
            log(format!("port {name}: its interface is gone"));
            match self.plane.detach(&name) {
                Ok(()) => self.waiting.add(&name, Closed::Gone.to_string()),
                Err(error) => log(format!("port {name}: {}", chain(&error))),
            }
        }
    }

    /// Tries again to have the ports whose interface could not be had: at once when the namespace
    /// or the NIC has come, otherwise after a while.
    pub(super) fn revive(&mut self) {
        let ports = self.ports.iter().filter(|port| self.waiting.contains(&port.name));
        let (ports, absent): (Vec<PortSpec>, Vec<PortSpec>) = ports.cloned().partition(may_exist);
        let came = self.waiting.came(absent.into_iter().map(|port| port.name).collect());
        if !self.waiting.is_due(Instant::now()) && !came {
            return;
        }
        for port in ports {
            // The switch knows the port as failed, or does not know it.
            let _ = self.plane.detach(&port.name);
            match self.plane.attach(&port) {
                Ok(status) => {
                    self.waiting.observe(&[status]);
                    log(format!("port {} is there now", port.name));
                }
                Err(error) => self.waiting.add(&port.name, chain(&error)),
            }
        }
    }

    /// Puts an image in force, with what it wants of the host's stack: that first, because packets
    /// pass by the image whatever the stack does with them. Whole, or not at all.
    pub(super) fn install(
        &mut self,
        image: &Arc<Image>,
        outside: &Plan,
    ) -> Result<Installed, Failure> {
        let host = host::without_gateways(self.host.clone(), image);
        self.note_before(image);
        let before = self.host_rules.plan().cloned();
        self.host_rules.change(outside).map_err(|error| host_failure(&error))?;
        let installed = self.plane.install(Arc::clone(image), &self.ports, &host);
        let installed = match (installed, before) {
            (Ok(installed), _) => installed,
            (Err(error), before) => {
                let back = before.map_or(Ok(()), |plan| self.host_rules.change(&plan));
                self.host_rules_are(back);
                return Err(switch_failure(&error));
            }
        };
        let legs = self.host_rules.open_legs();
        self.host_rules_are(legs);
        Ok(installed)
    }

    /// What became of the host's rules where nobody waits for an answer.
    fn host_rules_are(&mut self, outcome: Result<(), portcullis_host_rules::Error>) {
        match outcome {
            Ok(()) => drop(self.problems.remove(&Topic::Outside)),
            Err(error) => {
                let text =
                    format!("the host's rules are not what they should be: {}", chain(&error));
                self.problem(Topic::Outside, text);
            }
        }
    }

    /// Uplinks come and go, and others flush tables that are not theirs.
    pub(super) fn look_after_host_rules(&mut self) {
        let outcome = self.host_rules.look_after();
        if matches!(outcome, Ok(true)) {
            log("the host's rules were put in order again");
        }
        self.host_rules_are(outcome.map(drop));
    }

    /// Writes down what was told of logged rules.
    pub(super) fn note_events(&mut self) {
        for event in self.plane.events() {
            let event = self.journal.push(event.into());
            log(describe::event(event));
        }
    }

    pub(super) fn sweep(&mut self) {
        match self.plane.sweep() {
            Ok(_) => drop(self.problems.remove(&Topic::Sweep)),
            Err(error) => {
                let text = format!("idle connections are not removed: {}", chain(&error));
                self.problem(Topic::Sweep, text);
            }
        }
    }

    /// Starts the engine of vhost-user ports again if it has died.
    pub(super) fn look_after_engine(&mut self) {
        match self.plane.look_after_engine() {
            Ok(started) => {
                if started {
                    log("the engine of vhost-user ports had ended: it was started again");
                }
                self.problems.remove(&Topic::Engine);
            }
            Err(error) => {
                let text = format!("vhost-user ports are closed: {}", chain(&error));
                self.problem(Topic::Engine, text);
            }
        }
    }

    /// Gives the taps the fast lane for which it pays.
    pub(super) fn tune(&mut self) {
        match self.plane.tune() {
            Ok(changes) => {
                for change in changes {
                    let what = if change.open { "opened" } else { "closed" };
                    log(format!("port {}: fast lane {what}", change.port));
                }
                self.problems.remove(&Topic::Tune);
            }
            Err(error) => {
                let text = format!("the fast lane of taps cannot be changed: {}", chain(&error));
                self.problem(Topic::Tune, text);
            }
        }
    }

    /// What the host owns belongs to the class `host`: a change is a new generation.
    pub(super) fn refresh_host(&mut self) {
        let Ok(now) = self.read_host() else { return };
        let Some(in_force) = &self.in_force else {
            self.host = now;
            self.problems.remove(&Topic::HostAddresses);
            return;
        };
        let image = Arc::clone(&in_force.ready.image);
        let outside = Arc::clone(&in_force.ready.outside);
        let known = host::without_gateways(self.host.clone(), &image);
        if host::without_gateways(now.clone(), &image) == known {
            self.problems.remove(&Topic::HostAddresses);
            return;
        }
        let before = std::mem::replace(&mut self.host, now);
        match self.install(&image, &outside) {
            Ok(installed) => {
                self.waiting.observe(&installed.ports);
                log(format!("the host's addresses changed: generation {}", installed.generation));
                self.problems.remove(&Topic::HostAddresses);
            }
            Err(failure) => {
                // Known again as before, so that the next look tries again.
                self.host = before;
                let text = format!(
                    "the host's addresses changed, but are not in force: {}",
                    failure.message
                );
                self.problem(Topic::HostAddresses, text);
            }
        }
    }

    /// The addresses of the host, without those that the switch gives it.
    pub(super) fn read_host(&mut self) -> Result<Vec<IpAddr>, Failure> {
        match (host::addresses(), &self.in_force) {
            (Ok(all), Some(in_force)) => Ok(host::without_gateways(all, &in_force.ready.image)),
            (Ok(all), None) => Ok(all),
            (Err(errno), _) => {
                let text = format!("the host's addresses cannot be read: {errno}");
                self.problem(Topic::HostAddresses, text.clone());
                Err(Failure::new(code::SWITCH, text))
            }
        }
    }
}

/// Is there what the port needs? Only then is it worth trying.
fn may_exist(port: &PortSpec) -> bool {
    match &port.kind {
        PortKind::Veth { netns: Some(path), .. } => path.exists(),
        PortKind::Uplink { .. } | PortKind::Stranger { .. } => {
            host::interfaces().is_ok_and(|interfaces| interfaces.contains(&port.name))
        }
        PortKind::Veth { netns: None, .. } | PortKind::Tap { .. } | PortKind::VhostUser { .. } => {
            true
        }
    }
}
