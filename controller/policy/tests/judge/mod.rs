//! An independent judge of invariants: the oracle, asked about every pair of addresses and every
//! number at which an answer can change; and its own idea of wires, gateways, relays and of what
//! it is to name somebody.

#[path = "../real/mod.rs"]
mod real;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use portcullis_policy::{
    Model,
    model::{
        Action, Demand, Endpoint, Invariant, Kind, Outside, Ports, Protocol, Purpose, Rule,
        Service, Term, Tier,
    },
    oracle::{self, Judgement},
};
use real::{host_has, is_real, nic_with};

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    Nic {
        guest: usize,
        nic: usize,
    },
    Host,
    /// Nobody declared it: on a network, or outside.
    Nobody(Option<usize>),
    /// A link-local address that nobody declared, somewhere.
    Stray,
}

/// An address on a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    pub addr: IpAddr,
    /// Id of its network for link-local addresses, else 0.
    pub scope: u32,
    pub owner: Owner,
    /// The network that it is on, if it is on one.
    pub network: Option<usize>,
}

impl Spot {
    fn v6(&self) -> bool {
        self.addr.is_ipv6()
    }

    fn guest(&self) -> Option<usize> {
        match self.owner {
            Owner::Nic { guest, .. } => Some(guest),
            _ => None,
        }
    }

    /// No wire between these.
    fn same_nic(&self, other: &Self) -> bool {
        match (self.owner, other.owner) {
            (Owner::Nobody(_) | Owner::Stray, Owner::Nobody(_) | Owner::Stray) => {
                self.addr == other.addr
            }
            (a, b) => a == b,
        }
    }

    fn same_machine(&self, other: &Self) -> bool {
        match (self.guest(), other.guest()) {
            (Some(a), Some(b)) => a == b,
            _ => self.same_nic(other),
        }
    }
}

/// The judge of one policy.
pub struct Judge<'m> {
    model: &'m Model,
    pub spots: Vec<Spot>,
    purposes: Vec<Purpose>,
    /// Which endpoints cover each spot.
    covered: Vec<BTreeSet<Endpoint>>,
    /// The number of each spot's set of endpoints.
    alike: Vec<usize>,
    known: HashMap<(usize, usize, Purpose), Judgement>,
}

impl<'m> Judge<'m> {
    pub fn new(model: &'m Model) -> Self {
        let endpoints = endpoints(model);
        let mut probe = Probe::new(model);
        let spots = spots(model);
        let covers = |s: &Spot| -> BTreeSet<Endpoint> {
            endpoints.iter().copied().filter(|e| probe.covers(*e, s)).collect()
        };
        let mut all: Vec<(Spot, BTreeSet<Endpoint>)> = Vec::new();
        let mut seen: BTreeMap<(BTreeSet<Endpoint>, Owner, bool, u32), usize> = BTreeMap::new();
        for (spot, covered) in spots.iter().map(covers).collect::<Vec<_>>().into_iter().enumerate()
        {
            let spot = spots[spot];
            // Two addresses of each kind are enough: they can talk to each other.
            let kind = (covered.clone(), spot.owner, spot.v6(), spot.scope);
            let count = seen.entry(kind).or_default();
            *count += 1;
            if *count <= 2 {
                all.push((spot, covered));
            }
        }
        let mut numbers: BTreeMap<BTreeSet<Endpoint>, usize> = BTreeMap::new();
        let number = |set: &BTreeSet<Endpoint>| {
            let next = numbers.len();
            *numbers.entry(set.clone()).or_insert(next)
        };
        let alike = all.iter().map(|(_, covered)| covered).map(number).collect();
        let (spots, covered) = all.into_iter().unzip();
        Self { model, spots, purposes: purposes(model), covered, alike, known: HashMap::new() }
    }

    /// The names of the invariants that do not hold, those of kinds among them.
    pub fn broken(&mut self) -> BTreeSet<String> {
        let mut all = self.model.invariants.clone();
        for (i, network) in self.model.networks.iter().enumerate() {
            all.extend(of_kind(self.model, i, network.kind));
        }
        all.into_iter().filter(|i| self.is_broken(i)).map(|i| i.name).collect()
    }

