//! The rules as a binary decision diagram, built straight from the model, against the decision
//! function of the compiled image: both are canonical, so they are equal or they differ.
//!
//! Addresses are encoded as the numbers of elementary intervals: between two neighbouring ends
//! of anything that the policy mentions. Services the same way. These are cut here, from the
//! model, and not by the compiler.

mod random;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use biodivine_lib_bdd::{Bdd, BddVariable, BddVariableSet};
use ipnet::IpNet;
use portcullis_pipeline::policy::Cell;
use portcullis_policy::{
    Compiled, Model, Sources, compile_unproved,
    generate::Size,
    lookup,
    model::{Action, Combine, Demand, Endpoint, Kind, Protocol, Purpose, Service, Term, Tier},
    violations,
};
use random::with_invariants;

/// Bits of each of the three numbers.
const BITS: usize = 9;

/// More in the long form, `cargo xtask test --long`.
fn policies() -> u64 {
    if std::env::var_os("PORTCULLIS_TEST_LONG").is_some() { 50_000 } else { 10_000 }
}

/// Whose an interval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Nic(usize, usize),
    Host,
    Nobody,
}

/// An elementary interval of addresses, or one link-local address on a network.
#[derive(Clone, Debug)]
struct Piece {
    /// An address of it, which is not its first where that is a network's.
    addr: IpAddr,
    /// Id of the network of a link-local address, else 0.
    scope: u32,
    owner: Owner,
    network: Option<usize>,
    /// The address that rules see.
    seen: IpAddr,
    /// Could a packet carry it?
    real: bool,
    /// Are there two addresses in it?
    many: bool,
    stray: bool,
}

/// Diagrams of "the number is below k" for one of the three numbers.
struct Number {
    below: Vec<Bdd>,
}

impl Number {
    fn new(set: &BddVariableSet, vars: &[BddVariable]) -> Self {
        let below = (0..=1usize << vars.len()).map(|k| below(set, vars, k)).collect();
        Self { below }
    }

    /// The numbers for which something holds.
    fn of(&self, set: &BddVariableSet, holds: impl Iterator<Item = bool>) -> Bdd {
        let mut all = set.mk_false();
        let mut start = None;
        let mut end = 0;
        for (i, inside) in holds.chain([false]).enumerate() {
            end = i;
            match (inside, start) {
                (true, None) => start = Some(i),
                (false, Some(first)) => {
                    all = all.or(&self.below[i].and_not(&self.below[first]));
                    start = None;
                }
                _ => {}
            }
        }
        assert!(end < self.below.len(), "{end} pieces are too many");
        all
    }
}

/// `x < k`, the highest bit first.
fn below(set: &BddVariableSet, vars: &[BddVariable], k: usize) -> Bdd {
    if k >= 1 << vars.len() {
        return set.mk_true();
    }
    let mut bdd = set.mk_false();
    for (bit, &var) in vars.iter().rev().enumerate() {
        let zero = set.mk_not_var(var);
        bdd = if k >> bit & 1 == 1 { zero.or(&bdd) } else { zero.and(&bdd) };
    }
    bdd
}

/// The encoding, the same for all policies.
struct Diagrams {
    set: BddVariableSet,
    src: Number,
    dst: Number,
    service: Number,
}

impl Diagrams {
    fn new() -> Self {
        let set = BddVariableSet::new_anonymous(3 * BITS as u16);
        let vars = set.variables();
        let number = |i: usize| Number::new(&set, &vars[i * BITS..][..BITS]);
        let (src, dst, service) = (number(0), number(1), number(2));
        Self { set, src, dst, service }
    }

    fn any(&self, of: impl Iterator<Item = Bdd>) -> Bdd {
        // Two by two, so that the large ones come last.
        let mut all: Vec<Bdd> = of.collect();
        while all.len() > 1 {
            all = all.chunks(2).map(|c| c.get(1).map_or(c[0].clone(), |b| c[0].or(b))).collect();
        }
        all.pop().unwrap_or_else(|| self.set.mk_false())
    }
}

/// One policy, cut into pieces.
struct World<'m> {
    model: &'m Model,
    pieces: Vec<Piece>,
    purposes: Vec<Purpose>,
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(a) => u32::from(a).into(),
        IpAddr::V6(a) => a.into(),
    }
}

fn address(number: u128, v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::from(number as u32).into() } else { Ipv6Addr::from(number).into() }
}

