//! Ports whose interface could not be had: their names, why, and when to try again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use portcullis_switch::{Closed, PortStatus};

/// The longest time between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The ports that wait.
#[derive(Debug)]
pub struct Waiting {
    why: BTreeMap<String, String>,
    first: Duration,
    pause: Duration,
    next: Instant,
    /// Those of them whose namespace or NIC was not there at the last look.
    absent: BTreeSet<String>,
}

impl Waiting {
    /// Nobody waits; the first try comes `first` after somebody does, each next one later.
    pub fn new(first: Duration) -> Self {
        let (why, absent) = (BTreeMap::new(), BTreeSet::new());
        Self { why, first, pause: first, next: Instant::now(), absent }
    }

    /// Does this port wait?
    pub fn contains(&self, name: &str) -> bool {
        self.why.contains_key(name)
    }

    /// What it waits for.
    pub fn why(&self, name: &str) -> Option<&str> {
        self.why.get(name).map(String::as_str)
    }

    /// It waits from now on, or still does.
    pub fn add(&mut self, name: &str, why: String) {
        if self.why.insert(name.to_owned(), why).is_none() {
            self.pause = self.first;
            self.next = Instant::now() + self.pause;
        }
    }

    /// It does not wait any more.
    pub fn forget(&mut self, name: &str) {
        self.why.remove(name);
    }

    /// Takes from the switch which ports failed, and which did not.
    pub fn observe(&mut self, ports: &[PortStatus]) {
        for port in ports {
            match &port.closed {
                Some(Closed::Failed { error }) => self.add(&port.name, error.clone()),
                _ => self.forget(&port.name),
            }
        }
    }

    /// Given those that lack what they need: has somebody else, who waits, got it since the last
    /// look?
    pub fn came(&mut self, absent: BTreeSet<String>) -> bool {
        let before = std::mem::replace(&mut self.absent, absent);
        before.iter().any(|name| self.why.contains_key(name) && !self.absent.contains(name))
    }

    /// Is it time for a try? Then the next one comes later.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let due = !self.why.is_empty() && now >= self.next;
        if due {
            self.pause = (self.pause * 2).min(PAUSE_MAX);
            self.next = now + self.pause;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_tried_at_once() {
        let mut waiting = Waiting::new(PAUSE_MAX);
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        waiting.add("a", "gone".into());
        waiting.add("b", "gone".into());
        assert!(!waiting.came(set(&["a", "b"])) && !waiting.came(set(&["a", "b"])));
        assert!(waiting.came(set(&["b"])) && !waiting.came(set(&["b"])));
        waiting.forget("b");
        assert!(!waiting.came(set(&[])));
    }

    #[test]
    fn tries_become_rarer_and_begin_anew_for_a_new_port() {
        let second = Duration::from_secs(1);
        let mut waiting = Waiting::new(second);
        let mut now = Instant::now() + second * 2;
        assert!(!waiting.is_due(now));
        waiting.add("a", "gone".into());
        let mut tries = Vec::new();
        for at in 0..200 {
            if waiting.is_due(now + second * at) {
                tries.push(at);
            }
        }
        assert_eq!(tries, [0, 2, 6, 14, 30, 62, 122, 182]);
        waiting.add("b", "gone".into());
        now += second * 2;
        assert!(waiting.is_due(now));
        waiting.forget("a");
        waiting.forget("b");
        assert!(!waiting.is_due(now + PAUSE_MAX * 2));
    }
}
