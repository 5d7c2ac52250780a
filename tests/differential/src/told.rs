//! What a packet leaves behind for people: counted rules, and events for the log.

use anyhow::{Result, ensure};
use portcullis_engine::Engine;
use portcullis_pipeline::layout::{EventEntry, event_verdict};
use portcullis_policy::oracle::{Judgement, evaluate_observed};

use crate::{fact::Fact, kernel::Kernel, world::Policy};

/// Of one packet, on the native side.
pub struct Told {
    /// By rule id, how often it was counted.
    pub hits: Vec<u64>,
    /// What the log was told.
    pub events: Vec<EventEntry>,
}

/// Counters of all rules of the slot in force.
pub fn hits(engine: &Engine, policy: &Policy, generation: u32) -> Vec<u64> {
    let rules = 0..policy.rules.len() as u32;
    rules.map(|rule| engine.tables.rule_hits(generation & 1, rule)).collect()
}

impl Told {
    /// What has come since the counters were `before`; both sides must have told the same.
    pub fn compare(
        kernel: &mut Kernel,
        engine: &mut Engine,
        before: &[u64],
        after: &[u64],
    ) -> Result<Self> {
        let events: Vec<EventEntry> = engine.tables.take_events().map(timeless).collect();
        let theirs = kernel.take_events()?;
        ensure!(theirs.iter().all(|e| e.time > 0), "an event without a time");
        let theirs: Vec<EventEntry> = theirs.into_iter().map(timeless).collect();
        ensure!(theirs == events, "events differ:\n{events:x?}\n{theirs:x?}");
        let hits = before.iter().zip(after).map(|(b, a)| a - b).collect();
        Ok(Self { hits, events })
    }

    /// Compares with the rules as they are written, for a first packet that was judged.
    pub fn check(
        &self,
        policy: &Policy,
        fact: &Fact,
        judged: &Judgement,
        now: u64,
    ) -> Result<(), String> {
        let observed = evaluate_observed(
            &policy.model,
            fact.network,
            fact.ends.0,
            fact.ends.1,
            fact.purpose(),
        );
        let decided = if judged.allowed && !has_ended(policy, judged.rule, now) {
            event_verdict::ALLOWED
        } else {
            event_verdict::DENIED
        };
        let mut voices = vec![(judged.rule, decided)];
        let differs = (observed.rule, observed.allowed) != (judged.rule, judged.allowed);
        if differs && !has_ended(policy, observed.rule, now) {
            let would = if observed.allowed {
                event_verdict::WOULD_ALLOW
            } else {
                event_verdict::WOULD_DENY
            };
            voices.push((observed.rule, would));
        }
        for (rule, hits) in self.hits.iter().enumerate() {
            let wanted = voices.iter().filter(|(r, _)| *r as usize == rule).count() as u64;
            if *hits != wanted {
                return Err(format!("rule {rule} counted {hits} times, not {wanted}"));
            }
        }
        self.check_events(policy, fact, &voices)
    }

    fn check_events(
        &self,
        policy: &Policy,
        fact: &Fact,
        voices: &[(u32, u16)],
    ) -> Result<(), String> {
        for event in &self.events {
            let logged = policy.rules[event.rule as usize].log_per_s > 0;
            let of = voices.contains(&(event.rule, event.verdict));
            let ends = (event.src.into(), event.dst.into()) == fact.ends;
            let numbers = (event.sport, event.dport) == fact.numbers;
            if !(logged && of && ends && numbers) {
                return Err(format!("{event:?} is not about this packet, judged {voices:?}"));
            }
        }
        Ok(())
    }
}

/// Has a rule ended?
pub fn has_ended(policy: &Policy, rule: u32, now: u64) -> bool {
    let end = policy.rules[rule as usize].end;
    end != 0 && end <= now
}

fn timeless(event: EventEntry) -> EventEntry {
    EventEntry { time: 0, ..event }
}

/// At the end: what was left out, and that nothing was lost.
pub fn compare_budgets(kernel: &mut Kernel, engine: &Engine, rules: u32) -> Result<()> {
    for (slot, rule) in (0..2).flat_map(|s| (0..rules).map(move |r| (s, r))) {
        let (program, native) = (kernel.budget(slot, rule)?, engine.tables.budget(slot, rule));
        ensure!(program == native, "events of rule {rule}, slot {slot}: {program:x?}, {native:x?}");
    }
    let lost = (kernel.events_lost()?, engine.tables.events_lost());
    ensure!(lost == (0, 0), "events lost: {lost:?}");
    Ok(())
}
