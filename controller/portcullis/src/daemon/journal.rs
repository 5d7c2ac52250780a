//! The latest events of logged rules, in memory: so many, and no more.

use std::collections::VecDeque;

use crate::api::{Event, EventQuery, Events};

/// Events that are kept.
const KEPT: usize = 4096;
/// Events that one answer holds; the next question goes on there.
const ANSWER_MAX: usize = 1024;

/// The journal. Events are numbered from 1.
#[derive(Debug, Default)]
pub struct Journal {
    kept: VecDeque<Event>,
    last: u64,
}

impl Journal {
    /// Takes an event in, and gives it its number.
    pub fn push(&mut self, event: Event) -> &Event {
        self.last += 1;
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Event { number: self.last, ..event });
        &self.kept[self.kept.len() - 1]
    }

    /// The next events behind a number, as a query wants them.
    pub fn answer(&self, query: &EventQuery) -> Events {
        let first = self.last + 1 - self.kept.len() as u64;
        let wanted = |event: &&Event| {
            query.rule.as_ref().is_none_or(|rule| *rule == event.rule)
                && (!query.observed || event.is_observed())
        };
        let behind = self.kept.iter().skip_while(|event| event.number <= query.after);
        let events: Vec<Event> = behind.filter(wanted).take(ANSWER_MAX).cloned().collect();
        let last = match events.last() {
            Some(event) if events.len() == ANSWER_MAX => event.number,
            _ => self.last,
        };
        let missed = first.saturating_sub(query.after + 1);
        Events { events, last, missed, suppressed: 0, lost: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Seen;

    fn event(rule: &str, seen: Seen) -> Event {
        Event { rule: rule.into(), seen, ..crate::render::events::tests::event() }
    }

    fn after(number: u64) -> EventQuery {
        EventQuery { after: number, ..EventQuery::default() }
    }

    #[test]
    fn each_is_told_once_and_what_fell_out_is_counted() {
        let mut journal = Journal::default();
        assert_eq!(journal.answer(&after(0)).last, 0);
        for _ in 0..KEPT + 100 {
            journal.push(event("a", Seen::Denied));
        }
        let mut query = EventQuery::default();
        let (mut count, mut missed) = (0, 0);
        loop {
            let answer = journal.answer(&query);
            if answer.events.is_empty() {
                break;
            }
            count += answer.events.len();
            missed += answer.missed;
            query.after = answer.last;
        }
        assert_eq!((count, missed), (KEPT, 100));
        assert_eq!(query.after, KEPT as u64 + 100);
    }

    #[test]
    fn a_query_picks() {
        let mut journal = Journal::default();
        journal.push(event("a", Seen::Denied));
        journal.push(event("b", Seen::WouldDeny));
        journal.push(event("a", Seen::WouldAllow));
        let numbers = |query: EventQuery| -> Vec<u64> {
            journal.answer(&query).events.iter().map(|event| event.number).collect()
        };
        assert_eq!(numbers(EventQuery { rule: Some("a".into()), ..after(0) }), [1, 3]);
        assert_eq!(numbers(EventQuery { observed: true, ..after(0) }), [2, 3]);
        let none = EventQuery { rule: Some("c".into()), ..after(0) };
        assert_eq!(journal.answer(&none).last, 3, "and is not asked about them again");
        assert_eq!(numbers(after(2)), [3]);
    }
}
