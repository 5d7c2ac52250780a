//! What the daemon does when it is asked to.

use std::sync::Arc;

use portcullis_image::Image;
use portcullis_store::Store;
use portcullis_switch::{PortKind, PortSpec};

use super::{
    actor::{Actor, Candidate, ImageRef, InForce, Topic},
    admission,
    failure::{chain, switch_failure},
    log::{log, unix_seconds},
    report,
};
use crate::{
    api::{self, Applied, Failure, Policy, Response, Size, code},
    dataplane::{DataPlane, Launcher},
    host, names,
    state::AppliedPolicy,
};

impl<L: Launcher, S: Store> Actor<L, S> {
    /// Install, store, answer; if it cannot be stored, what was in force is put back.
    pub(super) fn apply(&mut self, candidate: Candidate) -> Result<Applied, Failure> {
        let Candidate { sources, image: ImageRef(image), rendered, warnings } = candidate;
        self.host = self.read_host()?;
        let installed = self.install(&image)?;
        let generation = installed.generation;
        let policy = AppliedPolicy { generation, applied_unix_s: unix_seconds(), sources };
        if let Err(error) = self.state.set_policy(&policy) {
            return Err(self.put_back(&error));
        }
        let size = Size::of(&image);
        self.waiting.observe(&installed.ports);
        self.in_force = Some(InForce { image, policy });
        self.problems.remove(&Topic::Restore);
        self.problems.remove(&Topic::Store);
        log(format!("applied as generation {generation}: {} rules", size.rules));
        Ok(Applied {
            generation,
            ports: installed.ports.into_iter().map(Into::into).collect(),
            removed: installed.removed,
            size,
            rendered,
            warnings,
        })
    }

    fn put_back(&mut self, error: &portcullis_store::Error) -> Failure {
        let before = match &self.in_force {
            Some(before) => Arc::clone(&before.image),
            None => Arc::new(Image::closed()),
        };
        let outcome = match self.install(&before) {
            Ok(_) => "the policy of before is in force again".to_owned(),
            Err(failure) => format!(
                "the new policy is in force until the next start, because the one before could not \
                 be put back: {}",
                failure.message
            ),
        };
        let text = format!("the policy could not be stored ({error}); {outcome}");
        self.problem(Topic::Store, text.clone());
        Failure::new(code::STORE, text)
    }

    pub(super) fn attach(&mut self, port: PortSpec) -> Result<api::Port, Failure> {
        let image = self.in_force.as_ref().map(|p| &*p.image);
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
        log(format!("attached {} ({})", port.name, port.kind.word()));
        self.ports.push(port);
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
        let detached = self.plane.detach(name).map_err(|error| switch_failure(&error));
        // A port that waits for its interface has nothing that could be in the way.
        if !self.waiting.contains(name) {
            detached?;
        }
        self.waiting.forget(name);
        self.ports.remove(at);
        log(format!("detached {name}"));
        self.state.delete_port(name).map_err(|error| {
            let text = format!(
                "port {name} is gone, but this could not be stored ({error}); it comes back with the \
                 next start"
            );
            self.problem(Topic::Store, text.clone());
            Failure::new(code::STORE, text)
        })
    }

    pub(super) fn status(&mut self) -> Result<Response, Failure> {
        let observed = self.plane.status().map_err(|error| switch_failure(&error))?;
        let policy = self.in_force.as_ref().map(|p| Policy {
            files: p.policy.sources.iter().map(|s| s.name.clone()).collect(),
            applied_unix_s: p.policy.applied_unix_s,
            size: Size::of(&p.image),
        });
        let problems = self.problems.values().cloned().collect();
        let image = self.in_force.as_ref().map(|p| &*p.image);
        let mut status = report::status(self.info.clone(), observed, policy, image, problems);
        report::add_waiting(&mut status.ports, &self.ports, &self.waiting);
        Ok(Response::Status(Box::new(status)))
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
