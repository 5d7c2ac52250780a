//! Where a policy stands: for good, or on trial until somebody confirms it.
//!
//! ```text
//!                 try(Q)                      try(R)
//!   P ─────────────────────▶ Q on trial, P before ──┐ still P before, a new deadline
//!   ▲ │ apply(Q): Q          │   │   ▲──────────────┘
//!   │ ▼                      │   │
//!   │                        │   └─ confirm: Q      apply(R): R
//!   └────────────────────────┘
//!     undo, or the deadline: P
//! ```

use super::clock::{Deadline, Now};

/// The policy in force, and on which terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing<P> {
    /// The policy; `None` is closed.
    pub policy: Option<P>,
    /// It must be confirmed.
    pub trial: Option<Trial<P>>,
}

/// The terms of a policy that must be confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial<P> {
    /// Until when.
    pub deadline: Deadline,
    /// What comes back otherwise: the last confirmed policy; `None` is closed.
    pub before: Option<P>,
}

/// What can happen to it.
#[derive(Clone, Debug)]
pub enum Event<P> {
    /// A policy for good.
    Apply(P),
    /// A policy that must be confirmed.
    Try(P, Deadline),
    /// Somebody confirms.
    Confirm,
    /// Somebody wants the policy of before.
    Undo,
    /// Time passes.
    Clock(Now),
}

/// There is nothing to confirm or to undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no policy waits for a confirmation")]
pub struct NothingPending;

impl<P: Clone> Standing<P> {
    /// For good.
    pub fn settled(policy: Option<P>) -> Self {
        Self { policy, trial: None }
    }

    /// What an event makes of it.
    ///
    /// # Errors
    /// [`NothingPending`]
    pub fn step(&self, event: Event<P>) -> Result<Self, NothingPending> {
        match (&self.trial, event) {
            (_, Event::Apply(policy)) => Ok(Self::settled(Some(policy))),
            (None, Event::Try(policy, deadline)) => {
                let before = self.policy.clone();
                Ok(Self { policy: Some(policy), trial: Some(Trial { deadline, before }) })
            }
            (Some(trial), Event::Try(policy, deadline)) => {
                let before = trial.before.clone();
                Ok(Self { policy: Some(policy), trial: Some(Trial { deadline, before }) })
            }
            (Some(_), Event::Confirm) => Ok(Self::settled(self.policy.clone())),
            (Some(trial), Event::Undo) => Ok(Self::settled(trial.before.clone())),
            (Some(trial), Event::Clock(now)) if trial.deadline.left(&now).is_zero() => {
                Ok(Self::settled(trial.before.clone()))
            }
            (_, Event::Clock(_)) => Ok(self.clone()),
            (None, Event::Confirm | Event::Undo) => Err(NothingPending),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: u64) -> Now {
        Now { unix_ms: second * 1000, boot_ms: second * 1000, boot: "a".into() }
    }

    fn minute(second: u64) -> Deadline {
        Deadline::after(Duration::from_secs(60), &at(second))
    }

    #[test]
    fn every_row_of_the_table() {
        let none = Standing::<u32>::settled(None);
        assert_eq!(none.step(Event::Confirm), Err(NothingPending));
        assert_eq!(none.step(Event::Undo), Err(NothingPending));
        assert_eq!(none.step(Event::Clock(at(9))), Ok(none.clone()));
        let first = none.step(Event::Try(1, minute(0))).unwrap();
        assert_eq!((first.policy, first.trial.as_ref().unwrap().before), (Some(1), None));
        assert_eq!(first.step(Event::Clock(at(59))), Ok(first.clone()));
        assert_eq!(first.step(Event::Clock(at(60))), Ok(none));
        let good = first.step(Event::Confirm).unwrap();
        assert_eq!(good, Standing::settled(Some(1)));

        let second = good.step(Event::Try(2, minute(0))).unwrap();
        let third = second.step(Event::Try(3, minute(30))).unwrap();
        assert_eq!(third.step(Event::Clock(at(60))), Ok(third.clone()), "a new deadline");
        assert_eq!(third.step(Event::Clock(at(90))), Ok(good.clone()), "the last confirmed");
        assert_eq!(third.step(Event::Undo), Ok(good));
        assert_eq!(third.step(Event::Confirm), Ok(Standing::settled(Some(3))));
        assert_eq!(third.step(Event::Apply(4)), Ok(Standing::settled(Some(4))));
    }

    /// Ten thousand steps of a small random walk: what comes back is always what was settled
    /// last, and nothing waits for longer than its deadline.
    #[test]
    fn what_comes_back_was_settled() {
        let mut random = 7_u64;
        let mut pick = |n: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % n
        };
        let (mut standing, mut settled) = (Standing::<u64>::settled(None), None);
        for second in 0..10_000 {
            let event = match pick(8) {
                0 => Event::Apply(second),
                1 | 2 => Event::Try(second, minute(second)),
                3 => Event::Confirm,
                4 => Event::Undo,
                _ => Event::Clock(at(second)),
            };
            let (confirms, applies) =
                (matches!(event, Event::Confirm), matches!(event, Event::Apply(_)));
            let Ok(next) = standing.step(event) else {
                assert!(standing.trial.is_none());
                continue;
            };
            if confirms || applies {
                settled = next.policy;
            }
            match &next.trial {
                Some(trial) => assert_eq!(trial.before, settled),
                None => assert_eq!(next.policy, settled),
            }
            standing = next;
        }
        assert!(settled.is_some());
    }
}
