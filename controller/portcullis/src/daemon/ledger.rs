//! Accounting by guest and network that survives restarts: what the counters of a port have gained
//! since the last look is added to what the store holds of its guest.
//!
//! The kernel's counters outlive the daemon; what they showed at the last look is stored in the same
//! transaction as the sums, so nothing counts twice and nothing is missed. Only a machine that loses
//! its power loses what it has counted since then. Counters are known by their number, not by the
//! name of their port: a network that gets another name or VLAN id takes its own along or leaves
//! them, and whose they were last has what they gain until they are another's.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Add,
};

use portcullis_store::{Error, Store, record::Record};
use portcullis_switch::{Counters, PortStatus, Traffic};
use serde::{Deserialize, Serialize};

use super::clock::Now;
use crate::{
    api::{Exchange, Usage},
    state::State,
};

/// What the counters of a number showed at the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The boot in which that was.
    boot: String,
    /// The table that they stand in; 0: that was not noted.
    #[serde(default)]
    table: u32,
    /// The interface, or tagged network of one, that they belong to.
    ifindex: u32,
    /// Whose they are.
    #[serde(flatten)]
    owner: Owner,
    counts: Counts,
    /// Those of the other half.
    #[serde(default)]
    beside: Counts,
}

impl Record for Mark {
    const KIND: &'static str = "usage-mark";
    const VERSION: u32 = 1;
}

impl Mark {
    /// Are they counters that there still may be?
    fn is_of(&self, table: u32, now: &Now) -> bool {
        self.boot == now.boot && (self.table == table || self.table == 0)
    }

    fn place(&self) -> u32 {
        Counters::place(self.ifindex)
    }
}

/// A guest, and one of its networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
struct Owner {
    guest: String,
    network: String,
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

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let mut usage = Usage::default();
        self.add_to(&mut usage);
        other.add_to(&mut usage);
        let Usage { routed, outside, .. } = usage;
        Self {
            sent_packets: usage.sent_packets,
            sent_bytes: usage.sent_bytes,
            dropped_packets: usage.dropped_packets,
            received_packets: usage.received_packets,
            received_bytes: usage.received_bytes,
            routed,
            outside,
        }
    }
}

/// All sums, and the marks that they go up to.
#[derive(Debug, Default)]
pub struct Ledger {
    sums: BTreeMap<Owner, Usage>,
    /// By the name that the port had when its counters were seen first.
    marks: BTreeMap<String, Mark>,
    /// Marks and sums that the store does not know yet.
    new_marks: BTreeSet<String>,
    new_sums: BTreeSet<Owner>,
    /// Marks that the store still has, of counters that are no more.
    old_marks: BTreeSet<String>,
}

impl Ledger {
    /// As it was stored.
    ///
    /// # Errors
    /// The store's.
    pub fn load<S: Store>(state: &State<S>) -> Result<Self, Error> {
        let owner =
            |usage: &Usage| Owner { guest: usage.guest.clone(), network: usage.network.clone() };
        let sums = state.usage()?.into_iter().map(|usage| (owner(&usage), usage)).collect();
        Ok(Self { sums, marks: state.usage_marks()?, ..Self::default() })
    }

    /// What each guest has used in each network.
    pub fn sums(&self) -> impl Iterator<Item = &Usage> {
        self.sums.values()
    }

    /// Adds what all counters have gained.
    pub fn look(&mut self, counters: &Counters, now: &Now) {
        self.forget(|mark| !mark.is_of(counters.table, now));
        for (place, last) in &counters.retired {
            self.add_rest(|mark| mark.place() == *place, |_| Some(last), now);
            self.forget(|mark| mark.place() == *place);
        }
        let known: BTreeMap<u32, String> =
            self.marks.iter().map(|(name, mark)| (mark.ifindex, name.clone())).collect();
        let ports = || counters.ports.iter().filter(|port| port.ifindex != 0);
        for port in ports() {
            self.add(port, known.get(&port.ifindex), counters, now);
        }
        let live: BTreeSet<u32> = ports().map(|port| port.ifindex).collect();
        let gone = |mark: &Mark| !live.contains(&mark.ifindex);
        let left = |mark: &Mark| counters.left.get(&mark.place());
        self.add_rest(gone, left, now);
        self.forget(|mark| gone(mark) && left(mark).is_none());
    }

    /// Adds what a port has gained since its mark, which moves. `known`: the name of that.
    fn add(&mut self, port: &PortStatus, known: Option<&String>, counters: &Counters, now: &Now) {
        let (Some(guest), Some(traffic)) = (&port.guest, &port.traffic) else { return };
        let name = known.cloned().unwrap_or_else(|| self.free_name(port));
        let before = self.marks.get(&name).cloned().unwrap_or_default();
        let owner = match port.networks.first() {
            Some(network) => Owner { guest: guest.clone(), network: network.clone() },
            // A closed port may not know its network: it counts for whom it was, if it was anybody.
            None if !before.owner.guest.is_empty() => before.owner.clone(),
            None => return,
        };
        let counts = Counts::of(traffic);
        let of = |all: &BTreeMap<u32, Traffic>| all.get(&port.ifindex).map(Counts::of);
        let beside = counters.beside.as_ref().and_then(of).unwrap_or(before.beside);
        let gained = counts.since(&before.counts).unwrap_or(counts)
            + beside.since(&before.beside).unwrap_or(beside);
        if gained == Counts::default() && owner == before.owner {
            return;
        }
        self.credit(&owner, gained, now);
        let (boot, table, ifindex) = (now.boot.clone(), counters.table, port.ifindex);
        let mark = Mark { boot, table, ifindex, owner, counts, beside };
        self.marks.insert(name.clone(), mark);
        self.old_marks.remove(&name);
        self.new_marks.insert(name);
    }

