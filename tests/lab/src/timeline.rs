//! Which policy was in force when, and whether that explains what became of a packet.

use crate::timed::Datagram;

/// How long after it was sent a packet may be judged: softirq work that the sending system call
/// did not do by itself, ns.
const JUDGED_LATER_NS: u64 = 20_000_000;

/// One generation.
#[derive(Clone, Debug)]
pub struct Era {
    /// When somebody asked for it; before this nothing was judged by it, ns.
    pub asked_ns: u64,
    /// When `apply` returned; after this nothing is judged by the one before, ns.
    pub in_force_ns: u64,
    /// Which flows it allows.
    pub allowed: Vec<bool>,
}

/// All generations, in their order.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    eras: Vec<Era>,
}

/// What was seen of one flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Datagrams sent.
    pub sent: usize,
    /// Datagrams that arrived.
    pub arrived: usize,
    /// Numbers of those that arrived although neither the generation in force when they were sent
    /// nor the next one allows them.
    pub forbidden: Vec<usize>,
    /// Numbers of those that did not although both do.
    pub lost: Vec<usize>,
    /// Numbers of those that arrived more than once.
    pub doubled: Vec<usize>,
}

impl Findings {
    /// Is there nothing that no single generation explains?
    pub fn is_clean(&self) -> bool {
        self.forbidden.is_empty() && self.lost.is_empty() && self.doubled.is_empty()
    }
}

impl Timeline {
    /// Adds a generation; times never go back.
    pub fn push(&mut self, era: Era) {
        self.eras.push(era);
    }

    /// The generation in force at a moment, the earliest where it changed just then.
    fn at(&self, ns: u64) -> usize {
        self.eras.partition_point(|era| era.in_force_ns <= ns).saturating_sub(1)
    }

    /// Those that may have judged a packet: the one in force when it was sent, and the next one if
    /// somebody had asked for it before the packet was certainly through.
    fn judges(&self, sent_ns: u64, through_ns: u64) -> &[Era] {
        let first = self.at(sent_ns);
        let next = self.eras.get(first + 1).is_some_and(|era| era.asked_ns <= through_ns);
        &self.eras[first..=first + usize::from(next)]
    }

    /// Holds the datagrams of one flow against the generations. Those sent before the first one
    /// was in force are left out.
    pub fn explain(&self, flow: usize, datagrams: &[Datagram]) -> Findings {
        let mut findings = Findings::default();
        let Some(first) = self.eras.first() else { return findings };
        for (number, datagram) in datagrams.iter().enumerate() {
            if datagram.before_ns < first.in_force_ns {
                continue;
            }
            findings.sent += 1;
            let through_ns = datagram.arrived_ns.unwrap_or(datagram.after_ns + JUDGED_LATER_NS);
            let judges = self.judges(datagram.before_ns, through_ns);
            match datagram.arrived_ns {
                Some(_) => {
                    findings.arrived += 1;
                    if !judges.iter().any(|era| era.allowed[flow]) {
                        findings.forbidden.push(number);
                    }
                }
                None if judges.iter().all(|era| era.allowed[flow]) => findings.lost.push(number),
                None => {}
            }
            if datagram.copies > 1 {
                findings.doubled.push(number);
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Denied, then allowed from somewhere in 100..200, then denied from somewhere in 900..1000 on
    /// (milliseconds).
    fn timeline() -> Timeline {
        let mut timeline = Timeline::default();
        for (asked, in_force, allowed) in [(0, 10, false), (100, 200, true), (900, 1000, false)] {
            timeline.push(Era {
                asked_ns: asked * 1_000_000,
                in_force_ns: in_force * 1_000_000,
                allowed: vec![allowed],
            });
        }
        timeline
    }

    fn explain(sent_ms: u64, arrived: bool) -> Findings {
        let before_ns = sent_ms * 1_000_000;
        let datagram = Datagram {
            before_ns,
            after_ns: before_ns + 1000,
            arrived_ns: arrived.then_some(before_ns + 2000),
            copies: arrived.into(),
        };
        timeline().explain(0, &[datagram])
    }

    #[test]
    fn while_it_changes_both_are_right() {
        for sent_ms in [100, 150, 199, 900, 999] {
            assert!(explain(sent_ms, true).is_clean() && explain(sent_ms, false).is_clean());
        }
    }

    #[test]
    fn when_apply_has_returned_only_the_new_one_is() {
        assert_eq!(explain(1000, true).forbidden, [0]);
        assert_eq!(explain(50, true).forbidden, [0]);
        assert_eq!(explain(200, false).lost, [0]);
        assert_eq!(explain(500, false).lost, [0]);
        assert!(explain(500, true).is_clean() && explain(1000, false).is_clean());
    }

    #[test]
    fn two_copies_are_one_too_many() {
        let datagram =
            Datagram { before_ns: 300_000_000, after_ns: 0, arrived_ns: Some(1), copies: 2 };
        assert_eq!(timeline().explain(0, &[datagram]).doubled, [0]);
    }

    #[test]
    fn what_was_sent_before_the_first_is_left_out() {
        assert_eq!(explain(5, true), Findings::default());
    }
}
