//! Invariants, proved over every pair of identity classes and every service class.
//!
//! The classes respect every rule and every invariant, so the tables hold all connections that
//! there are: what is not found here does not exist. A pair of classes counts only if a packet
//! could go from one to the other: same address family, two different machines.

use std::collections::{HashMap, HashSet};

use portcullis_pipeline::policy::Cell;

use crate::{
    Compiled,
    compile::{
        InvariantKey,
        actors::{Actor, actors_of, add_actor, meet},
        block::addr,
        space::Zone,
    },
    diagnostic::{Diagnostic, Diagnostics},
    explain::describe,
    model::{Action, Demand, Endpoint, Invariant, Purpose, Term},
    problem::Problem,
    service::show_number,
};

/// Reports every invariant that does not hold, each with one connection that shows it, and
/// rules and invariants without effect.
pub fn prove(compiled: &Compiled, diags: &mut Diagnostics) {
    let prover = Prover::new(compiled);
    let build = &compiled.build;
    for (invariant, key) in build.expanded.invariants.iter().zip(&build.invariants) {
        prover.invariant(invariant, *key, diags);
    }
    never_decide(compiled, diags);
}

/// A connection that an invariant speaks about.
#[derive(Clone, Copy)]
struct Witness {
    src: Actor,
    dst: Actor,
    purpose: Purpose,
    cell: Cell,
}

struct Prover<'a> {
    compiled: &'a Compiled,
    /// For each class, atoms that stand for it: of each family two, with different owners
    /// where there are such.
    actors: Vec<Vec<Actor>>,
    /// The same without the addresses of the host that the policy does not know: what `always`
    /// promises is about declared ones. (A rule's prefix may cover what they turn out to be.)
    declared: Vec<Vec<Actor>>,
    /// For each service class, a connection of each protocol.
    examples: Vec<Vec<Purpose>>,
    /// What the rules' endpoints cover, where a kind's invariant asks.
    terms: HashMap<Endpoint, TermFacts>,
}

/// What one endpoint covers.
struct TermFacts {
    atoms: Vec<u32>,
    /// Do they all lie in one place?
    one_zone: bool,
}

impl<'a> Prover<'a> {
    fn new(compiled: &'a Compiled) -> Self {
        let build = &compiled.build;
        let mut actors: Vec<Vec<Actor>> = vec![Vec::new(); build.classes.len()];
        let mut declared = actors.clone();
        for actor in actors_of(&build.space, 0..build.space.atoms().len()) {
            let class = build.classes.of_atom(actor.atom) as usize;
            add_actor(&mut actors[class], actor);
            if actor.atom != build.space.host_atom() {
                add_actor(&mut declared[class], actor);
            }
        }
        let terms = term_facts(compiled);
        Self { compiled, actors, declared, examples: build.services.examples(), terms }
    }

    fn invariant(&self, invariant: &Invariant, key: InvariantKey, diags: &mut Diagnostics) {
        let build = &self.compiled.build;
        let mut search = Search {
            prover: self,
            invariant,
            services: build.services.of_list(key.services),
            possible: false,
            blamed: HashSet::new(),
            clean: HashMap::new(),
        };
        for &src in build.classes.of_list(key.from) {
            for &dst in build.classes.of_list(key.to) {
                for witness in search.pair(src, dst) {
                    diags.push(self.violated(invariant, witness));
                }
                if search.done() {
                    return;
                }
            }
        }
        if !search.possible && invariant.demand != Demand::NeverUnnamed {
            diags.report(Problem::EmptyInvariant {}, invariant.span);
        }
    }

    fn cell(&self, src: u32, dst: u32, service: u32) -> Cell {
        cell(self.compiled, src, dst, service)
    }

    fn who(&self, actor: Actor) -> String {
        format!("{} ({})", describe(self.compiled, actor.atom), addr(actor.addr))
    }