    /// Adds to whose they were what counters without a port have gained.
    fn add_rest<'t>(
        &mut self,
        which: impl Fn(&Mark) -> bool,
        now_is: impl Fn(&Mark) -> Option<&'t Traffic>,
        now: &Now,
    ) {
        let gained = |(name, mark): (&String, &Mark)| {
            let counts = Counts::of(now_is(mark)?);
            let gained = counts.since(&mark.counts).filter(|more| *more != Counts::default())?;
            Some((name.clone(), mark.owner.clone(), counts, gained))
        };
        let marks = self.marks.iter().filter(|(_, mark)| which(mark));
        for (name, owner, counts, gained) in marks.filter_map(gained).collect::<Vec<_>>() {
            self.credit(&owner, gained, now);
            self.marks.entry(name.clone()).and_modify(|mark| mark.counts = counts);
            self.new_marks.insert(name);
        }
    }

    fn credit(&mut self, owner: &Owner, gained: Counts, now: &Now) {
        if gained == Counts::default() || owner.guest.is_empty() {
            return;
        }
        let sum = self.sums.entry(owner.clone()).or_insert_with(|| Usage {
            guest: owner.guest.clone(),
            network: owner.network.clone(),
            since_unix_s: now.unix_s(),
            ..Usage::default()
        });
        gained.add_to(sum);
        sum.until_unix_s = now.unix_s();
        self.new_sums.insert(owner.clone());
    }

    /// A name for the mark of a port's counters: others may have its own.
    fn free_name(&self, port: &PortStatus) -> String {
        if self.marks.contains_key(&port.name) {
            format!("{}@{}", port.name, port.ifindex)
        } else {
            port.name.clone()
        }
    }

    fn forget(&mut self, which: impl Fn(&Mark) -> bool) {
        let gone = self.marks.extract_if(.., |_, mark| which(mark));
        let gone: BTreeSet<String> = gone.map(|(name, _)| name).collect();
        self.new_marks.retain(|name| !gone.contains(name));
        self.old_marks.extend(gone);
    }

    /// Stores what is new.
    ///
    /// # Errors
    /// The store's.
    pub fn store<S: Store>(&mut self, state: &mut State<S>) -> Result<(), Error> {
        let sums = self.new_sums.iter().filter_map(|key| self.sums.get(key));
        let marks = self.new_marks.iter().filter_map(|name| self.marks.get_key_value(name));
        state.put_usage(sums, marks, &self.old_marks)?;
        self.new_sums.clear();
        self.new_marks.clear();
        self.old_marks.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use portcullis_store::Memory;

    use super::*;

    fn port(name: &str, ifindex: u32, (guest, network): (&str, &str), sent: u64) -> PortStatus {
        PortStatus {
            name: name.into(),
            kind: "tap",
            guest: Some(guest.into()),
            networks: vec![network.into()],
            mac: None,
            addresses: Vec::new(),
            ifindex,
            open: true,
            closed: None,
            lane: false,
            gate: None,
            vhost: None,
            traffic: Some(traffic(sent)),
            past: None,
            connections: None,
        }
    }

    fn traffic(sent: u64) -> Traffic {
        Traffic { in_packets: sent, in_bytes: 100 * sent, ..Traffic::default() }
    }

    /// In the table 1.
    fn of(ports: &[PortStatus]) -> Counters {
        Counters { table: 1, ports: ports.to_vec(), ..Counters::default() }
    }

    fn now(boot: &str) -> Now {
        Now { unix_ms: 5000, boot_ms: 1, boot: boot.into() }
    }

    fn sent(ledger: &Ledger, guest: &str, network: &str) -> u64 {
        let owner = Owner { guest: guest.into(), network: network.into() };
        ledger.sums.get(&owner).map_or(0, |sum| sum.sent_packets)
    }

    const WEB: (&str, &str) = ("web", "lan");

    #[test]
    fn what_is_gained_is_added_once() {
        let mut ledger = Ledger::default();
        for total in [10, 10, 25] {
            let ports = [port("a", 3, WEB, total), port("b", 4, ("db", "lan"), 7)];
            ledger.look(&of(&ports), &now("x"));
        }
        assert_eq!((sent(&ledger, "web", "lan"), sent(&ledger, "db", "lan")), (25, 7));
        // Another interface by the same name, another boot and another table count from nothing.
        ledger.look(&of(&[port("a", 9, WEB, 5)]), &now("x"));
        ledger.look(&of(&[port("a", 9, WEB, 6)]), &now("y"));
        ledger.look(&Counters { table: 2, ..of(&[port("a", 9, WEB, 8)]) }, &now("y"));
        assert_eq!(sent(&ledger, "web", "lan"), 25 + 5 + 6 + 8);
        // A guest that comes to another port is the same guest.
        ledger.look(&Counters { table: 2, ..of(&[port("c", 10, WEB, 4)]) }, &now("y"));
        assert_eq!(sent(&ledger, "web", "lan"), 48);
    }

    #[test]
    fn another_name_of_the_network_counts_nothing_again() {
        let mut ledger = Ledger::default();
        ledger.look(&of(&[port("t:blue", 70, ("fw", "blue"), 10)]), &now("x"));
        ledger.look(&of(&[port("t:azure", 70, ("fw", "azure"), 12)]), &now("x"));
        assert_eq!((sent(&ledger, "fw", "blue"), sent(&ledger, "fw", "azure")), (10, 2));
    }

    #[test]
    fn networks_that_change_their_numbers_change_their_marks() {
        let mut ledger = Ledger::default();
        let ports = |blue: (u32, u64), green: (u32, u64)| {
            of(&[
                port("t:blue", blue.0, ("fw", "blue"), blue.1),
                port("t:green", green.0, ("fw", "green"), green.1),
            ])
        };
        ledger.look(&ports((70, 10), (71, 1000)), &now("x"));
        ledger.look(&ports((71, 1003), (70, 11)), &now("x"));
        assert_eq!((sent(&ledger, "fw", "blue"), sent(&ledger, "fw", "green")), (13, 1001));
        // Another number, of which the old one has gained something until then; and back.
        let left = BTreeMap::from([(Counters::place(71), traffic(1008))]);
        ledger.look(&Counters { left, ..ports((72, 2), (70, 11)) }, &now("x"));
        assert_eq!(sent(&ledger, "fw", "blue"), 13 + 5 + 2);
        let left = BTreeMap::from([(Counters::place(72), traffic(2))]);
        ledger.look(&Counters { left, ..ports((71, 1009), (70, 11)) }, &now("x"));
        assert_eq!((sent(&ledger, "fw", "blue"), sent(&ledger, "fw", "green")), (21, 1001));
    }

    #[test]
    fn whose_place_another_gets_has_what_it_said_last() {
        let mut ledger = Ledger::default();
        ledger.look(&of(&[port("t:blue", 70, ("fw", "blue"), 10)]), &now("x"));
        let retired = vec![(Counters::place(70), traffic(14))];
        let other = port("s:red", 70, ("dmz", "red"), 30);
        ledger.look(&Counters { retired, ..of(&[other]) }, &now("x"));
        assert_eq!((sent(&ledger, "fw", "blue"), sent(&ledger, "dmz", "red")), (14, 30));
    }

    #[test]
    fn a_port_that_knows_no_network_counts_for_whom_it_was() {
        let mut ledger = Ledger::default();
        let closed = |sent| PortStatus { networks: Vec::new(), ..port("a", 3, WEB, sent) };
        ledger.look(&of(&[closed(2)]), &now("x"));
        assert_eq!(ledger.sums().count(), 0, "nobody yet");
        ledger.look(&of(&[port("a", 3, WEB, 5)]), &now("x"));
        ledger.look(&of(&[closed(9)]), &now("x"));
        assert_eq!(sent(&ledger, "web", "lan"), 9);
    }

    #[test]
    fn the_other_half_may_be_silent_and_start_anew() {
        let mut ledger = Ledger::default();
        let beside = |sent| Some(BTreeMap::from([(3, traffic(sent))]));
        for beside in [beside(100), None, Some(BTreeMap::new()), beside(110), beside(4)] {
            ledger.look(&Counters { beside, ..of(&[port("a", 3, WEB, 10)]) }, &now("x"));
        }
        assert_eq!(sent(&ledger, "web", "lan"), 10 + 110 + 4);
    }

    #[test]
    fn a_restart_goes_on_where_the_store_was() {
        let memory = Memory::new();
        let mut state = State::new(memory.clone());
        let mut ledger = Ledger::default();
        ledger.look(&of(&[port("a", 3, WEB, 10), port("b", 4, WEB, 1)]), &now("x"));
        ledger.store(&mut state).unwrap();
        // Counted, and not stored: the next process finds it in the kernel's counters.
        ledger.look(&of(&[port("a", 3, WEB, 15)]), &now("x"));
        let mut ledger = Ledger::load(&State::new(memory.clone())).unwrap();
        assert_eq!(sent(&ledger, "web", "lan"), 11);
        // It looks before it knows its ports.
        let left = BTreeMap::from([(3, traffic(16)), (4, traffic(1))]);
        ledger.look(&Counters { left, ..of(&[]) }, &now("x"));
        ledger.look(&of(&[port("a", 3, WEB, 18)]), &now("x"));
        assert_eq!(sent(&ledger, "web", "lan"), 19);
        // What is no more is forgotten.
        ledger.store(&mut state).unwrap();
        assert_eq!(state.usage_marks().unwrap().into_keys().collect::<Vec<_>>(), ["a"]);
    }
}
