//! Frames that are neither ARP nor IP: where a network declares their EtherTypes they pass among
//! its guests, and no rule speaks about them. What is not modelled counts as allowed, so they break
//! every `never` between two guests of such a network, whatever service it is about.

use std::collections::BTreeSet;

use crate::{
    Compiled,
    compile::space::Owner,
    diagnostic::{Diagnostic, Diagnostics},
    model::{Demand, Term},
    problem::Problem,
};

/// Reports every `never` that declared EtherTypes break.
pub fn check(compiled: &Compiled, diags: &mut Diagnostics) {
    let model = &compiled.model;
    for (index, network) in model.networks.iter().enumerate() {
        let Some(&ethertype) = network.ethertypes.first() else { continue };
        for invariant in &compiled.build.expanded.invariants {
            if invariant.demand == Demand::Always {
                continue;
            }
            let from = guests(compiled, index, &invariant.from);
            let to = guests(compiled, index, &invariant.to);
            let pairs = from.iter().flat_map(|a| to.iter().map(move |b| (*a, *b)));
            let Some((a, b)) = pairs.filter(|(a, b)| a != b).min() else { continue };
            let name = |guest: usize| model.guests[guest].name.clone();
            let problem = Problem::BareFrames {
                invariant: invariant.name.clone(),
                ethertype,
                from: name(a),
                to: name(b),
            };
            let help = format!(
                "take `ethertypes` from the network `{}`, or put these guests into different ones",
                network.name
            );
            diags.push(
                Diagnostic::new(problem, invariant.span)
                    .label(network.span, "its guests may send such frames")
                    .help(help),
            );
        }
    }
}

/// Guests with a NIC on this network that the terms speak about.
fn guests(compiled: &Compiled, network: usize, terms: &[Term]) -> BTreeSet<usize> {
    let space = &compiled.build.space;
    let atoms = terms.iter().flat_map(|term| space.members(term.endpoint));
    let of = |atom: u32| {
        let atom = space.atoms().get(atom as usize)?;
        match atom.owner {
            Owner::Guest(guest, _) if atom.network == Some(network) => Some(guest),
            _ => None,
        }
    };
    atoms.filter_map(of).collect()
}