    /// Does one of these terms name the place of an atom? See [`crate::kinds`].
    fn names(&self, terms: &[Term], atom: usize) -> bool {
        terms.iter().any(|t| {
            let facts = &self.terms[&t.endpoint];
            let by_name = matches!(
                t.endpoint,
                Endpoint::Guest(_) | Endpoint::Network(_) | Endpoint::Host | Endpoint::World
            );
            (by_name || facts.one_zone) && facts.atoms.binary_search(&(atom as u32)).is_ok()
        })
    }

    /// A connection of these classes that a packet could really be, if there is one.
    fn witness(&self, demand: Demand, src: u32, dst: u32, service: u32) -> Option<Witness> {
        let actors = if demand == Demand::Always { &self.declared } else { &self.actors };
        self.examples[service as usize].iter().find_map(|&purpose| {
            let (from, to) = (&actors[src as usize], &actors[dst as usize]);
            let (s, d) = meet(from, to, purpose.protocol)?;
            let cell = self.cell(src, dst, service);
            Some(Witness { src: s, dst: d, purpose, cell })
        })
    }

    fn violated(&self, invariant: &Invariant, witness: Witness) -> Diagnostic {
        let allowed = witness.cell.allows();
        let what = format!(
            "{} to {}, {} is {}",
            self.who(witness.src),
            self.who(witness.dst),
            show_number(witness.purpose.protocol, witness.purpose.number),
            if allowed { "allowed" } else { "denied" },
        );
        let problem = match invariant.demand {
            Demand::Never => Problem::NeverViolated { witness: what },
            Demand::Always => Problem::AlwaysViolated { witness: what },
            Demand::NeverUnnamed => {
                Problem::KindViolated { invariant: invariant.name.clone(), witness: what }
            }
        };
        let diagnostic = Diagnostic::new(problem, invariant.span);
        let rules = &self.compiled.build.expanded.rules;
        let rule = (witness.cell.rule() as usize).checked_sub(1).and_then(|i| rules.get(i));
        match rule {
            None => diagnostic.help("no rule speaks about it, and the default is to deny"),
            Some(rule) => {
                let verb = if allowed { "allows" } else { "denies" };
                let diagnostic =
                    diagnostic.label(rule.span, format!("the rule `{}` {verb} it", rule.name));
                if invariant.demand == Demand::NeverUnnamed {
                    diagnostic.help(
                        "if this is meant, name both sides in the rule: networks, guests, `host` \
                         or `world`, not `any`, and no label or set that reaches further",
                    )
                } else {
                    diagnostic
                }
            }
        }
    }
}

fn term_facts(compiled: &Compiled) -> HashMap<Endpoint, TermFacts> {
    let build = &compiled.build;
    let mut facts = HashMap::new();
    if build.expanded.invariants.iter().all(|i| i.demand != Demand::NeverUnnamed) {
        return facts;
    }
    for term in build.expanded.rules.iter().flat_map(|r| r.from.iter().chain(&r.to)) {
        facts.entry(term.endpoint).or_insert_with(|| {
            let atoms = build.space.members(term.endpoint);
            let zone = |a: &u32| build.space.zone(*a as usize);
            let one_zone = atoms.windows(2).all(|w| zone(&w[0]) == zone(&w[1]));
            TermFacts { atoms, one_zone }
        });
    }
    facts
}

/// One invariant's walk over its pairs.
struct Search<'a> {
    prover: &'a Prover<'a>,
    invariant: &'a Invariant,
    services: &'a [u32],
    /// Is there any connection that it speaks about?
    possible: bool,
    /// Rules that were reported: one connection for each is enough.
    blamed: HashSet<u32>,
    /// Rows of the verdict table that agree with the invariant in all its services.
    clean: HashMap<u32, bool>,
}

