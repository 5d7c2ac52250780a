//! Accounting by guest and network that survives restarts: what the counters of a port have gained
//! since the last look is added to what the store holds of its guest.
//!
//! The kernel's counters outlive the daemon; what they showed at the last look is stored in the same
//! transaction as the sums, so nothing counts twice and nothing is missed. Only a machine that loses
//! its power loses what it has counted since then.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_image::Image;
use portcullis_store::{Error, Store, record::Record};
use portcullis_switch::{PortStatus, Traffic};
use serde::{Deserialize, Serialize};

use super::{
    actor::{Actor, Topic},
    clock::Now,
    failure::switch_failure,
};
use crate::{
    api::{Exchange, Failure, Response, Usage, code},
    dataplane::{DataPlane, Launcher},
    state::State,
};

/// What the counters of a port showed at the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The boot in which that was.
    boot: String,
    /// The interface that they belong to.
    ifindex: u32,
    counts: Counts,
}

impl Record for Mark {
    const KIND: &'static str = "usage-mark";
    const VERSION: u32 = 1;
}

/// Counters of a port, from its guest's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    sent_packets: u64,
    sent_bytes: u64,
    dropped_packets: u64,
    received_packets: u64,
    received_bytes: u64,
    #[serde(default)]
    routed: Exchange,
    #[serde(default)]
    outside: Exchange,
}

impl Counts {
    const fn of(t: &Traffic) -> Self {
        Self {
            sent_packets: t.in_packets,
            sent_bytes: t.in_bytes,
            dropped_packets: t.dropped,
            received_packets: t.out_packets,
            received_bytes: t.out_bytes,
            routed: Exchange { sent: t.in_routed, received: t.out_routed },
            outside: Exchange { sent: t.in_outside, received: t.out_outside },
        }
    }

    /// What was gained since; `None`: those were other counters.
    fn since(&self, before: &Self) -> Option<Self> {
        Some(Self {
            sent_packets: self.sent_packets.checked_sub(before.sent_packets)?,
            sent_bytes: self.sent_bytes.checked_sub(before.sent_bytes)?,
            dropped_packets: self.dropped_packets.checked_sub(before.dropped_packets)?,
            received_packets: self.received_packets.checked_sub(before.received_packets)?,
            received_bytes: self.received_bytes.checked_sub(before.received_bytes)?,
            routed: self.routed.since(before.routed)?,
            outside: self.outside.since(before.outside)?,
        })
    }

    fn add_to(&self, usage: &mut Usage) {
        usage.sent_packets += self.sent_packets;
        usage.sent_bytes += self.sent_bytes;
        usage.dropped_packets += self.dropped_packets;
        usage.received_packets += self.received_packets;
        usage.received_bytes += self.received_bytes;
        usage.routed += self.routed;
        usage.outside += self.outside;
    }
}

/// All sums, and the marks that they go up to.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By guest and network.
    sums: BTreeMap<(String, String), Usage>,
    /// By port.
    marks: BTreeMap<String, Mark>,
    /// Ports and sums that the store does not know yet.
    new_marks: BTreeSet<String>,
    new_sums: BTreeSet<(String, String)>,
}

impl Ledger {
    /// As it was stored.
    ///
    /// # Errors
    /// The store's.
    pub fn load<S: Store>(state: &State<S>) -> Result<Self, Error> {
        let key = |usage: Usage| ((usage.guest.clone(), usage.network.clone()), usage);
        let sums = state.usage()?.into_iter().map(key).collect();
        Ok(Self { sums, marks: state.usage_marks()?, ..Self::default() })
    }

    /// Adds what the ports have gained.
    fn look(&mut self, ports: &[PortStatus], now: &Now) {
        for port in ports {
            // A closed port may not know its network; it keeps its counters until it does.
            let (Some(guest), Some(network), Some(traffic)) =
                (&port.guest, port.networks.first(), &port.traffic)
            else {
                continue;
            };
            let gained = self.gained(port, &Counts::of(traffic), now);
            if gained == Counts::default() {
                continue;
            }
            let key = (guest.clone(), network.clone());
            let sum = self.sums.entry(key.clone()).or_insert_with(|| Usage {
                guest: guest.clone(),
                network: network.clone(),
                since_unix_s: now.unix_s(),
                ..Usage::default()
            });
            gained.add_to(sum);
            sum.until_unix_s = now.unix_s();
            self.new_sums.insert(key);
        }
    }

    /// What one port has gained since its mark, which moves.
    fn gained(&mut self, port: &PortStatus, counts: &Counts, now: &Now) -> Counts {
        let same = |m: &&Mark| m.ifindex == port.ifindex && m.boot == now.boot;
        let before = self.marks.get(&port.name).filter(same);
        let gained = before.and_then(|m| counts.since(&m.counts)).unwrap_or(*counts);
        if gained != Counts::default() {
            let mark = Mark { boot: now.boot.clone(), ifindex: port.ifindex, counts: *counts };
            self.marks.insert(port.name.clone(), mark);
            self.new_marks.insert(port.name.clone());
        }
        gained
    }

