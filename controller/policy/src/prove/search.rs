//! The search for connections that break an invariant: over every pair of classes that it speaks
//! about and every service class.
//!
//! The classes respect every rule and every invariant, so the tables hold all connections that
//! there are: what is not found here does not exist.

use std::{
    cell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use portcullis_pipeline::policy::Cell;

use super::{
    machines::{self, Machine, Machines, family},
    naming::{self, Naming},
    relays::{self, Entered, Leg},
    routes,
};
use crate::{
    Compiled,
    compile::InvariantKey,
    model::{Demand, Endpoint, Invariant, Protocol, Purpose},
};

/// A connection between two machines that stand for their classes.
#[derive(Clone, Copy)]
pub struct Step {
    pub src: Machine,
    pub dst: Machine,
    pub src_class: u32,
    pub dst_class: u32,
}

impl Step {
    /// The family that its packets are of.
    pub fn family(&self) -> u8 {
        if self.dst.v6 { family::V6 } else { family::V4 }
    }

    /// How well it reads in a message: the smaller the better.
    pub fn rank(&self) -> u16 {
        u16::from(self.src.rank()) + u16::from(self.dst.rank())
    }
}

/// What breaks an invariant.
#[derive(Clone)]
pub enum Found {
    /// Allowed by a rule, and must not be: for these service classes. Steps before the last one
    /// lead to it through relays, each for any service that is allowed.
    Allowed { rule: u32, steps: Vec<Step>, services: Vec<u32> },
    /// Denied by a rule (0: by default), and must be allowed.
    Denied { rule: u32, step: Step, services: Vec<u32> },
    /// There is no way for its packets, for want of a gateway in a network.
    NoWay { step: Step, network: usize, services: Vec<u32> },
}

/// What the searches share.
pub struct Prover<'a> {
    pub compiled: &'a Compiled,
    /// By class.
    pub machines: Vec<Machines>,
    /// The NICs of relays.
    pub legs: Vec<Leg>,
    /// By service class: which families it is possible in.
    families: Vec<u8>,
    naming: Option<Naming<'a>>,
    /// By row, found when first asked for: in which families it allows anything.
    opens: Vec<cell::Cell<u8>>,
}

/// By service class: which families it is possible in.
pub fn families(compiled: &Compiled) -> Vec<u8> {
    let of = |p: &Purpose| match p.protocol {
        Protocol::Icmp => family::V4,
        Protocol::Icmpv6 => family::V6,
        _ => family::BOTH,
    };
    let examples = compiled.build.services.examples();
    examples.iter().map(|e| e.iter().map(of).fold(0, |a, b| a | b)).collect()
}

/// A row that was not looked at yet.
const UNKNOWN: u8 = u8::MAX;

impl<'a> Prover<'a> {
    pub fn new(compiled: &'a Compiled) -> Self {
        let (machines, relays) = machines::by_class(compiled);
        let image = &compiled.image;
        let rows = image.cells.len() / (image.services.max(1) as usize);
        Self {
            compiled,
            machines,
            legs: relays::legs(&relays),
            families: families(compiled),
            naming: Naming::new(compiled),
            opens: vec![cell::Cell::new(UNKNOWN); rows],
        }
    }

    /// Everything that breaks an invariant, once for each rule that allows it; and whether there
    /// is any connection that the invariant speaks about.
    pub fn invariant(&self, invariant: &Invariant, key: InvariantKey) -> (Vec<Found>, bool) {
        let build = &self.compiled.build;
        let search = Search {
            prover: self,
            invariant,
            services: build.services.of_list(key.services),
            rows: HashMap::new(),
            possible: false,
        };
        let from = build.classes.of_list(key.from);
        let to = build.classes.of_list(key.to);
        match invariant.demand {
            Demand::Always => search.always(from, to),
            Demand::Never | Demand::NeverUnnamed => search.never(from, to),
        }
    }

    pub fn cell(&self, src: u32, dst: u32, service: u32) -> Cell {
        super::cell(self.compiled, src, dst, service)
    }

    fn row(&self, src: u32, dst: u32) -> u32 {
        let image = &self.compiled.image;
        image.rows[(src * image.classes + dst) as usize]
    }