impl Search<'_> {
    /// `never` is shown once for each rule that breaks it, `always` once.
    fn done(&self) -> bool {
        self.invariant.demand == Demand::Always && !self.blamed.is_empty()
    }

    fn breaks(&self, cell: Cell) -> bool {
        cell.allows() != (self.invariant.demand == Demand::Always)
    }

    fn is_clean(&mut self, src: u32, dst: u32) -> bool {
        let image = &self.prover.compiled.image;
        let row = image.rows[(src * image.classes + dst) as usize];
        if let Some(&clean) = self.clean.get(&row) {
            return clean;
        }
        let mut cells = self.services.iter().map(|&s| self.prover.cell(src, dst, s));
        let clean = !cells.any(|cell| self.breaks(cell));
        self.clean.insert(row, clean);
        clean
    }

    /// Connections between these classes that break the invariant, one for each rule that was
    /// not yet reported.
    fn pair(&mut self, src: u32, dst: u32) -> Vec<Witness> {
        let mut found = Vec::new();
        if self.possible && self.is_clean(src, dst) {
            return found;
        }
        for &service in self.services {
            let cell = self.prover.cell(src, dst, service);
            let breaks = self.breaks(cell);
            if self.possible && (!breaks || self.blamed.contains(&cell.rule())) {
                continue;
            }
            let Some(witness) = self.prover.witness(self.invariant.demand, src, dst, service)
            else {
                continue;
            };
            self.possible = true;
            if breaks && !self.excused(witness, service) && self.blamed.insert(cell.rule()) {
                found.push(witness);
            }
        }
        found
    }

    /// Does some rule that allows the connection name both of its sides?
    fn excused(&self, witness: Witness, service: u32) -> bool {
        if self.invariant.demand != Demand::NeverUnnamed {
            return false;
        }
        let build = &self.prover.compiled.build;
        // `kind: dmz` speaks about networks; undeclared members of external ones are the world.
        let to_world = build.space.zone(witness.dst.atom) == Zone::World;
        if to_world && !self.invariant.to.iter().any(|t| t.endpoint == Endpoint::Any) {
            return true;
        }
        let decider = witness.cell.rule() as usize - 1;
        if self.named(decider, witness) {
            return true;
        }
        let tier = build.expanded.rules[decider].tier;
        build.expanded.rules.iter().enumerate().any(|(i, rule)| {
            let also = rule.action == Action::Allow && rule.tier == tier;
            also && self.named(i, witness)
                && build.services.of_list(build.rules[i].services).binary_search(&service).is_ok()
        })
    }

    /// Does a rule name both sides of a connection?
    fn named(&self, rule: usize, witness: Witness) -> bool {
        let rule = &self.prover.compiled.build.expanded.rules[rule];
        self.prover.names(&rule.from, witness.src.atom)
            && self.prover.names(&rule.to, witness.dst.atom)
    }
}

/// Warns of rules that decide nothing: other rules say it already, or overrule them everywhere.
fn never_decide(compiled: &Compiled, diags: &mut Diagnostics) {
    let build = &compiled.build;
    let mut decides = vec![false; build.expanded.rules.len() + 1];
    for &cell in &compiled.image.cells {
        decides[Cell(cell).rule() as usize] = true;
    }
    for (i, rule) in build.expanded.rules.iter().enumerate() {
        if decides[i + 1] || rule.action == Action::Pass {
            continue;
        }
        let key = build.rules[i];
        let first = |classes: &[u32]| classes.first().copied().unwrap_or(0);
        let src = first(build.classes.of_list(key.from));
        let dst = first(build.classes.of_list(key.to));
        let cell = cell(compiled, src, dst, first(build.services.of_list(key.services)));
        let problem = Problem::NeverDecides { name: rule.name.clone() };
        let diagnostic = Diagnostic::new(problem, rule.span);
        diags.push(match (cell.rule() as usize).checked_sub(1) {
            Some(other) => {
                let other = &build.expanded.rules[other];
                diagnostic.label(other.span, format!("`{}` decides instead", other.name))
            }
            None => diagnostic,
        });
    }
}

/// The cell of a pair of classes and a service class.
pub fn cell(compiled: &Compiled, src: u32, dst: u32, service: u32) -> Cell {
    let image = &compiled.image;
    let row = image.rows[(src * image.classes + dst) as usize];
    Cell(image.cells[(row * image.services + service) as usize])
}