    /// Does some connection break it?
    pub fn is_broken(&mut self, invariant: &Invariant) -> bool {
        let (mut from, mut to) = (self.inside(&invariant.from), self.inside(&invariant.to));
        if invariant.demand == Demand::Never {
            self.add_shared(&mut from);
            self.add_shared(&mut to);
        }
        let purposes = self.purposes.clone();
        let wanted: Vec<Purpose> =
            purposes.into_iter().filter(|p| speaks_of(&invariant.services, *p)).collect();
        match invariant.demand {
            Demand::Always => self.fails(&from, &to, &wanted),
            Demand::Never | Demand::NeverUnnamed => {
                self.leaks(invariant, &from, &to, &wanted)
                    || self.leaks_through_relays(invariant, &from, &to, &wanted)
            }
        }
    }

    fn inside(&self, terms: &[Term]) -> Vec<usize> {
        let covered = |s: &usize| terms.iter().any(|t| self.covered[*s].contains(&t.endpoint));
        (0..self.spots.len()).filter(covered).collect()
    }

    /// Addresses that somebody among these may hold, too.
    fn add_shared(&self, spots: &mut Vec<usize>) {
        let owners: BTreeSet<Owner> = spots.iter().map(|s| self.spots[*s].owner).collect();
        let held = |s: &usize| self.holders(*s).iter().any(|owner| owners.contains(owner));
        let more: Vec<usize> = (0..self.spots.len()).filter(held).collect();
        spots.extend(more);
        spots.sort_unstable();
        spots.dedup();
    }

    /// Whose a spot may be, where it is shared: the NICs of these guests on its network.
    fn holders(&self, spot: usize) -> Vec<Owner> {
        let spot = &self.spots[spot];
        let shared = spot.guest().and_then(|g| self.model.guests[g].sharing.as_ref());
        let by = shared.into_iter().flat_map(|s| s.by.iter().copied());
        let nic = |guest: usize| {
            let nics = &self.model.guests[guest].nics;
            let nic = nics.iter().position(|n| Some(n.network) == spot.network)?;
            Some(Owner::Nic { guest, nic })
        };
        by.filter_map(nic).collect()
    }

    fn judge(&mut self, a: usize, b: usize, purpose: Purpose) -> Judgement {
        let key = (self.alike[a], self.alike[b], purpose);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let (from, to) = (self.spots[a], self.spots[b]);
        let scope = to.scope.max(from.scope);
        let judgement = oracle::evaluate_in(self.model, scope, from.addr, to.addr, purpose);
        self.known.insert(key, judgement.clone());
        judgement
    }

    /// Could a packet go from one to the other? Missing gateways are no obstacle.
    fn meets(&self, a: usize, b: usize) -> bool {
        let (from, to) = (&self.spots[a], &self.spots[b]);
        if from.v6() != to.v6() || from.same_nic(to) {
            return false;
        }
        let Some(link) = (to.scope as usize).checked_sub(1) else { return true };
        match from.owner {
            Owner::Host if from.scope == 0 => !self.model.networks[link].gateway.is_empty(),
            Owner::Nobody(None) => self.model.networks[link].kind == Kind::External,
            Owner::Stray => true,
            _ => from.network == Some(link),
        }
    }

    fn leaks(&mut self, i: &Invariant, from: &[usize], to: &[usize], wanted: &[Purpose]) -> bool {
        for (&a, &b) in pairs(from, to) {
            if !self.meets(a, b) {
                continue;
            }
            for &purpose in wanted {
                if fits(purpose, self.spots[a].v6())
                    && self.judge(a, b, purpose).allowed
                    && !self.excused(i, a, b, purpose)
                {
                    return true;
                }
            }
        }
        false
    }

    /// Each leg of a guest that forwards: its guest, and its spots.
    fn legs(&self) -> Vec<(usize, Vec<usize>)> {
        let mut legs: BTreeMap<Owner, Vec<usize>> = BTreeMap::new();
        for (s, spot) in self.spots.iter().enumerate() {
            for owner in self.holders(s).into_iter().chain([spot.owner]) {
                let Owner::Nic { guest, .. } = owner else { continue };
                let relay = &self.model.guests[guest];
                if relay.forwards && relay.nics.len() > 1 {
                    legs.entry(owner).or_default().push(s);
                }
            }
        }
        let guest = |owner: Owner| match owner {
            Owner::Nic { guest, .. } => guest,
            _ => unreachable!("legs are NICs"),
        };
        legs.into_iter().map(|(owner, spots)| (guest(owner), spots)).collect()
    }

