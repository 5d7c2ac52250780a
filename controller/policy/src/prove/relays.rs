//! Relays: a guest with several NICs joins their networks, unless it says `forwards: false`.
//!
//! Who may open any connection to one of its NICs reaches through its other NICs whatever these
//! may open, and so on through the next relay. A chain enters by one NIC and leaves by another;
//! who begins it is none of its relays, and it ends neither there nor at its last relay.

use std::collections::VecDeque;

use super::{
    machines::{Machine, Machines},
    search::{Prover, Step},
};

/// A NIC of a relay.
pub struct Leg {
    /// Index of the guest.
    pub guest: usize,
    nic: usize,
    /// Its addresses, each with its class: declared ones and the link-local one.
    pub addresses: Vec<(u32, Machines)>,
}

/// The NICs of all relays, from their addresses with their classes.
pub fn legs(relays: &[(u32, Machine)]) -> Vec<Leg> {
    let nic = |m: &Machine| m.nic().unwrap_or_default();
    let mut sorted: Vec<&(u32, Machine)> = relays.iter().collect();
    sorted.sort_by_key(|(_, m)| nic(m));
    let mut legs: Vec<Leg> = Vec::new();
    for &(class, machine) in sorted {
        let (guest, nic) = nic(&machine);
        let address = (class, Machines::of(machine));
        match legs.last_mut() {
            Some(leg) if (leg.guest, leg.nic) == (guest, nic) => leg.addresses.push(address),
            _ => legs.push(Leg { guest, nic, addresses: vec![address] }),
        }
    }
    legs
}

/// Who can get into each leg.
pub struct Entered<'p> {
    prover: &'p Prover<'p>,
    /// By leg: some different machines that can, each with its way.
    ways: Vec<Vec<Way>>,
    /// Ways that were not yet followed further: leg, and which of its ways. First in, first out:
    /// so the ways that are found first are the shortest.
    open: VecDeque<(usize, usize)>,
}

/// How somebody gets into a leg.
#[derive(Clone, Copy)]
struct Way {
    /// The last step, into the leg.
    step: Step,
    /// The way to the leg of the guest before.
    before: Option<(usize, usize)>,
    /// Who began.
    first: Machine,
}

/// Ways kept for each leg: of several machines one is another than where a chain ends.
const WAYS: usize = 4;

impl<'p> Entered<'p> {
    /// From machines of these classes, into every leg that they can get into.
    pub fn new(prover: &'p Prover<'p>, classes: &[u32]) -> Self {
        let ways = prover.legs.iter().map(|_| Vec::new()).collect();
        let mut entered = Self { prover, ways, open: VecDeque::new() };
        for (l, leg) in prover.legs.iter().enumerate() {
            let mut steps: Vec<Step> = Vec::new();
            for &class in classes {
                for (to_class, to) in &leg.addresses {
                    let from = &prover.machines[class as usize];
                    let fits = |a: &Machine, _: &Machine| a.guest() != Some(leg.guest);
                    steps.extend(prover.any_step((class, from), (*to_class, to), fits));
                }
            }
            // One machine may be in several classes: by the address that reads best.
            steps.sort_by_key(Step::rank);
            for step in steps {
                entered.add(l, Way { step, before: None, first: step.src });
            }
        }
        while let Some((l, w)) = entered.open.pop_front() {
            entered.go_on(l, w);
        }
        entered
    }

    fn add(&mut self, leg: usize, way: Way) {
        let ways = &mut self.ways[leg];
        if ways.len() < WAYS && ways.iter().all(|w| w.first.is_other_machine(&way.first)) {
            self.open.push_back((leg, ways.len()));
            ways.push(way);
        }
    }

    /// Out by the other legs of the guest, and into the next one.
    fn go_on(&mut self, l: usize, w: usize) {
        let prover = self.prover;
        let legs = &prover.legs;
        let first = self.ways[l][w].first;
        for m in others(legs, l) {
            for (n, next) in legs.iter().enumerate() {
                let full = self.ways[n].len() == WAYS;
                if full || next.guest == legs[m].guest || first.guest() == Some(next.guest) {
                    continue;
                }
                let mut pairs = legs[m].addresses.iter().flat_map(|(src_class, src)| {
                    next.addresses
                        .iter()
                        .map(move |(class, dst)| ((*src_class, src), (*class, dst)))
                });
                let step = pairs.find_map(|(from, to)| prover.any_step(from, to, |_, _| true));
                if let Some(step) = step {
                    self.add(n, Way { step, before: Some((l, w)), first });
                }
            }
        }
    }

    /// Legs by which somebody who got in by another leg can leave.
    pub fn exits(&self) -> impl Iterator<Item = usize> {
        let legs = &self.prover.legs;
        let entered = |m: &usize| others(legs, *m).any(|l| !self.ways[l].is_empty());
        (0..legs.len()).filter(entered)
    }

    /// Did some machine other than `last` get into the guest of `exit` by another leg?
    pub fn leads_to(&self, exit: usize, last: &Machine) -> bool {
        self.ways_before(exit, last).next().is_some()
    }

    /// The shortest way of such a machine.
    pub fn chain(&self, exit: usize, last: &Machine) -> Vec<Step> {
        let steps = self.ways_before(exit, last).map(|(l, w)| self.steps(l, w));
        steps.min_by_key(Vec::len).unwrap_or_default()
    }

    fn ways_before(&self, exit: usize, last: &Machine) -> impl Iterator<Item = (usize, usize)> {
        let ways = others(&self.prover.legs, exit)
            .flat_map(|l| (0..self.ways[l].len()).map(move |w| (l, w)));
        ways.filter(|&(l, w)| self.ways[l][w].first.is_other_machine(last))
    }

    fn steps(&self, leg: usize, way: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut at = Some((leg, way));
        while let Some((l, w)) = at {
            steps.push(self.ways[l][w].step);
            at = self.ways[l][w].before;
        }
        steps.reverse();
        steps
    }
}

/// The other legs of the same guest: they stand beside it.
fn others(legs: &[Leg], leg: usize) -> impl Iterator<Item = usize> {
    let guest = legs[leg].guest;
    let start = legs.partition_point(|l| l.guest < guest);
    let end = legs.partition_point(|l| l.guest <= guest);
    (start..end).filter(move |&l| l != leg)
}