fn prefixes(model: &Model) -> impl Iterator<Item = IpNet> + '_ {
    let rules = model.rules.iter().flat_map(|r| r.from.iter().chain(&r.to));
    let sets = model.sets.iter().flat_map(|s| s.members.iter().chain(&s.except));
    let selectors = model.selectors.iter().flat_map(|s| &s.terms);
    let invariants = model.invariants.iter().flat_map(|i| i.from.iter().chain(&i.to));
    rules.chain(sets).chain(selectors).chain(invariants).filter_map(|t| match t.endpoint {
        Endpoint::Prefix(net) => Some(net),
        _ => None,
    })
}

/// Blocks that no packet's address lies in.
const UNREAL: &[&str] =
    &["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/96", "::ffff:0:0/96", "ff00::/8"];

impl<'m> World<'m> {
    fn new(model: &'m Model) -> Self {
        let mut pieces = Vec::new();
        for v4 in [true, false] {
            pieces.extend(intervals(model, v4));
        }
        pieces.extend(link_local(model));
        Self { model, pieces, purposes: purposes(model) }
    }

    /// Which pieces an endpoint covers.
    fn covers(&self, endpoint: Endpoint) -> Vec<bool> {
        let each = |f: &dyn Fn(&Piece) -> bool| self.pieces.iter().map(f).collect();
        let model = self.model;
        let external =
            |n: Option<usize>| n.is_some_and(|n| model.networks[n].kind == Kind::External);
        match endpoint {
            Endpoint::Any => each(&|_| true),
            Endpoint::Host => each(&|p| p.owner == Owner::Host),
            Endpoint::World => each(&|p| {
                p.owner == Owner::Nobody && !p.stray && (p.network.is_none() || external(p.network))
            }),
            Endpoint::Guest(g) => each(&|p| matches!(p.owner, Owner::Nic(guest, _) if guest == g)),
            Endpoint::Label(l) => each(&|p| match p.owner {
                Owner::Nic(guest, _) => model.labels[l].guests.contains(&guest),
                _ => false,
            }),
            Endpoint::Network(n) => {
                each(&|p| p.owner != Owner::Host && !p.stray && p.network == Some(n))
            }
            Endpoint::Prefix(net) => each(&|p| net.contains(&p.seen)),
            Endpoint::Set(s) => {
                let (members, except) =
                    (self.union(&model.sets[s].members), self.union(&model.sets[s].except));
                members.iter().zip(except).map(|(m, e)| *m && !e).collect()
            }
            Endpoint::Selector(s) => {
                let selector = &model.selectors[s];
                match selector.combine {
                    Combine::Any => self.union(&selector.terms),
                    Combine::Not => self.union(&selector.terms).iter().map(|c| !c).collect(),
                    Combine::All => {
                        let all = vec![true; self.pieces.len()];
                        selector.terms.iter().fold(all, |all, t| {
                            all.iter().zip(self.covers(t.endpoint)).map(|(a, b)| *a && b).collect()
                        })
                    }
                }
            }
        }
    }

    fn union(&self, terms: &[Term]) -> Vec<bool> {
        terms.iter().fold(vec![false; self.pieces.len()], |all, t| {
            all.iter().zip(self.covers(t.endpoint)).map(|(a, b)| *a || b).collect()
        })
    }

    fn selection(&self, d: &Diagrams, from: &[Term], to: &[Term], services: &[Service]) -> Bdd {
        let from = d.src.of(&d.set, self.union(from).into_iter());
        let to = d.dst.of(&d.set, self.union(to).into_iter());
        let wanted = self.purposes.iter().map(|p| speaks_of(services, *p));
        from.and(&to).and(&d.service.of(&d.set, wanted))
    }

    /// With the addresses that somebody of these may hold.
    fn with_shared(&self, terms: &[Term]) -> Vec<Term> {
        let covered = self.union(terms);
        let mut all = terms.to_vec();
        for (shared, guest) in self.model.guests.iter().enumerate() {
            let Some(sharing) = &guest.sharing else { continue };
            let holds = |p: &Piece| {
                let Owner::Nic(g, _) = p.owner else { return false };
                sharing.by.contains(&g) && p.network == Some(guest.nics[0].network)
            };
            if self.pieces.iter().zip(&covered).any(|(p, covered)| *covered && holds(p)) {
                all.push(Term { endpoint: Endpoint::Guest(shared), span: guest.span });
            }
        }
        all
    }

