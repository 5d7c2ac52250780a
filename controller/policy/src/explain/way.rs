//! How packets get from one machine to another.

use super::Case;
use crate::{Compiled, compile::space::Zone, model::Network};

/// In a few words; what is missing where there is no way.
pub fn way(compiled: &Compiled, case: &Case) -> String {
    let zone = |atom: usize| compiled.build.space.zone(atom);
    let network = |n: usize| &compiled.model.networks[n];
    let v6 = !crate::compile::block::addr(case.src.addr.max(case.dst.addr)).is_v4();
    match (zone(case.src.atom), zone(case.dst.atom)) {
        (Zone::Network(a), Zone::Network(b)) if a == b => format!("inside `{}`", network(a).name),
        (Zone::Network(a), Zone::Network(b)) => {
            let (from, to) = (network(a), network(b));
            let routed = || format!("from `{}` through the gateway to `{}`", from.name, to.name);
            none(from, v6).or_else(|| none(to, v6)).unwrap_or_else(routed)
        }
        (Zone::Network(n), Zone::Host) => {
            let to = || format!("from `{}` to the host at its gateway", network(n).name);
            none(network(n), v6).unwrap_or_else(to)
        }
        (Zone::Host, Zone::Network(n)) => {
            let into = || format!("from the host through the gateway into `{}`", network(n).name);
            none(network(n), v6).unwrap_or_else(into)
        }
        (Zone::Network(n), Zone::World) => {
            let out = || format!("out of `{}` through the gateway", network(n).name);
            none(network(n), v6).unwrap_or_else(out)
        }
        (Zone::World, Zone::Network(n)) => {
            let into = || format!("from outside through the gateway into `{}`", network(n).name);
            none(network(n), v6).unwrap_or_else(into)
        }
        (Zone::World, Zone::World) => "outside".to_owned(),
        (Zone::Nowhere, _) | (_, Zone::Nowhere) => "on one wire, by link-local address".to_owned(),
        (Zone::Host | Zone::World, Zone::Host | Zone::World) => {
            "between the host and the outside".to_owned()
        }
    }
}

fn none(network: &Network, v6: bool) -> Option<String> {
    let has = network.gateway.iter().any(|(addr, _)| addr.is_ipv6() == v6);
    let family = if v6 { "IPv6" } else { "IPv4" };
    (!has).then(|| {
        format!("none: `{}` has no {family} gateway, so no packet gets there", network.name)
    })
}