    fn opens(&mut self, a: usize, b: usize) -> bool {
        let v6 = self.spots[a].v6();
        let purposes = self.purposes.clone();
        self.meets(a, b) && purposes.into_iter().any(|p| fits(p, v6) && self.judge(a, b, p).allowed)
    }

    fn leaks_through_relays(
        &mut self,
        i: &Invariant,
        from: &[usize],
        to: &[usize],
        wanted: &[Purpose],
    ) -> bool {
        let legs = self.legs();
        if legs.is_empty() {
            return false;
        }
        for &a in from {
            let entered = self.entered(a, &legs);
            for (m, (guest, exit)) in legs.iter().enumerate() {
                let by_another =
                    (0..legs.len()).any(|l| l != m && legs[l].0 == *guest && entered[l]);
                if !by_another {
                    continue;
                }
                for (&leg, &b) in pairs(exit, to) {
                    let spot = self.spots[b];
                    let out = spot.guest() == Some(*guest) || spot.same_machine(&self.spots[a]);
                    if out || !self.meets(leg, b) {
                        continue;
                    }
                    for &purpose in wanted {
                        if fits(purpose, self.spots[leg].v6())
                            && self.judge(leg, b, purpose).allowed
                            && !self.chain_excused(i, a, b, purpose)
                        {
                            return true;
                        }
                    }
                }
            }
        }
        false
    }

    /// The legs that somebody gets into.
    fn entered(&mut self, a: usize, legs: &[(usize, Vec<usize>)]) -> Vec<bool> {
        let own = self.spots[a].guest();
        let mut entered: Vec<bool> = legs
            .iter()
            .map(|(guest, spots)| own != Some(*guest) && spots.iter().any(|&s| self.opens(a, s)))
            .collect();
        loop {
            let before = entered.clone();
            for l in (0..legs.len()).filter(|l| before[*l]) {
                for m in (0..legs.len()).filter(|m| *m != l && legs[*m].0 == legs[l].0) {
                    for n in 0..legs.len() {
                        let other = legs[n].0 != legs[m].0 && own != Some(legs[n].0);
                        if other && !entered[n] {
                            entered[n] =
                                pairs(&legs[m].1, &legs[n].1).any(|(&x, &y)| self.opens(x, y));
                        }
                    }
                }
            }
            if entered == before {
                return entered;
            }
        }
    }

    /// Of a kind's invariant: does a rule that allows the connection name both of its sides?
    fn excused(&mut self, i: &Invariant, a: usize, b: usize, purpose: Purpose) -> bool {
        if i.demand != Demand::NeverUnnamed {
            return false;
        }
        let any = i.to.iter().any(|t| t.endpoint == Endpoint::Any);
        if !any && self.zone(b) == Zone::World {
            return true;
        }
        let decider = self.judge(a, b, purpose).name;
        let rules = self.rules();
        let tier = rules.iter().find(|r| r.name == decider).map(|r| r.tier);
        let allows = rules.iter().filter(|r| {
            r.action == Action::Allow
                && !r.observe
                && Some(r.tier) == tier
                && speaks_of(&r.services, purpose)
        });
        allows.into_iter().any(|r| self.names(&r.from, a) && self.names(&r.to, b))
    }

    /// Of a chain: could its ends meet directly, and with excuse?
    fn chain_excused(&mut self, i: &Invariant, a: usize, b: usize, purpose: Purpose) -> bool {
        i.demand == Demand::NeverUnnamed
            && self.judge(a, b, purpose).allowed
            && self.excused(i, a, b, purpose)
    }

    fn names(&self, terms: &[Term], spot: usize) -> bool {
        terms.iter().any(|t| {
            let covers = |s: &usize| self.covered[*s].contains(&t.endpoint);
            let by_name = matches!(
                t.endpoint,
                Endpoint::Guest(_) | Endpoint::Network(_) | Endpoint::Host | Endpoint::World
            );
            let zone = self.zone(spot);
            let here = |s: usize| self.zone(s) == zone;
            covers(&spot) && (by_name || (0..self.spots.len()).filter(covers).all(here))
        })
    }

