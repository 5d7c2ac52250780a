//! Which connections have a way at all: the switch routes only where networks have gateways.
//!
//! `never` does not ask: a missing gateway is no reason to feel safe. `always` does.

use super::machines::{Machine, Machines, Place, family};
use crate::model::{Kind, Model};

/// Networks for want of whose gateway something declared in one class does not reach something in
/// another, with an example each.
pub fn missing<'m>(
    model: &'m Model,
    from: &'m Machines,
    to: &'m Machines,
    families: u8,
) -> impl Iterator<Item = (usize, Machine, Machine)> + 'm {
    let wanted = move |m: &&Machine| families & if m.v6 { family::V6 } else { family::V4 } != 0;
    let cut_off = |m: &&Machine| has_no_gateway(model, m);
    let out =
        from.places.iter().filter(cut_off).flat_map(|a| to.places.iter().map(move |b| (a, b)));
    let back = to.places.iter().filter(cut_off);
    let into = back.flat_map(|b| from.places.iter().map(move |a| (a, b)));
    let pairs = out.chain(into).filter(move |(a, _)| wanted(a));
    pairs.filter_map(|(a, b)| Some((missing_gateway(model, a, b)?, *a, *b)))
}

fn has_no_gateway(model: &Model, machine: &Machine) -> bool {
    match machine.place {
        Place::Network(n) => !is_gateway_of(model, n, machine.v6),
        _ => false,
    }
}

fn is_gateway_of(model: &Model, network: usize, v6: bool) -> bool {
    model.networks[network].gateway.iter().any(|(addr, _)| addr.is_ipv6() == v6)
}

/// The network that would need a gateway for packets to get from one to the other.
pub fn missing_gateway(model: &Model, from: &Machine, to: &Machine) -> Option<usize> {
    if from.v6 != to.v6 || !from.apart(to) {
        return None;
    }
    let lacks = |n: usize| (!is_gateway_of(model, n, from.v6)).then_some(n);
    match (from.place, to.place) {
        (Place::Network(a), Place::Network(b)) if a != b => lacks(a).or_else(|| lacks(b)),
        (Place::Network(n), Place::Host) | (Place::Host, Place::Network(n)) => lacks(n),
        // Behind the uplink of an external network is a router of somebody else's.
        (Place::Network(n), Place::Outside) | (Place::Outside, Place::Network(n)) => {
            lacks(n).filter(|_| model.networks[n].kind != Kind::External)
        }
        _ => None,
    }
}
