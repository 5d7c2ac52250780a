//! Events that wait for whoever reads the log: as many as there is room for, the rest is counted.

use std::cell::{Cell, RefCell};

use portcullis_pipeline::layout::EventEntry;

/// A queue of events, of a fixed size.
pub struct Events {
    waiting: RefCell<Vec<EventEntry>>,
    room: usize,
    lost: Cell<u64>,
}

impl Events {
    /// Room for `room` events, all of it taken now.
    pub fn new(room: usize) -> Self {
        Self { waiting: RefCell::new(Vec::with_capacity(room)), room, lost: Cell::new(0) }
    }

    /// Adds an event, or counts it as lost.
    pub fn push(&self, event: EventEntry) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() < self.room {
            waiting.push(event);
        } else {
            self.lost.set(self.lost.get() + 1);
        }
    }

    /// Takes all events out, the oldest first.
    pub fn take(&mut self) -> impl Iterator<Item = EventEntry> {
        self.waiting.get_mut().drain(..)
    }

    /// Events for which there was no room.
    pub fn lost(&self) -> u64 {
        self.lost.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut events = Events::new(2);
        for rule in 1..=5 {
            events.push(EventEntry { rule, ..EventEntry::EMPTY });
        }
        assert_eq!(events.lost(), 3);
        assert_eq!(events.take().map(|e| e.rule).collect::<Vec<_>>(), [1, 2]);
        events.push(EventEntry { rule: 9, ..EventEntry::EMPTY });
        assert_eq!(events.take().map(|e| e.rule).collect::<Vec<_>>(), [9]);
        assert_eq!(events.lost(), 3);
    }
}
