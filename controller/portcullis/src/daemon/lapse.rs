//! What the clock makes the daemon do: trials that nobody confirmed are undone, rules that have
//! ended are taken out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis_store::Store;

use super::{
    actor::{Actor, Topic},
    clock::Now,
    log::log,
    ready::Ready,
    trial::{Event, Standing},
};
use crate::{api::Failure, dataplane::Launcher, state::AppliedPolicy};

impl<L: Launcher, S: Store> Actor<L, S> {
    /// The applied policy of before, compiled anew and put in force; or the one before it, if
    /// its time for a confirmation is over. The new generation.
    pub(super) fn restore(&mut self) -> Option<u32> {
        if let Some(over) = self.trial_over(&Now::read()) {
            return self.end_trial(over).ok();
        }
        let policy = self.standing.policy.clone()?;
        self.restore_again = false;
        let restored = self.recompile(&policy).and_then(|ready| {
            self.restore_again = true;
            let generation = self.reinstall(&policy, ready)?;
            self.restore_again = false;
            Ok(generation)
        });
        match restored {
            Ok(generation) => {
                log(format!("restored as generation {generation}"));
                self.problems.remove(&Topic::Restore);
                Some(generation)
            }
            Err(failure) => {
                let text = format!(
                    "the applied policy could not be put in force again, the filters of before stay: \
                     {}",
                    failure.message
                );
                self.problem(Topic::Restore, text);
                None
            }
        }
    }

    fn reinstall(&mut self, policy: &AppliedPolicy, ready: Ready) -> Result<u32, Failure> {
        let installed = self.install(&ready.image, &ready.outside)?;
        let generation = installed.generation;
        let policy = Some(Arc::new(AppliedPolicy { generation, ..policy.clone() }));
        let standing = Standing { policy, trial: self.standing.trial.clone() };
        self.believe(standing, Some(ready), &installed);
        Ok(generation)
    }

    /// What the kernel refused when the daemon started it may take now.
    pub(super) fn restore_in_time(&mut self) {
        if self.restore_again && self.in_force.is_none() {
            self.restore();
        }
    }

    /// How long until the clock demands something.
    pub(super) fn until_lapse(&self) -> Option<Duration> {
        let now = Now::read();
        let trial = self.standing.trial.as_ref().map(|trial| trial.deadline.left(&now));
        let end = self.in_force.as_ref().and_then(|p| p.ready.next_end());
        let end = end.map(|s| Duration::from_millis((s * 1000).saturating_sub(now.unix_ms)));
        let retry = self.retry_at.saturating_duration_since(Instant::now());
        trial.into_iter().chain(end).min().map(|wait| wait.max(retry))
    }

    /// Does what the clock demands. What fails is tried again after a while.
    pub(super) fn lapse(&mut self) {
        if Instant::now() < self.retry_at {
            return;
        }
        let now = Now::read();
        let trial = self.trial_over(&now).map_or(Ok(()), |over| self.end_trial(over).map(drop));
        if trial.and_then(|()| self.end_rules(&now)).is_err() {
            self.retry_at = Instant::now() + self.pace.host;
        }
    }

    /// What stands if nobody confirmed in time.
    fn trial_over(&self, now: &Now) -> Option<Standing<Arc<AppliedPolicy>>> {
        self.standing.trial.as_ref()?;
        let next = self.standing.step(Event::Clock(now.clone())).ok()?;
        next.trial.is_none().then_some(next)
    }

    fn end_trial(&mut self, next: Standing<Arc<AppliedPolicy>>) -> Result<u32, Failure> {
        let back = self.go_back(next, "nobody confirmed in time");
        back.map(|back| back.generation).inspect_err(|failure| {
            let text = format!(
                "nobody confirmed in time, but the policy of before could not be put in force \
                 again: {}",
                failure.message
            );
            self.problem(Topic::Trial, text);
        })
    }

    /// Takes out the rules that have ended. Also when the wall's clock was set: the kernel counts
    /// the ends in a clock of its own, and a rule may have ended, or not yet.
    fn end_rules(&mut self, now: &Now) -> Result<(), Failure> {
        let Some(in_force) = &self.in_force else { return Ok(()) };
        let ended = in_force.ready.next_end().is_some_and(|end| end <= now.unix_s());
        let jumped = !in_force.ready.ends.is_empty() && now.jumped_since(&in_force.clock);
        if !ended && !jumped {
            return Ok(());
        }
        if jumped {
            log("the clock was set: the ends of rules are counted anew");
        }
        let before = in_force.ready.known_unix_s;
        let policy = Arc::clone(&in_force.policy);
        self.renew(&policy, before).inspect_err(|failure| {
            let text = format!(
                "a rule has ended, and nothing more passes by it, but the policy without it could \
                 not be put in force: {}",
                failure.message
            );
            self.problem(Topic::Ends, text);
        })
    }

    /// Puts the policy in force as it is now. Where it does not hold any more, it stays.
    fn renew(&mut self, policy: &AppliedPolicy, before_unix_s: u64) -> Result<(), Failure> {
        let ready = self.recompile(policy)?;
        let installed = self.install(&ready.image, &ready.outside)?;
        let generation = installed.generation;
        let standing = self.standing.clone();
        self.believe(standing, Some(ready), &installed);
        for end in self.ended_since(before_unix_s) {
            log(format!("{end} has ended: generation {generation}"));
        }
        Ok(())
    }

    fn ended_since(&self, before_unix_s: u64) -> Vec<String> {
        let Some(in_force) = &self.in_force else { return Vec::new() };
        let now = in_force.ready.known_unix_s;
        let ends = in_force.ready.ends.iter();
        ends.filter(|end| end.until_unix_s > before_unix_s && end.until_unix_s <= now)
            .map(|end| format!("rule {} ({}:{})", end.rule, end.file, end.line))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::change::moment;

    /// A policy remembers when its durations began, so that a restart does not renew them.
    #[test]
    fn a_rule_of_a_duration_ends_once() {
        let text = "networks: { n: { vlan: 1, subnets: [10.0.0.0/24] } }\nguests: { a: { network: \
                    n }, b: { network: n } }\nrules:\n  - { name: debug, allow: { from: a, to: b, \
                    for: ssh }, until: 10s }\n";
        let sources = vec![crate::api::SourceFile { name: "p.yaml".into(), text: text.into() }];
        let first = Ready::compile(&sources, &portcullis_policy::Moment::at(1000), false).unwrap();
        assert_eq!((first.next_end(), first.image.rules.len()), (Some(1010), 1));
        let policy = AppliedPolicy {
            generation: 1,
            applied_unix_s: 1000,
            sources,
            since_unix_s: first.since_unix_s,
        };
        let again = Ready::compile(&policy.sources, &moment(&policy, 1005), false).unwrap();
        assert_eq!(again.next_end(), Some(1010));
        let later = Ready::compile(&policy.sources, &moment(&policy, 1010), false).unwrap();
        assert_eq!((later.next_end(), later.image.rules.len()), (None, 0));
        assert!(later.ends[0].ended && later.since_unix_s.len() == 1);
    }
}
