//! The naive evaluator: straight over the rules as they are written.
//!
//! It is the judge of the compiler and of the data plane, so it shares no code with them: it has
//! its own idea of who has an address, of what an endpoint covers, and of which rule wins. It is
//! as slow as it looks.

use std::net::{IpAddr, Ipv6Addr};

use crate::{
    model::{Action, Combine, Endpoint, Kind, Model, Purpose, Service, Term, Tier},
    source::Span,
};

/// What the rules say about one new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// May it be?
    pub allowed: bool,
    /// Id of the deciding rule as the image counts them; 0 for the default.
    pub rule: u32,
    /// Its name, empty for the default.
    pub name: String,
}

/// Judges a new connection between addresses that are not link-local.
pub fn evaluate(model: &Model, src: IpAddr, dst: IpAddr, purpose: impl Into<Purpose>) -> Judgement {
    evaluate_in(model, 0, src, dst, purpose)
}

/// Judges a new connection. `network` is the id of the network in which link-local addresses
/// stand.
pub fn evaluate_in(
    model: &Model,
    network: u32,
    src: IpAddr,
    dst: IpAddr,
    purpose: impl Into<Purpose>,
) -> Judgement {
    judge(model, network, src, dst, purpose.into(), false)
}

/// Does a denied set name an address, and is it outside? Then no packet from or to it passes,
/// whatever the rules say.
pub fn is_denied(model: &Model, addr: IpAddr) -> bool {
    let outside = is(model, Endpoint::World, &identify(model, 0, addr));
    outside
        && !addr.is_multicast()
        && model.denied.iter().any(|set| set.prefixes().any(|p| p.net.contains(&addr)))
}

/// What the rules would say if those that only observe were in force.
pub fn evaluate_observed(
    model: &Model,
    network: u32,
    src: IpAddr,
    dst: IpAddr,
    purpose: impl Into<Purpose>,
) -> Judgement {
    judge(model, network, src, dst, purpose.into(), true)
}

fn judge(
    model: &Model,
    network: u32,
    src: IpAddr,
    dst: IpAddr,
    purpose: Purpose,
    with_observers: bool,
) -> Judgement {
    let (src, dst) = (identify(model, network, src), identify(model, network, dst));
    let mut about = voices(model, &src, &dst, purpose);
    about.retain(|v| with_observers || !v.observes);
    let first = |tier, action| {
        let mut said: Vec<&Voice> =
            about.iter().filter(|v| v.tier == tier && v.action == action).collect();
        // Of equals the one that lasts longest is named, of these the first in the text.
        said.sort_by_key(|v| (std::cmp::Reverse(v.until), v.span));
        said.first().copied()
    };
    let deny = first(Tier::Platform, Action::Deny);
    let pass = first(Tier::Platform, Action::Pass);
    let allow = first(Tier::Platform, Action::Allow);
    let below = || first(Tier::Tenant, Action::Deny).or(first(Tier::Tenant, Action::Allow));
    let winner = match (deny, pass, allow) {
        (Some(rule), _, _) => Some(rule),
        (None, Some(_), _) => below(),
        (None, None, Some(rule)) => Some(rule),
        (None, None, None) => below(),
    };
    match winner {
        None => Judgement { allowed: false, rule: 0, name: String::new() },
        Some(voice) => Judgement {
            allowed: voice.action == Action::Allow,
            rule: place(model, voice.span),
            name: voice.name.clone(),
        },
    }
}

/// A rule that speaks about the connection.
struct Voice {
    span: Span,
    tier: Tier,
    action: Action,
    name: String,
    observes: bool,
    /// When it ends; the end of time for one that does not.
    until: u64,
}

fn voices(model: &Model, src: &Who, dst: &Who, purpose: Purpose) -> Vec<Voice> {
    let mut voices = Vec::new();
    for rule in model.rules.iter().filter(|r| !has_ended(model, r)) {
        if one_of(model, &rule.from, src)
            && one_of(model, &rule.to, dst)
            && speaks_of(&rule.services, purpose)
        {
            let (span, tier, action) = (rule.span, rule.tier, rule.action);
            let until = rule.until.as_ref().map_or(u64::MAX, |u| u.at_unix_s);
            let (name, observes) = (rule.name.clone(), rule.observe);
            voices.push(Voice { span, tier, action, name, observes, until });
        }
    }
    for (i, network) in model.networks.iter().enumerate() {
        let members = is(model, Endpoint::Network(i), src) && is(model, Endpoint::Network(i), dst);
        if network.kind == Kind::Lan && members {
            let name = format!("kind:lan:{}", network.name);
            let (tier, action) = (Tier::Tenant, Action::Allow);
            let (span, observes, until) = (network.kind_span, false, u64::MAX);
            voices.push(Voice { span, tier, action, name, observes, until });
        }
    }
    voices
}

fn has_ended(model: &Model, rule: &crate::model::Rule) -> bool {
    rule.until.as_ref().is_some_and(|u| u.at_unix_s <= model.now_unix_s)
}