    /// What the rules allow.
    fn rules(&self, d: &Diagrams) -> Bdd {
        let of = |tier, action| {
            let rules = self.model.rules.iter().filter(|r| !r.observe);
            let rules = rules.filter(|r| (r.tier, r.action) == (tier, action));
            d.any(rules.map(|r| self.selection(d, &r.from, &r.to, &r.services)))
        };
        let lans = self.model.networks.iter().enumerate().filter(|(_, n)| n.kind == Kind::Lan);
        let lans = lans.map(|(i, n)| {
            let here = [Term { endpoint: Endpoint::Network(i), span: n.span }];
            self.selection(d, &here, &here, &[Service::any(n.span)])
        });
        let tenants = of(Tier::Tenant, Action::Allow).or(&d.any(lans));
        let tenants = tenants.and_not(&of(Tier::Tenant, Action::Deny));
        let passed = of(Tier::Platform, Action::Pass);
        let platform = of(Tier::Platform, Action::Allow);
        let above = platform.and_not(&passed);
        // Where the platform allows and does not pass, the tenants are not asked.
        let below = tenants.and(&passed.or(&platform.not()));
        above.or(&below).and_not(&of(Tier::Platform, Action::Deny))
    }

    /// What the image allows.
    fn image(&self, d: &Diagrams, compiled: &Compiled) -> Bdd {
        let image = &compiled.image;
        let class = |p: &Piece| lookup::class_of(image, p.scope, p.addr.into());
        let classes: Vec<u32> = self.pieces.iter().map(class).collect();
        let services: Vec<u32> = self
            .purposes
            .iter()
            .map(|p| {
                let table = p.protocol.table() as usize;
                let number = image.service_tables[table].class[usize::from(p.number)];
                let source = image.source_tables.get(table);
                let source = source.map_or(0, |t| t.class[usize::from(p.source)]);
                u32::from(number) * image.sources + u32::from(source)
            })
            .collect();
        let used: BTreeSet<u32> = classes.iter().copied().collect();
        let of_class = |n: &Number, c: u32| n.of(&d.set, classes.iter().map(|x| *x == c));
        let targets: BTreeMap<u32, Bdd> = used.iter().map(|&c| (c, of_class(&d.dst, c))).collect();
        let mut by_row: BTreeMap<u32, Bdd> = BTreeMap::new();
        // Sources that are judged alike towards everybody go together.
        let mut alike: BTreeMap<Vec<u32>, Vec<u32>> = BTreeMap::new();
        for &src in &used {
            let rows = used.iter().map(|&dst| image.rows[(src * image.classes + dst) as usize]);
            alike.entry(rows.collect()).or_default().push(src);
        }
        d.any(alike.into_iter().map(|(rows, sources)| {
            let from = d.src.of(&d.set, classes.iter().map(|c| sources.contains(c)));
            let mut to: BTreeMap<u32, Vec<&Bdd>> = BTreeMap::new();
            for (row, target) in rows.into_iter().zip(targets.values()) {
                to.entry(row).or_default().push(target);
            }
            let each = to.into_iter().map(|(row, targets)| {
                let cells = by_row.entry(row).or_insert_with(|| {
                    let allows =
                        |s: &u32| Cell(image.cells[(row * image.services + s) as usize]).allows();
                    d.service.of(&d.set, services.iter().map(allows))
                });
                if cells.is_false() {
                    return d.set.mk_false();
                }
                d.any(targets.into_iter().cloned()).and(cells)
            });
            d.any(each).and(&from)
        }))
    }