    /// Stores what is new.
    fn store<S: Store>(&mut self, state: &mut State<S>) -> Result<(), Error> {
        let sums = self.new_sums.iter().filter_map(|key| self.sums.get(key));
        let marks = self.new_marks.iter().filter_map(|port| self.marks.get_key_value(port));
        state.put_usage(sums, marks)?;
        self.new_sums.clear();
        self.new_marks.clear();
        Ok(())
    }
}

impl<L: Launcher, S: Store> Actor<L, S> {
    /// Adds the counters up. What cannot be stored now is stored the next time.
    pub(super) fn note_usage(&mut self) {
        if let Err(failure) = self.account() {
            let text = format!("the guests' usage is not noted: {}", failure.message);
            return self.problem(Topic::Usage, text);
        }
        let Some(ledger) = &mut self.ledger else { return };
        match ledger.store(&mut self.state) {
            Ok(()) => drop(self.problems.remove(&Topic::Usage)),
            Err(error) => {
                self.problem(Topic::Usage, format!("the guests' usage cannot be stored: {error}"));
            }
        }
    }

    /// Notes what guests have used in networks that this image does not have them in: afterwards nobody
    /// knows whose those counters were.
    pub(super) fn note_before(&mut self, next: &Image) {
        let Some(before) = self.in_force.as_ref().map(|f| &f.ready.image) else { return };
        let kept: BTreeSet<_> = members(next).collect();
        if members(before).any(|member| !kept.contains(&member)) {
            self.note_usage();
        }
    }

    /// What every guest has used, up to this moment.
    pub(super) fn usage(&mut self) -> Result<Response, Failure> {
        self.account()?;
        let sums = self.ledger.iter().flat_map(|ledger| ledger.sums.values());
        Ok(Response::Usage { usage: sums.cloned().collect() })
    }

    /// Brings the ledger up to this moment, in memory.
    fn account(&mut self) -> Result<(), Failure> {
        let ports = self.plane.port_traffic().map_err(|error| switch_failure(&error))?;
        let ledger = match self.ledger.take() {
            Some(ledger) => ledger,
            None => Ledger::load(&self.state)
                .map_err(|error| Failure::new(code::STORE, error.to_string()))?,
        };
        self.ledger.insert(ledger).look(&ports, &Now::read());
        Ok(())
    }
}

/// Guests and the names of their networks.
fn members(image: &Image) -> impl Iterator<Item = (&str, &str)> {
    let name = |id| image.network(id).map_or("", |network| network.name.as_str());
    image.nics.iter().map(move |nic| (nic.guest.as_str(), name(nic.network)))
}

#[cfg(test)]
mod tests {
    use portcullis_store::Memory;

    use super::*;

    fn port(name: &str, ifindex: u32, guest: &str, sent: u64) -> PortStatus {
        PortStatus {
            name: name.into(),
            kind: "tap",
            guest: Some(guest.into()),
            networks: vec!["lan".into()],
            mac: None,
            addresses: Vec::new(),
            ifindex,
            open: true,
            closed: None,
            lane: false,
            gate: None,
            vhost: None,
            traffic: Some(Traffic { in_packets: sent, in_bytes: 100 * sent, ..Traffic::default() }),
            past: None,
            connections: None,
        }
    }

    fn now(boot: &str) -> Now {
        Now { unix_ms: 5000, boot_ms: 1, boot: boot.into() }
    }

    fn sent(ledger: &Ledger, guest: &str) -> u64 {
        ledger.sums[&(guest.to_owned(), "lan".to_owned())].sent_packets
    }

    #[test]
    fn what_is_gained_is_added_once() {
        let mut ledger = Ledger::default();
        for total in [10, 10, 25] {
            ledger.look(&[port("a", 3, "web", total), port("b", 4, "db", 7)], &now("x"));
        }
        assert_eq!((sent(&ledger, "web"), sent(&ledger, "db")), (25, 7));
        // Another interface by the same name, and another boot, count from nothing.
        ledger.look(&[port("a", 9, "web", 5)], &now("x"));
        ledger.look(&[port("a", 9, "web", 6)], &now("y"));
        assert_eq!(sent(&ledger, "web"), 36);
        // A guest that comes to another port is the same guest.
        ledger.look(&[port("c", 10, "web", 4)], &now("y"));
        assert_eq!(sent(&ledger, "web"), 40);
    }

    #[test]
    fn a_restart_goes_on_where_the_store_was() {
        let memory = Memory::new();
        let mut state = State::new(memory.clone());
        let mut ledger = Ledger::default();
        ledger.look(&[port("a", 3, "web", 10)], &now("x"));
        ledger.store(&mut state).unwrap();
        // Counted, and not stored: the next process finds it in the kernel's counters.
        ledger.look(&[port("a", 3, "web", 15)], &now("x"));
        let mut ledger = Ledger::load(&State::new(memory)).unwrap();
        assert_eq!(sent(&ledger, "web"), 10);
        ledger.look(&[port("a", 3, "web", 18)], &now("x"));
        assert_eq!(sent(&ledger, "web"), 18);
    }
}
