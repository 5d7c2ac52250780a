//! Prefixes in our own networks that reach further than anybody lives.

use hashbrown::HashSet;
use ipnet::IpNet;

use crate::{
    Compiled,
    compile::space::{Owner, Zone},
    diagnostic::{Diagnostic, Diagnostics},
    model::{Action, Endpoint, Term},
    problem::Problem,
};

/// Guests that are named in one message.
const NAMED: usize = 6;

/// Warns of prefixes that allow rules and sets name, and that cover addresses of a network which
/// no guest has: whoever takes one of these on that network is let through.
pub fn check(compiled: &Compiled, diags: &mut Diagnostics) {
    let model = &compiled.model;
    let allows = model
        .rules
        .iter()
        .filter(|r| r.action == Action::Allow && !r.observe && !r.is_expired(model.now_unix_s));
    let terms = allows.flat_map(|r| r.from.iter().chain(&r.to));
    let terms = terms.chain(model.sets.iter().flat_map(|s| &s.members));
    let mut known = HashSet::new();
    for term in terms {
        if let Endpoint::Prefix(net) = term.endpoint
            && net.prefix_len() > 0
            && known.insert(net)
        {
            diags_for(compiled, term, net, diags);
        }
    }
}

fn diags_for(compiled: &Compiled, term: &Term, net: IpNet, diags: &mut Diagnostics) {
    let space = &compiled.build.space;
    let model = &compiled.model;
    let mut guests: Vec<usize> = Vec::new();
    let mut empty: Option<usize> = None;
    for atom in space.members(term.endpoint) {
        let atom = atom as usize;
        match (space.atoms()[atom].owner, space.zone(atom)) {
            (Owner::Guest(guest, _), _) if !guests.contains(&guest) => guests.push(guest),
            // The place of undeclared machines is the undeclared part of an external network.
            (Owner::Region, Zone::Network(n)) if space.atoms()[atom].real => empty = Some(n),
            _ => {}
        }
    }
    let Some(network) = empty else { return };
    let network = &model.networks[network].name;
    let names: Vec<&str> = guests.iter().map(|&g| model.guests[g].name.as_str()).collect();
    let prefix = net.to_string();
    let single = net.prefix_len() == net.max_prefix_len();
    let diagnostic = match &names[..] {
        [] if single => {
            let addr = net.addr().to_string();
            Diagnostic::new(Problem::NobodyHas { addr, network: network.clone() }, term.span)
                .help("declare a guest with this address, or take the address out")
        }
        [] => {
            Diagnostic::new(Problem::NobodyInside { prefix, network: network.clone() }, term.span)
                .help(format!("name the guests that are meant, or the network `{network}`"))
        }
        names => {
            let more = names.len().saturating_sub(NAMED);
            let mut list = names[..names.len() - more].join(", ");
            if more > 0 {
                list.push_str(&format!(" and {more} more"));
            }
            Diagnostic::new(
                Problem::WiderThanGuests { prefix, network: network.clone() },
                term.span,
            )
            .help(format!("name who is meant: {list}; or a label that they wear"))
        }
    };
    diags.push(diagnostic);
}