/// How many rules stand before this place, and one.
fn place(model: &Model, span: Span) -> u32 {
    let written = model.rules.iter().filter(|r| r.span < span && !has_ended(model, r)).count();
    let lans = model.networks.iter().filter(|n| n.kind == Kind::Lan);
    (written + lans.filter(|n| n.kind_span < span).count()) as u32 + 1
}

/// Who has an address.
struct Who {
    /// The address that rules with addresses see: for a declared link-local address the first
    /// one of its NIC.
    addr: IpAddr,
    what: What,
}

enum What {
    /// A guest's NIC on a network.
    Guest {
        guest: usize,
        network: usize,
    },
    Host,
    /// An address of a network's subnets that nobody declared.
    Undeclared {
        network: usize,
    },
    /// A link-local address that nobody has.
    StrayLinkLocal,
    /// Outside of all subnets.
    Outside,
}

fn identify(model: &Model, scope: u32, addr: IpAddr) -> Who {
    if is_link_local(addr) {
        return identify_link_local(model, scope, addr);
    }
    let what = guest_with(model, addr)
        .or_else(|| host_has(model, addr).then_some(What::Host))
        .or_else(|| {
            let has = |n: &crate::model::Network| n.subnets.iter().any(|s| s.contains(&addr));
            let network = model.networks.iter().position(has)?;
            Some(What::Undeclared { network })
        })
        .unwrap_or(What::Outside);
    Who { addr, what }
}

fn guest_with(model: &Model, addr: IpAddr) -> Option<What> {
    for (guest, g) in model.guests.iter().enumerate() {
        for nic in &g.nics {
            if nic.addrs.contains(&addr) {
                return Some(What::Guest { guest, network: nic.network });
            }
        }
    }
    None
}

fn host_has(model: &Model, addr: IpAddr) -> bool {
    let gateway = |n: &crate::model::Network| n.gateway.iter().any(|&(a, _)| a == addr);
    model.networks.iter().any(gateway) || model.host.iter().any(|h| h.addr == addr)
}

fn identify_link_local(model: &Model, scope: u32, addr: IpAddr) -> Who {
    let stray = Who { addr, what: What::StrayLinkLocal };
    let Some(network) = (scope as usize).checked_sub(1) else { return stray };
    for (guest, g) in model.guests.iter().enumerate() {
        for nic in g.nics.iter().filter(|n| n.network == network) {
            if IpAddr::V6(eui64(nic.mac.octets())) == addr {
                return Who { addr: nic.addrs[0], what: What::Guest { guest, network } };
            }
        }
    }
    match model.networks.get(network) {
        Some(n) if IpAddr::V6(eui64(n.gateway_mac.octets())) == addr => match n.gateway.first() {
            Some(&(first, _)) => Who { addr: first, what: What::Host },
            None => stray,
        },
        _ => stray,
    }
}

fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(a) if a.segments()[0] & 0xffc0 == 0xfe80)
}

/// RFC 4291, appendix A.
fn eui64(m: [u8; 6]) -> Ipv6Addr {
    let two = |a: u8, b: u8| u16::from(a) << 8 | u16::from(b);
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        two(m[0] ^ 2, m[1]),
        two(m[2], 0xff),
        two(0xfe, m[3]),
        two(m[4], m[5]),
    )
}

fn one_of(model: &Model, terms: &[Term], who: &Who) -> bool {
    terms.iter().any(|t| is(model, t.endpoint, who))
}

/// Does an endpoint cover somebody?
fn is(model: &Model, endpoint: Endpoint, who: &Who) -> bool {
    match endpoint {
        Endpoint::Any => true,
        Endpoint::Host => matches!(who.what, What::Host),
        Endpoint::World => match who.what {
            What::Outside => true,
            What::Undeclared { network } => model.networks[network].kind == Kind::External,
            _ => false,
        },
        Endpoint::Guest(g) => matches!(who.what, What::Guest { guest, .. } if guest == g),
        Endpoint::Label(l) => match who.what {
            What::Guest { guest, .. } => model.labels[l].guests.contains(&guest),
            _ => false,
        },
        Endpoint::Network(n) => match who.what {
            What::Guest { network, .. } | What::Undeclared { network } => network == n,
            _ => false,
        },
        Endpoint::Set(s) => {
            let set = &model.sets[s];
            one_of(model, &set.members, who) && !one_of(model, &set.except, who)
        }
        Endpoint::Selector(s) => {
            let selector = &model.selectors[s];
            let mut each = selector.terms.iter().map(|t| is(model, t.endpoint, who));
            match selector.combine {
                Combine::All => each.all(|covers| covers),
                Combine::Any => each.any(|covers| covers),
                Combine::Not => !each.any(|covers| covers),
            }
        }
        Endpoint::Prefix(net) => net.contains(&who.addr),
    }
}

fn speaks_of(services: &[Service], purpose: Purpose) -> bool {
    let inside = |n: u16, first: u16, last: u16| first <= n && n <= last;
    let covers = |p: &crate::model::Ports| {
        p.protocol == purpose.protocol
            && inside(purpose.number, p.first, p.last)
            && (!p.protocol.has_ports() || inside(purpose.source, p.source.first, p.source.last))
    };
    services.iter().any(|s| s.ports.iter().any(covers))
}