    /// In which families the rules allow anything between two classes.
    fn opens(&self, src: u32, dst: u32) -> u8 {
        let row = self.row(src, dst) as usize;
        let known = &self.opens[row];
        if known.get() == UNKNOWN {
            let services = self.families.len();
            let cells = &self.compiled.image.cells[row * services..][..services];
            let each = cells.iter().zip(&self.families).filter(|(c, _)| Cell(**c).allows());
            known.set(each.fold(0, |all, (_, families)| all | families));
        }
        known.get()
    }

    /// Any connection between machines of two classes that the rules allow, for whatever service.
    pub fn any_step(
        &self,
        (src_class, from): (u32, &Machines),
        (dst_class, to): (u32, &Machines),
        fits: impl Fn(&Machine, &Machine) -> bool,
    ) -> Option<Step> {
        let families = self.opens(src_class, dst_class);
        if families == 0 {
            return None;
        }
        let (src, dst) = from.meet(to, families, &self.compiled.model, fits)?;
        Some(Step { src, dst, src_class, dst_class })
    }

    /// The service classes that are allowed in a step.
    pub fn allowed_in(&self, step: &Step) -> Vec<u32> {
        let all = 0..self.families.len() as u32;
        let allows = |&s: &u32| self.cell(step.src_class, step.dst_class, s).allows();
        self.possible(&all.filter(allows).collect::<Vec<_>>(), step.family())
    }

    /// Those of some service classes that are possible in a family.
    fn possible(&self, services: &[u32], family: u8) -> Vec<u32> {
        let fits = |s: &&u32| self.families[**s as usize] & family != 0;
        services.iter().filter(fits).copied().collect()
    }

    fn families_of(&self, services: &[u32]) -> u8 {
        services.iter().fold(0, |all, &s| all | self.families[s as usize])
    }
}

/// What a row of the verdict table says against an invariant: rules, each with the service
/// classes for which it does.
type Blame = Vec<(u32, Vec<u32>)>;

/// By relay at the end and rule: the chain that reads best, and the services of its last step.
type Chains = BTreeMap<(usize, u32), (Vec<Step>, Vec<u32>)>;

/// One invariant's walk over its pairs.
struct Search<'p> {
    prover: &'p Prover<'p>,
    invariant: &'p Invariant,
    services: &'p [u32],
    /// Rows that were looked at.
    rows: HashMap<u32, Rc<Blame>>,
    /// Is there any connection that it speaks about?
    possible: bool,
}