    /// Between which pieces, and for what, a packet could go directly.
    fn possible(&self, d: &Diagrams) -> Bdd {
        let src = |f: &dyn Fn(&Piece) -> bool| d.src.of(&d.set, self.pieces.iter().map(f));
        let dst = |f: &dyn Fn(&Piece) -> bool| d.dst.of(&d.set, self.pieces.iter().map(f));
        let service =
            |f: &dyn Fn(&Purpose) -> bool| d.service.of(&d.set, self.purposes.iter().map(f));
        let v4 = |p: &Piece| p.addr.is_ipv4() && p.real;
        let v6 = |p: &Piece| p.addr.is_ipv6() && p.real;
        let not_v6 = service(&|p| p.protocol != Protocol::Icmpv6);
        let not_v4 = service(&|p| p.protocol != Protocol::Icmp);
        let both_v4 = src(&v4).and(&dst(&v4)).and(&not_v6);
        let routed = |p: &Piece| v6(p) && p.scope == 0;
        let mut both_v6 = src(&v6).and(&dst(&routed));
        // Link-local addresses are reached from their own link.
        for (i, network) in self.model.networks.iter().enumerate() {
            let scope = i as u32 + 1;
            let here = dst(&|p| p.scope == scope);
            let near = src(&|p| {
                let external = network.kind == Kind::External;
                v6(p)
                    && match p.owner {
                        _ if p.stray => true,
                        _ if p.scope != 0 => p.scope == scope,
                        Owner::Host => !network.gateway.is_empty(),
                        _ => p.network == Some(i) || p.network.is_none() && external,
                    }
            });
            both_v6 = both_v6.or(&here.and(&near));
        }
        let mut all = both_v4.or(&both_v6.and(&not_v4));
        // Nobody sends to himself over a wire.
        let mut owners: Vec<Owner> = Vec::new();
        for (n, piece) in self.pieces.iter().enumerate() {
            let own: Vec<bool> = match piece.owner {
                Owner::Nobody if piece.many => continue,
                Owner::Nobody => (0..self.pieces.len()).map(|i| i == n).collect(),
                owner if owners.contains(&owner) => continue,
                owner => {
                    owners.push(owner);
                    self.pieces.iter().map(|p| p.owner == owner).collect()
                }
            };
            let of = |number: &Number| number.of(&d.set, own.iter().copied());
            let own = of(&d.src).and(&of(&d.dst));
            all = all.and_not(&own);
        }
        all
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

fn intervals(model: &Model, v4: bool) -> Vec<Piece> {
    let max = if v4 { u128::from(u32::MAX) } else { u128::MAX };
    let mut cuts = BTreeSet::from([0]);
    let mut cut = |first: u128, last: u128| {
        cuts.insert(first);
        cuts.extend(last.checked_add(1).filter(|n| *n <= max));
    };
    let unreal: Vec<IpNet> = UNREAL.iter().map(|t| t.parse().expect("a prefix")).collect();
    let stray: IpNet = "fe80::/10".parse().expect("a prefix");
    let subnets = || model.networks.iter().flat_map(|n| n.subnets.iter().copied());
    let all = prefixes(model).chain(subnets()).chain(unreal.iter().copied()).chain([stray]);
    for net in all.filter(|n| n.addr().is_ipv4() == v4) {
        cut(number(net.network()), number(net.broadcast()));
    }
    for net in subnets().filter(|n| n.addr().is_ipv4() == v4) {
        cut(number(net.network()), number(net.network()));
        cut(number(net.broadcast()), number(net.broadcast()));
    }
    let nics = model.guests.iter().flat_map(|g| &g.nics).flat_map(|n| n.addrs.iter().copied());
    let gateways = model.networks.iter().flat_map(|n| n.gateway.iter().map(|g| g.0));
    let declared = nics.chain(gateways).chain(model.host.iter().map(|h| h.addr));
    for addr in declared.filter(|a| a.is_ipv4() == v4) {
        cut(number(addr), number(addr));
    }
    let starts: Vec<u128> = cuts.into_iter().collect();
    let ends = starts.iter().skip(1).map(|n| n - 1).chain([max]);
    let piece = |(&first, last): (&u128, u128)| {
        let addr = address(first, v4);
        let (owner, network) = owner(model, addr);
        let odd = unreal.iter().any(|u| u.contains(&addr));
        let edge = subnets()
            .any(|s| s.contains(&addr) && (s.network() == addr || v4 && s.broadcast() == addr));
        let real = owner != Owner::Nobody || !odd && !edge;
        let stray = !v4 && stray.contains(&addr);
        Piece { addr, scope: 0, owner, network, seen: addr, real, many: first < last, stray }
    };
    // IPv4's place among the IPv6 addresses: no packet has these as IPv6 addresses.
    let mapped = |p: &Piece| matches!(p.addr, IpAddr::V6(a) if a.to_ipv4_mapped().is_some());
    starts.iter().zip(ends).map(piece).filter(|p| !mapped(p)).collect()
}

fn owner(model: &Model, addr: IpAddr) -> (Owner, Option<usize>) {
    for (g, guest) in model.guests.iter().enumerate() {
        for (n, nic) in guest.nics.iter().enumerate() {
            if nic.addrs.contains(&addr) {
                return (Owner::Nic(g, n), Some(nic.network));
            }
        }
    }
    let inside = model.networks.iter().position(|n| n.subnets.iter().any(|s| s.contains(&addr)));
    let gateway = model.networks.iter().any(|n| n.gateway.iter().any(|g| g.0 == addr));
    if gateway || model.host.iter().any(|h| h.addr == addr) {
        return (Owner::Host, inside);
    }
    (Owner::Nobody, inside)
}

/// RFC 4291, appendix A.
fn eui64(m: [u8; 6]) -> IpAddr {
    let two = |a: u8, b: u8| u16::from(a) << 8 | u16::from(b);
    let id = [two(m[0] ^ 2, m[1]), two(m[2], 0xff), two(0xfe, m[3]), two(m[4], m[5])];
    IpAddr::from([0xfe80, 0, 0, 0, id[0], id[1], id[2], id[3]])
}

/// The link-local addresses of NICs and gateways, which rules see as their first address.
fn link_local(model: &Model) -> Vec<Piece> {
    let piece = |mac: [u8; 6], network: usize, seen: IpAddr, owner| Piece {
        addr: eui64(mac),
        scope: network as u32 + 1,
        owner,
        network: Some(network),
        seen,
        real: true,
        many: false,
        stray: false,
    };
    let guests = model.guests.iter().enumerate();
    let nics = guests.flat_map(|(g, guest)| {
        guest.nics.iter().enumerate().map(move |(n, nic)| (nic, Owner::Nic(g, n)))
    });
    let nics = nics.map(|(n, owner)| piece(n.mac.octets(), n.network, n.addrs[0], owner));
    let gateways = model.networks.iter().enumerate();
    let gateways = gateways.filter_map(|(i, n)| {
        Some(piece(n.gateway_mac.octets(), i, n.gateway.first()?.0, Owner::Host))
    });
    nics.chain(gateways).collect()
}

/// One connection of each elementary interval of numbers and source ports.
fn purposes(model: &Model) -> Vec<Purpose> {
    let rules = model.rules.iter().flat_map(|r| &r.services);
    let services = rules.chain(model.invariants.iter().flat_map(|i| &i.services));
    let ports: Vec<_> = services.flat_map(|s| s.ports.iter().copied()).collect();
    let mut all = Vec::new();
    for protocol in Protocol::ALL {
        let mut numbers = BTreeSet::from([0u16]);
        let mut sources = BTreeSet::from([0u16]);
        for p in ports.iter().filter(|p| p.protocol == protocol) {
            numbers.insert(p.first);
            numbers.extend(p.last.checked_add(1));
            if protocol.has_ports() {
                sources.insert(p.source.first);
                sources.extend(p.source.last.checked_add(1));
            }
        }
        // There are 256 IP protocols.
        numbers.retain(|n| protocol != Protocol::Proto || *n <= 255);
        for &number in &numbers {
            all.extend(sources.iter().map(|&source| Purpose { protocol, number, source }));
        }
    }
    all
}

#[derive(Default)]
struct Count {
    allowed: usize,
    proved: usize,
    broken: usize,
}

fn agree(d: &Diagrams, seed: u64, count: &mut Count) {
    let size = Size {
        networks: 2 + (seed % 2) as usize,
        guests: 3 + (seed % 3) as usize,
        rules: 1 + (seed % 7) as usize,
    };
    let text = with_invariants(seed, size);
    let sources = Sources::new([("random.yaml", text.as_str())]);
    let compiled = compile_unproved(&sources).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let world = World::new(&compiled.model);
    let rules = world.rules(d);
    let image = world.image(d, &compiled);
    let inside = |n: &Number, count: usize| n.below[count].clone();
    let valid = inside(&d.src, world.pieces.len())
        .and(&inside(&d.dst, world.pieces.len()))
        .and(&inside(&d.service, world.purposes.len()));
    assert!(rules.and(&valid) == image.and(&valid), "seed {seed}\n{text}");
    count.allowed += usize::from(!rules.is_false());
    let found = violations(&compiled);
    let possible = rules.and(&valid).and(&world.possible(d));
    for invariant in compiled.model.invariants.iter().filter(|i| i.demand == Demand::Never) {
        let (from, to) = (world.with_shared(&invariant.from), world.with_shared(&invariant.to));
        let about = world.selection(d, &from, &to, &invariant.services);
        let empty = possible.and(&about).is_false();
        // Chains are more than one packet; of the host's own addresses the model knows nothing.
        let direct = found.iter().filter(|v| v.invariant == invariant.name).any(|v| {
            v.hops.len() == 1 && v.hops.iter().all(|h| h.from.addr.is_some() && h.to.addr.is_some())
        });
        assert_eq!(empty, !direct, "seed {seed}, {}\n{text}", invariant.name);
        *if empty { &mut count.proved } else { &mut count.broken } += 1;
    }
}

#[test]
fn rules_and_image_are_one_diagram_and_proofs_are_empty_ones() {
    let d = Diagrams::new();
    let mut count = Count::default();
    (0..policies()).for_each(|seed| agree(&d, seed, &mut count));
    let Count { allowed, proved, broken } = count;
    println!("{} policies, {allowed} that allow something", policies());
    println!("{proved} times `never` is an empty diagram, {broken} times it is not");
    assert!(proved > 100 && broken > 100, "the policies are no test");
}