    fn zone(&self, spot: usize) -> Zone {
        let external = |n: usize| self.model.networks[n].kind == Kind::External;
        match self.spots[spot].owner {
            Owner::Host => Zone::Host,
            Owner::Nobody(Some(n)) if !external(n) => Zone::Network(n),
            Owner::Nobody(_) => Zone::World,
            Owner::Stray => Zone::Nowhere,
            Owner::Nic { guest, nic } => Zone::Network(self.model.guests[guest].nics[nic].network),
        }
    }

    /// What is written, and what `kind: lan` says.
    fn rules(&self) -> Vec<Rule> {
        let mut rules = self.model.rules.clone();
        for (i, network) in self.model.networks.iter().enumerate() {
            if network.kind == Kind::Lan {
                let mut rule = plain_rule(vec![Endpoint::Network(i)]);
                rule.to = rule.from.clone();
                rule.name = format!("kind:lan:{}", network.name);
                rules.push(rule);
            }
        }
        rules
    }

    /// `always`: about declared addresses and networks, and with a way between them.
    fn fails(&mut self, from: &[usize], to: &[usize], wanted: &[Purpose]) -> bool {
        let global =
            |s: &&usize| self.spots[**s].scope == 0 && self.spots[**s].owner != Owner::Stray;
        let from: Vec<usize> = from.iter().filter(global).copied().collect();
        let to: Vec<usize> = to.iter().filter(global).copied().collect();
        for (&a, &b) in pairs(&from, &to) {
            if !self.meets(a, b) {
                continue;
            }
            let way = self.has_way(a, b);
            for &purpose in wanted {
                if fits(purpose, self.spots[a].v6()) && !(way && self.judge(a, b, purpose).allowed)
                {
                    return true;
                }
            }
        }
        false
    }

    /// Gateways where they are needed: to leave a network, and to be reached in one.
    fn has_way(&self, a: usize, b: usize) -> bool {
        let (from, to) = (&self.spots[a], &self.spots[b]);
        let routed =
            |n: usize| self.model.networks[n].gateway.iter().any(|(g, _)| g.is_ipv6() == from.v6());
        let outside = |s: &Spot| s.owner == Owner::Nobody(None);
        let needs = |here: &Spot, there: &Spot| match here.network {
            None => true,
            Some(_) if here.owner == Owner::Host => true,
            Some(n) if there.owner != Owner::Host && there.network == Some(n) => true,
            Some(n) if outside(there) => routed(n) || self.model.networks[n].kind == Kind::External,
            Some(n) => routed(n),
        };
        needs(from, to) && needs(to, from)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zone {
    Host,
    World,
    Network(usize),
    Nowhere,
}

fn pairs<'a>(a: &'a [usize], b: &'a [usize]) -> impl Iterator<Item = (&'a usize, &'a usize)> {
    a.iter().flat_map(move |x| b.iter().map(move |y| (x, y)))
}

fn fits(purpose: Purpose, v6: bool) -> bool {
    match purpose.protocol {
        Protocol::Icmp => !v6,
        Protocol::Icmpv6 => v6,
        _ => true,
    }
}

fn speaks_of(services: &[Service], purpose: Purpose) -> bool {
    services.iter().flat_map(|s| &s.ports).any(|p| {
        p.protocol == purpose.protocol
            && (p.first..=p.last).contains(&purpose.number)
            && (!p.protocol.has_ports()
                || (p.source.first..=p.source.last).contains(&purpose.source))
    })
}

/// The invariants of a kind, as the documentation says them.
fn of_kind(model: &Model, i: usize, kind: Kind) -> Vec<Invariant> {
    let here = vec![Endpoint::Network(i)];
    let name = &model.networks[i].name;
    let networks = (0..model.networks.len()).map(Endpoint::Network);
    let mut all = match kind {
        Kind::Dmz => {
            let to = networks.chain([Endpoint::Host]).collect();
            vec![unnamed(format!("kind:dmz:{name}"), here.clone(), to)]
        }
        Kind::Isolated => vec![
            unnamed(format!("kind:isolated:{name}:out"), here.clone(), vec![Endpoint::Any]),
            unnamed(format!("kind:isolated:{name}:in"), vec![Endpoint::Any], here.clone()),
        ],
        _ => Vec::new(),
    };
    if model.networks[i].outside == Some(Outside::None) {
        let never = |way, from, to| Invariant {
            demand: Demand::Never,
            ..unnamed(format!("outside:{name}:{way}"), from, to)
        };
        all.push(never("out", here.clone(), vec![Endpoint::World]));
        all.push(never("in", vec![Endpoint::World], here));
    }
    all
}

fn terms(endpoints: Vec<Endpoint>) -> Vec<Term> {
    let span = Default::default();
    endpoints.into_iter().map(|endpoint| Term { endpoint, span }).collect()
}

fn unnamed(name: String, from: Vec<Endpoint>, to: Vec<Endpoint>) -> Invariant {
    let span = Default::default();
    Invariant {
        name,
        span,
        demand: Demand::NeverUnnamed,
        from: terms(from),
        to: terms(to),
        services: vec![Service::any(span)],
        owner: None,
        ticket: None,
    }
}

/// A rule that allows some endpoints everything.
fn plain_rule(from: Vec<Endpoint>) -> Rule {
    let span = Default::default();
    Rule {
        name: "it".into(),
        span,
        tier: Tier::Tenant,
        action: Action::Allow,
        from: terms(from),
        to: terms(vec![Endpoint::Any]),
        services: vec![Service::any(span)],
        owner: None,
        ticket: None,
        until: None,
        observe: false,
        log: None,
    }
}

/// Asks the oracle whether an endpoint covers an address: with one rule that speaks of it.
struct Probe {
    model: Model,
}

impl Probe {
    fn new(model: &Model) -> Self {
        let mut model = model.clone();
        for network in &mut model.networks {
            if network.kind == Kind::Lan {
                network.kind = Kind::Plain;
            }
        }
        Self { model }
    }

