//! What the daemon does when it is asked to.

use portcullis_host_rules::foreign;
use portcullis_image::Image;
use portcullis_store::Store;
use portcullis_switch::{PortKind, PortSpec};

use super::{
    actor::{Actor, Preview, Topic},
    admission,
    clock::Now,
    cuts::{Cuts, Judge},
    failure::{chain, switch_failure},
    log::log,
    report,
};
use crate::{
    api::{
        self, Difference, EventQuery, Events, Failure, Pending, Policy, Response, RuleEnd, Size,
        code,
    },
    dataplane::{DataPlane, Launcher},
    host, names, outside,
};

impl<L: Launcher, S: Store> Actor<L, S> {
    pub(super) fn attach(&mut self, port: PortSpec) -> Result<api::Port, Failure> {
        let image = self.in_force.as_ref().map(|p| &*p.ready.image);
        admission::admit(&port, &self.ports, image)?;
        let attached = self.plane.attach(&port);
        let status = attached.map_err(|error| missing_nic(&port, switch_failure(&error)))?;
        if let Err(error) = self.state.put_port(&port) {
            let undone = match self.plane.detach(&port.name) {
                Ok(()) => "it was removed again".to_owned(),
                Err(second) => format!("and could not be removed again: {}", chain(&second)),
            };
            let text = format!("port {} could not be stored ({error}); {undone}", port.name);
            self.problem(Topic::Store, text.clone());
            return Err(Failure::new(code::STORE, text));
        }
        self.problems.remove(&Topic::Store);
        log(format!("attached {} ({})", port.name, port.kind.word()));
        self.ports.push(port);
        self.ports_changed = true;
        Ok(status.into())
    }

    pub(super) fn detach(&mut self, name: &str) -> Result<(), Failure> {
        let Some(at) = self.ports.iter().position(|port| port.name == name) else {
            let failure = Failure::new(code::NO_SUCH_PORT, format!("there is no port {name:?}"));
            let all = self.ports.iter().map(|port| port.name.as_str());
            return Err(match names::suggest(name, "ports", all) {
                Some(hint) => failure.hint(hint),
                None => failure.hint("nothing is attached"),
            });
        };
        // With the interface its counters go.
        self.note_usage();
        let detached = self.plane.detach(name).map_err(|error| switch_failure(&error));
        // A port that waits for its interface has nothing that could be in the way.
        if !self.waiting.contains(name) {
            detached?;
        }
        self.waiting.forget(name);
        self.ports.remove(at);
        self.ports_changed = true;
        log(format!("detached {name}"));
        self.state.delete_port(name).map_err(|error| {
            let text = format!(
                "port {name} is gone, but this could not be stored ({error}); it comes back with the \
                 next start"
            );
            self.problem(Topic::Store, text.clone());
            Failure::new(code::STORE, text)
        })?;
        self.problems.remove(&Topic::Store);
        Ok(())
    }

    pub(super) fn status(&mut self) -> Result<Response, Failure> {
        let observed = self.plane.status().map_err(|error| switch_failure(&error))?;
        let policy = self.in_force.as_ref().map(|p| Policy {
            files: p.policy.files(),
            applied_unix_s: p.policy.applied_unix_s,
            size: Size::of(&p.ready.image),
        });
        let problems = self.problems.values().cloned().collect();
        let image = self.in_force.as_ref().map(|p| &*p.ready.image);
        let mut status = report::status(self.info.clone(), observed, policy, image, problems);
        report::add_waiting(&mut status.ports, &self.ports, &self.waiting);
        if let Some(ready) = self.in_force.as_ref().map(|p| p.ready.clone()) {
            report::add_outside(&mut status, &ready.outside);
            match portcullis_host_rules::lacks(&ready.outside) {
                Ok(lacks) => status.problems.extend(lacks.iter().map(ToString::to_string)),
                Err(error) => status.problems.push(chain(&error)),
            }
            status.foreign = self.foreign(&ready.image).unwrap_or_else(|unknown| {
                status.problems.push(unknown);
                Vec::new()
            });
        }
        let now = Now::read();
        status.pending = self.pending(&now);
        status.ends = self.ends(&now);
        Ok(Response::Status(Box::new(status)))
    }

    /// Rules of others that stand in the way. Where there is no nft, and nobody wants any, there
    /// are no rules of its kind to be looked at.
    pub(super) fn foreign(&self, image: &Image) -> Result<Vec<api::Foreign>, String> {
        let wanted = self.host_rules.plan().is_some_and(|plan| !plan.is_empty());
        match foreign::look(&self.host_rules.table(), &outside::crossings(image)) {
            Ok(found) => Ok(found),
            Err(portcullis_host_rules::Error::Program { .. }) if !wanted => Ok(Vec::new()),
            Err(error) => Err(format!("the host's other rules are not known: {}", chain(&error))),
        }
    }

    /// What a policy would change, with the connections that it would cut.
    pub(super) fn preview(&mut self, preview: Preview) -> Result<Response, Failure> {
        let Preview { ready, from, rendered, changes } = preview;
        let mut cuts = Cuts::default();
        if let Some(in_force) = &self.in_force {
            let now = Judge::new(&in_force.ready.image, &self.host);
            let next = Judge::new(&ready.image, &self.host);
            let listed = self.plane.flows(&mut |flow| cuts.look(&flow, now, next));
            listed.map_err(|error| switch_failure(&error))?;
        }
        Ok(Response::Difference(Box::new(Difference {
            from: from.map(|policy| policy.files()),
            rendered,
            changes,
            size: Size::of(&ready.image),
            cuts: cuts.listed,
            cuts_total: cuts.total,
            warnings_rendered: ready.rendered,
            warnings: ready.warnings,
        })))
    }

    /// The next events, up to this moment.
    pub(super) fn tell_events(&mut self, query: &EventQuery) -> Result<Response, Failure> {
        self.note_events();
        let counts = self.plane.event_counts().map_err(|error| switch_failure(&error))?;
        let (suppressed, lost) = (counts.suppressed, counts.lost);
        Ok(Response::Events(Events { suppressed, lost, ..self.journal.answer(query) }))
    }

    /// The terms of a policy that waits for its confirmation.
    pub(super) fn pending(&self, now: &Now) -> Option<Pending> {
        let trial = self.standing.trial.as_ref()?;
        let left_ms = u64::try_from(trial.deadline.left(now).as_millis()).unwrap_or(u64::MAX);
        Some(Pending {
            until_unix_s: (now.unix_ms + left_ms) / 1000,
            left_ms,
            before: trial.before.as_ref().map(|policy| policy.files()),
        })
    }

    fn ends(&self, now: &Now) -> Vec<RuleEnd> {
        let ends = self.in_force.iter().flat_map(|p| &p.ready.ends);
        ends.map(|e| RuleEnd { ended: e.until_unix_s <= now.unix_s(), ..e.clone() }).collect()
    }
}

/// An uplink that failed because its NIC does not exist: which one was meant?
fn missing_nic(port: &PortSpec, failure: Failure) -> Failure {
    let Ok(interfaces) = host::interfaces() else { return failure };
    if !matches!(port.kind, PortKind::Uplink { .. }) || interfaces.contains(&port.name) {
        return failure;
    }
    let hint = names::suggest(&port.name, "interfaces", interfaces.iter().map(String::as_str));
    Failure { code: code::NO_SUCH_INTERFACE.to_owned(), hint, ..failure }
}
