//! Changes of the policy in force. Each is installed, then stored, then believed; where it cannot
//! be stored, what was in force is put back.

use std::{sync::Arc, time::Duration};

use portcullis_host_rules::Plan;
use portcullis_image::Image;
use portcullis_policy::Moment;
use portcullis_store::Store;
use portcullis_switch::Installed;

use super::{
    actor::{Actor, Candidate, InForce, Topic},
    clock::{Deadline, Now},
    log::{log, unix_seconds},
    ready::Ready,
    trial::{Event, NothingPending, Standing},
};
use crate::{
    api::{Applied, Failure, Refused, Response, RolledBack, Size, code},
    dataplane::Launcher,
    state::AppliedPolicy,
};

/// A policy as the actor holds it.
type Shared = Arc<AppliedPolicy>;

impl<L: Launcher, S: Store> Actor<L, S> {
    /// Puts a policy in force, for good or on trial.
    pub(super) fn apply(&mut self, candidate: Candidate) -> Result<Applied, Failure> {
        let Candidate { sources, ready, confirm } = candidate;
        self.host = self.read_host()?;
        let installed = self.install(&ready.image, &ready.outside)?;
        let (generation, size) = (installed.generation, Size::of(&ready.image));
        let (rendered, warnings) = (ready.rendered.clone(), ready.warnings.clone());
        // Where nothing is wanted of the host, its other rules are left for the status to tell.
        let crossing = (!ready.outside.is_empty()).then(|| Arc::clone(&ready.image));
        let policy = Arc::new(AppliedPolicy {
            generation,
            applied_unix_s: unix_seconds(),
            sources,
            since_unix_s: ready.since_unix_s.clone(),
        });
        let now = Now::read();
        let event = match confirm {
            Some(length) => Event::Try(policy, Deadline::after(length, &now)),
            None => Event::Apply(policy),
        };
        let next = self.standing.step(event).map_err(nothing_pending)?;
        self.keep(next, Some(ready), &installed)?;
        log(format!("applied as generation {generation}: {} rules{}", size.rules, terms(confirm)));
        Ok(Applied {
            generation,
            ports: installed.ports.into_iter().map(Into::into).collect(),
            removed: installed.removed,
            size,
            validation: installed.validation.into(),
            pending: self.pending(&now),
            rendered,
            warnings,
            // What cannot be looked at now, the status tells.
            foreign: crossing.and_then(|image| self.foreign(&image).ok()).unwrap_or_default(),
        })
    }

    /// Keeps the policy that is on trial.
    pub(super) fn confirm(&mut self) -> Result<Response, Failure> {
        let next = self.standing.step(Event::Confirm).map_err(nothing_pending)?;
        self.state.set_standing(&next).map_err(|error| {
            let text = format!(
                "the confirmation could not be stored ({error}); the policy of before comes back at \
                 its time"
            );
            self.problem(Topic::Store, text.clone());
            Failure::new(code::STORE, text).hint("try again: portcullis confirm")
        })?;
        self.standing = next;
        self.problems.remove(&Topic::Store);
        let generation = self.in_force.as_ref().map_or(0, |p| p.policy.generation);
        log(format!("generation {generation} is confirmed"));
        Ok(Response::Confirmed { generation })
    }

    /// Goes back at once from the policy that is on trial.
    pub(super) fn rollback(&mut self) -> Result<RolledBack, Failure> {
        let next = self.standing.step(Event::Undo).map_err(nothing_pending)?;
        self.go_back(next, "rolled back")
    }

    /// Puts in force what stood before a trial, as it is at this moment.
    pub(super) fn go_back(
        &mut self,
        next: Standing<Shared>,
        why: &str,
    ) -> Result<RolledBack, Failure> {
        let ready = next.policy.as_deref().map(|policy| self.recompile(policy)).transpose()?;
        let (image, outside) = wanted(ready.as_ref());
        let installed = self.install(&image, &outside)?;
        let generation = installed.generation;
        let again = |policy: Shared| Arc::new(AppliedPolicy { generation, ..(*policy).clone() });
        let next = Standing { policy: next.policy.map(again), ..next };
        let files = next.policy.as_ref().map(|policy| policy.files());
        self.keep(next, ready, &installed)?;
        let what = files.as_ref().map_or("everything is closed".to_owned(), |f| f.join(", "));
        log(format!("{why}: generation {generation}, {what}"));
        Ok(RolledBack { generation, files })
    }