impl Search<'_> {
    fn never(mut self, from: &[u32], to: &[u32]) -> (Vec<Found>, bool) {
        let mut best: BTreeMap<u32, (Step, Vec<u32>)> = BTreeMap::new();
        for &src in from {
            for &dst in to {
                self.note_possible(src, dst);
                if self.prover.opens(src, dst) != 0 {
                    self.allowed_pair(src, dst, &mut best);
                }
            }
        }
        let direct = best.into_iter();
        let mut found: Vec<Found> = direct
            .map(|(rule, (step, services))| Found::Allowed { rule, steps: vec![step], services })
            .collect();
        if !self.prover.legs.is_empty() {
            self.relayed(from, to, &mut found);
        }
        (found, self.possible)
    }

    fn note_possible(&mut self, src: u32, dst: u32) {
        let machines = &self.prover.machines;
        let (from, to) = (&machines[src as usize], &machines[dst as usize]);
        if !self.possible {
            let families = self.prover.families_of(self.services);
            let model = &self.prover.compiled.model;
            self.possible = match self.invariant.demand {
                Demand::Always => from.meet_declared(to, families).is_some(),
                _ => from.meet(to, families, model, |_, _| true).is_some(),
            };
        }
    }

    /// Keeps for each rule the allowed connection that reads best.
    fn allowed_pair(&mut self, src: u32, dst: u32, best: &mut BTreeMap<u32, (Step, Vec<u32>)>) {
        let prover = self.prover;
        let (from, to) = (&prover.machines[src as usize], &prover.machines[dst as usize]);
        let floor = u16::from(from.best_rank) + u16::from(to.best_rank);
        for (rule, services) in self.blame(src, dst, true).iter() {
            let rule = *rule;
            // Most connections are excused so, and all of their services at once.
            if self.is_named(rule, src, dst) {
                continue;
            }
            if best.get(&rule).is_some_and(|(step, _)| step.rank() <= floor) {
                continue;
            }
            for families in [family::V4, family::V6] {
                let ends = Ends { src, dst, from, to, families };
                let Some((step, services)) = self.step(&ends, services, |_, _| true) else {
                    continue;
                };
                let services = self.unexcused(&step, rule, services);
                let better = |(known, _): &(Step, _)| step.rank() < known.rank();
                if !services.is_empty() && best.get(&rule).is_none_or(better) {
                    best.insert(rule, (step, services));
                }
            }
        }
    }

    /// A connection between these machines for some of these services, and for which.
    fn step(
        &self,
        ends: &Ends<'_>,
        services: &[u32],
        fits: impl Fn(&Machine, &Machine) -> bool,
    ) -> Option<(Step, Vec<u32>)> {
        let services = self.prover.possible(services, ends.families);
        if services.is_empty() {
            return None;
        }
        let model = &self.prover.compiled.model;
        let (src, dst) = ends.from.meet(ends.to, ends.families, model, fits)?;
        Some((Step { src, dst, src_class: ends.src, dst_class: ends.dst }, services))
    }

    /// The rules that allow (or deny) what the invariant speaks about between two classes.
    fn blame(&mut self, src: u32, dst: u32, allowed: bool) -> Rc<Blame> {
        let prover = self.prover;
        let row = prover.row(src, dst);
        let blame = self.rows.entry(row).or_insert_with(|| {
            let mut by_rule: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for &service in self.services {
                let cell = prover.cell(src, dst, service);
                if cell.allows() == allowed {
                    by_rule.entry(cell.rule()).or_default().push(service);
                }
            }
            Rc::new(by_rule.into_iter().collect())
        });
        Rc::clone(blame)
    }

    /// Does a rule name both classes, where a kind asks for that?
    fn is_named(&self, rule: u32, src: u32, dst: u32) -> bool {
        let naming = self.prover.naming.as_ref();
        let asks = self.invariant.demand == Demand::NeverUnnamed;
        naming.filter(|_| asks).is_some_and(|n| n.names(rule as usize - 1, src, dst))
    }

    /// The services for which no rule that allows the connection names both of its sides.
    fn unexcused(&self, step: &Step, rule: u32, mut services: Vec<u32>) -> Vec<u32> {
        let Some(naming) = &self.prover.naming else { return services };
        if self.invariant.demand != Demand::NeverUnnamed {
            return services;
        }
        let compiled = self.prover.compiled;
        // `kind: dmz` speaks about networks; undeclared members of external ones are the world.
        let to_world = naming::is_world(compiled, step.dst.atom);
        if to_world && !self.invariant.to.iter().any(|t| t.endpoint == Endpoint::Any) {
            return Vec::new();
        }
        let build = &compiled.build;
        let tier = |rule: usize| build.expanded.rules[rule].tier;
        let decider = rule as usize - 1;
        if naming.names(decider, step.src_class, step.dst_class) {
            return Vec::new();
        }
        for named in naming.rules(step.src_class, step.dst_class) {
            if services.is_empty() {
                return services;
            }
            if tier(named) == tier(decider) {
                let covered = build.services.of_list(build.rules[named].services);
                services.retain(|s| covered.binary_search(s).is_err());
            }
        }
        services
    }

    /// What is reached through relays. A kind's invariant asks whether a rule names both ends, so
    /// each class begins for itself there.
    fn relayed(&mut self, from: &[u32], to: &[u32], found: &mut Vec<Found>) {
        let apart = self.invariant.demand == Demand::NeverUnnamed;
        let starts: Vec<&[u32]> = if apart { from.chunks(1).collect() } else { vec![from] };
        let mut best: Chains = BTreeMap::new();
        for start in starts {
            let entered = Entered::new(self.prover, start);
            for exit in entered.exits() {
                self.leave(&entered, exit, to, &mut best);
            }
        }
        let chains = best.into_iter();
        found.extend(chains.map(|((_, rule), (steps, services))| Found::Allowed {
            rule,
            steps,
            services,
        }));
    }

    /// By one leg of a relay to where the invariant forbids it.
    fn leave(&mut self, entered: &Entered<'_>, exit: usize, to: &[u32], best: &mut Chains) {
        let prover = self.prover;
        let leg = &prover.legs[exit];
        let ends = |_: &Machine, last: &Machine| {
            last.guest() != Some(leg.guest) && entered.leads_to(exit, last)
        };
        for (src, from) in &leg.addresses {
            for &dst in to.iter().filter(|d| prover.opens(*src, **d) != 0) {
                let target = &prover.machines[dst as usize];
                for (rule, services) in self.blame(*src, dst, true).iter() {
                    for families in [family::V4, family::V6] {
                        let pair = Ends { src: *src, dst, from, to: target, families };
                        let Some((step, services)) = self.step(&pair, services, ends) else {
                            continue;
                        };
                        let mut steps = entered.chain(exit, &step.dst);
                        let services = self.unexcused_chain(&steps, &step, services);
                        steps.push(step);
                        let known = best.get(&(leg.guest, *rule)).map(|(known, _)| rank(known));
                        if !services.is_empty() && known.is_none_or(|known| rank(&steps) < known) {
                            best.insert((leg.guest, *rule), (steps, services));
                        }
                    }
                }
            }
        }
    }

    /// The services of the last step for which no rule allows both ends to meet by name anyway.
    fn unexcused_chain(&self, steps: &[Step], last: &Step, mut services: Vec<u32>) -> Vec<u32> {
        let Some(first) = steps.first() else { return Vec::new() };
        if self.invariant.demand != Demand::NeverUnnamed {
            return services;
        }
        let ends = Step { src: first.src, src_class: first.src_class, ..*last };
        services.retain(|&service| {
            let cell = self.prover.cell(ends.src_class, ends.dst_class, service);
            !cell.allows() || !self.unexcused(&ends, cell.rule(), vec![service]).is_empty()
        });
        services
    }

    fn always(mut self, from: &[u32], to: &[u32]) -> (Vec<Found>, bool) {
        let mut denied: Option<(Step, Found)> = None;
        let mut no_way: BTreeMap<usize, (Step, Found)> = BTreeMap::new();
        for &src in from {
            for &dst in to {
                self.note_possible(src, dst);
                self.denied_pair(src, dst, &mut denied);
                self.pair_without_way(src, dst, &mut no_way);
            }
        }
        let found = denied.into_iter().chain(no_way.into_values());
        (found.map(|(_, found)| found).collect(), self.possible)
    }

    /// Keeps the denied connection that reads best.
    fn denied_pair(&mut self, src: u32, dst: u32, best: &mut Option<(Step, Found)>) {
        let machines = &self.prover.machines;
        let (from, to) = (&machines[src as usize], &machines[dst as usize]);
        let floor = u16::from(from.best_rank) + u16::from(to.best_rank);
        for (rule, services) in self.blame(src, dst, false).iter() {
            if best.as_ref().is_some_and(|(step, _)| step.rank() <= floor) {
                return;
            }
            for families in [family::V4, family::V6] {
                let services = self.prover.possible(services, families);
                let met = if services.is_empty() { None } else { from.meet_declared(to, families) };
                let Some((a, b)) = met else { continue };
                let step = Step { src: a, dst: b, src_class: src, dst_class: dst };
                if best.as_ref().is_none_or(|(known, _)| step.rank() < known.rank()) {
                    *best = Some((step, Found::Denied { rule: *rule, step, services }));
                }
            }
        }
    }

    /// Keeps for each network without a gateway the connection that reads best.
    fn pair_without_way(&self, src: u32, dst: u32, best: &mut BTreeMap<usize, (Step, Found)>) {
        let prover = self.prover;
        let (from, to) = (&prover.machines[src as usize], &prover.machines[dst as usize]);
        let families = prover.families_of(self.services);
        for (network, a, b) in routes::missing(&prover.compiled.model, from, to, families) {
            let step = Step { src: a, dst: b, src_class: src, dst_class: dst };
            let better = |(known, _): &(Step, _)| step.rank() < known.rank();
            if best.get(&network).is_none_or(better) {
                let services = prover.possible(self.services, step.family());
                best.insert(network, (step, Found::NoWay { step, network, services }));
            }
        }
    }
}

/// Two classes, or parts of them, and the family of the packets between them.
struct Ends<'m> {
    src: u32,
    dst: u32,
    from: &'m Machines,
    to: &'m Machines,
    families: u8,
}

/// How well a chain reads: short ones first.
fn rank(steps: &[Step]) -> (usize, u16) {
    (steps.len(), steps.iter().map(Step::rank).sum())
}