    fn covers(&mut self, endpoint: Endpoint, spot: &Spot) -> bool {
        self.model.rules = vec![plain_rule(vec![endpoint])];
        let far = if spot.v6() { "2600::9" } else { "8.8.4.4" };
        let far: IpAddr = far.parse().expect("an address");
        let purpose = Purpose::new(Protocol::Proto, 99);
        oracle::evaluate_in(&self.model, spot.scope, spot.addr, far, purpose).allowed
    }
}

/// Every endpoint that a rule or an invariant speaks of, and every place.
fn endpoints(model: &Model) -> BTreeSet<Endpoint> {
    let rules = model.rules.iter().flat_map(|r| r.from.iter().chain(&r.to));
    let invariants = model.invariants.iter().flat_map(|i| i.from.iter().chain(&i.to));
    let written = rules.chain(invariants).map(|t| t.endpoint);
    let networks = (0..model.networks.len()).map(Endpoint::Network);
    let places = networks.chain([Endpoint::Host, Endpoint::World, Endpoint::Any]);
    written.chain(places).collect()
}

fn step(addr: IpAddr, by: i32) -> IpAddr {
    match addr {
        IpAddr::V4(a) => IpAddr::V4(u32::from(a).wrapping_add_signed(by).into()),
        IpAddr::V6(a) => IpAddr::V6(u128::from(a).wrapping_add_signed(by.into()).into()),
    }
}

/// Addresses that a packet could carry, some of each kind that the policy can tell apart.
fn spots(model: &Model) -> Vec<Spot> {
    let mut all: BTreeSet<IpAddr> = BTreeSet::new();
    let mut around = |a: IpAddr| all.extend((-2..=2).map(|by| step(a, by)));
    model.guests.iter().flat_map(|g| &g.nics).flat_map(|n| &n.addrs).for_each(|&a| around(a));
    model.networks.iter().flat_map(|n| &n.gateway).for_each(|&(a, _)| around(a));
    model.host.iter().for_each(|h| around(h.addr));
    let rules = model.rules.iter().flat_map(|r| r.from.iter().chain(&r.to));
    let sets = model.sets.iter().flat_map(|s| s.members.iter().chain(&s.except));
    let selectors = model.selectors.iter().flat_map(|s| &s.terms);
    let invariants = model.invariants.iter().flat_map(|i| i.from.iter().chain(&i.to));
    let written = rules.chain(sets).chain(selectors).chain(invariants);
    let literals = written.filter_map(|t| match t.endpoint {
        Endpoint::Prefix(net) => Some(net),
        _ => None,
    });
    for net in literals.chain(model.networks.iter().flat_map(|n| n.subnets.iter().copied())) {
        around(net.network());
        around(net.broadcast());
    }
    all.extend(
        ["8.8.8.8", "9.9.9.9", "2600::1", "2600::2"]
            .map(|t| t.parse::<IpAddr>().expect("an address")),
    );
    let real = all.into_iter().filter(|a| is_real(model, *a));
    let mut spots: Vec<Spot> = real.map(|addr| spot(model, addr)).collect();
    for addr in ["fe80::1", "fe80::2"].map(|t| t.parse::<IpAddr>().expect("an address")) {
        spots.push(Spot { addr, scope: 0, owner: Owner::Stray, network: None });
    }
    for (guest, g) in model.guests.iter().enumerate() {
        for (nic, n) in g.nics.iter().enumerate() {
            spots.push(link_local(n.mac.octets(), n.network, Owner::Nic { guest, nic }));
        }
    }
    for (i, n) in model.networks.iter().enumerate().filter(|(_, n)| !n.gateway.is_empty()) {
        spots.push(link_local(n.gateway_mac.octets(), i, Owner::Host));
    }
    spots
}

fn spot(model: &Model, addr: IpAddr) -> Spot {
    let inside =
        |n: &portcullis_policy::model::Network| n.subnets.iter().any(|s| s.contains(&addr));
    let subnet = model.networks.iter().position(inside);
    let (owner, network) = match nic_with(model, addr) {
        Some((guest, nic)) => {
            (Owner::Nic { guest, nic }, Some(model.guests[guest].nics[nic].network))
        }
        None if host_has(model, addr) => (Owner::Host, None),
        None => (Owner::Nobody(subnet), subnet),
    };
    Spot { addr, scope: 0, owner, network }
}

/// RFC 4291, appendix A.
fn link_local(mac: [u8; 6], network: usize, owner: Owner) -> Spot {
    let [a, b, c, d, e, f] = mac;
    let two = |x: u8, y: u8| u16::from(x) << 8 | u16::from(y);
    let words = [0xfe80, 0, 0, 0, two(a ^ 2, b), two(c, 0xff), two(0xfe, d), two(e, f)];
    Spot { addr: IpAddr::from(words), scope: network as u32 + 1, owner, network: Some(network) }
}

/// A connection of each kind that the services of the policy can tell apart.
fn purposes(model: &Model) -> Vec<Purpose> {
    let rules = model.rules.iter().map(|r| &r.services);
    let lists: Vec<&Vec<Service>> =
        rules.chain(model.invariants.iter().map(|i| &i.services)).collect();
    let ports: Vec<Ports> =
        lists.iter().flat_map(|l| l.iter()).flat_map(|s| s.ports.clone()).collect();
    let mut found: BTreeMap<(Vec<bool>, u8), Purpose> = BTreeMap::new();
    for protocol in Protocol::ALL {
        let mut numbers = BTreeSet::from([0u16]);
        let mut sources = BTreeSet::from([49_152u16]);
        for p in ports.iter().filter(|p| p.protocol == protocol) {
            numbers.extend([p.first, p.last.saturating_add(1)]);
            sources.extend([p.source.first, p.source.last.saturating_add(1)]);
        }
        if protocol == Protocol::Proto {
            numbers.retain(|n| *n <= 255);
        }
        if !protocol.has_ports() {
            sources = BTreeSet::from([0]);
        }
        for &number in &numbers {
            for &source in &sources {
                let purpose = Purpose { protocol, number, source };
                let covered = lists.iter().map(|l| speaks_of(l, purpose)).collect();
                let family = u8::from(fits(purpose, false)) | u8::from(fits(purpose, true)) << 1;
                found.entry((covered, family)).or_insert(purpose);
            }
        }
    }
    found.into_values().collect()
}