    /// A policy of before, compiled for this moment. Where it does not hold without a rule that
    /// has ended since, it is what it was when it was applied: the kernel by itself lets nothing
    /// through by a rule that has ended.
    pub(super) fn recompile(&mut self, policy: &AppliedPolicy) -> Result<Ready, Failure> {
        let now = moment(policy, unix_seconds());
        let refused = match Ready::compile(&policy.sources, &now, false) {
            Ok(ready) => return Ok(ready),
            Err(refused) => refused,
        };
        let then = moment(policy, policy.applied_unix_s);
        match Ready::compile(&policy.sources, &then, false) {
            Ok(ready) => {
                let ready = Ready { known_unix_s: now.now_unix_s, ..ready };
                self.held(&ready, &refused);
                Ok(ready)
            }
            Err(_) => {
                let message = format!("this version refuses it:\n{}", refused.rendered);
                Err(Failure::new(code::STORE, message))
            }
        }
    }

    /// Says that a policy stays as it was although rules of it have ended.
    fn held(&mut self, ready: &Ready, refused: &Refused) {
        let ended = ready.ends.iter().filter(|end| end.until_unix_s <= ready.known_unix_s);
        let names: Vec<String> =
            ended.map(|end| format!("{} ({}:{})", end.rule, end.file, end.line)).collect();
        let text = format!(
            "ended: {}. Nothing more passes by it, and the rest stays in force as it was, because \
             the policy without it is refused:\n{}",
            names.join(", "),
            refused.rendered
        );
        self.problem(Topic::Ends, text);
    }

    /// Stores what was installed, and believes it; or puts back what was in force.
    fn keep(
        &mut self,
        next: Standing<Shared>,
        ready: Option<Ready>,
        installed: &Installed,
    ) -> Result<(), Failure> {
        if let Err(error) = self.state.set_standing(&next) {
            return Err(self.put_back(&error));
        }
        self.believe(next, ready, installed);
        self.problems.remove(&Topic::Restore);
        self.problems.remove(&Topic::Store);
        self.problems.remove(&Topic::Trial);
        Ok(())
    }

    /// What is in force now.
    pub(super) fn believe(
        &mut self,
        standing: Standing<Shared>,
        ready: Option<Ready>,
        installed: &Installed,
    ) {
        self.waiting.observe(&installed.ports);
        if ready.as_ref().is_none_or(|r| r.known_unix_s == r.at_unix_s) {
            self.problems.remove(&Topic::Ends);
        }
        let next = standing.policy.clone().zip(ready).map(|(policy, ready)| InForce {
            policy,
            ready,
            clock: Now::read(),
        });
        self.past = std::mem::replace(&mut self.in_force, next);
        self.standing = standing;
    }

    fn put_back(&mut self, error: &portcullis_store::Error) -> Failure {
        let (image, outside) = wanted(self.in_force.as_ref().map(|before| &before.ready));
        let outcome = match self.install(&image, &outside) {
            Ok(_) => "what was in force before is in force again".to_owned(),
            Err(failure) => format!(
                "the new one is in force until the next start, because the one before could not be \
                 put back: {}",
                failure.message
            ),
        };
        // An error of the disk may have come after the write: say again what holds. If that fails
        // too, the first error says all that can be said.
        let _ = self.state.set_standing(&self.standing);
        let text = format!("the policy could not be stored ({error}); {outcome}");
        self.problem(Topic::Store, text.clone());
        Failure::new(code::STORE, text)
    }
}

/// What the switch and the host's stack get; without a policy, what closes everything.
fn wanted(ready: Option<&Ready>) -> (Arc<Image>, Arc<Plan>) {
    match ready {
        Some(ready) => (Arc::clone(&ready.image), Arc::clone(&ready.outside)),
        None => (Arc::new(Image::closed()), Arc::default()),
    }
}

/// A moment, with what a policy remembers.
pub fn moment(policy: &AppliedPolicy, now_unix_s: u64) -> Moment {
    Moment { now_unix_s, since_unix_s: policy.since_unix_s.clone() }
}

fn terms(confirm: Option<Duration>) -> String {
    confirm.map_or(String::new(), |c| format!(", to be confirmed within {} s", c.as_secs()))
}

fn nothing_pending(error: NothingPending) -> Failure {
    Failure::new(code::NOTHING_PENDING, error.to_string())
        .hint("a policy waits for one after: portcullis apply --confirm 60s FILE")
}
