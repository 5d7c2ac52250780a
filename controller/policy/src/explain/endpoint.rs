//! Who a question is about.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::ExplainError;
use crate::{
    Compiled,
    compile::{
        actors::{Actor, actors_of, add_actor},
        block::{Block, addr},
        space::{Owner, Zone},
    },
    model::Endpoint,
};

/// Machines by class.
pub type Actors = BTreeMap<u32, Vec<Actor>>;

/// The machines that a name or an address stands for, by class.
pub fn actors(compiled: &Compiled, text: &str) -> Result<Actors, ExplainError> {
    let build = &compiled.build;
    let mut classes = Actors::new();
    let mut add = |actor: Actor| {
        add_actor(classes.entry(build.classes.of_atom(actor.atom)).or_default(), actor);
    };
    match endpoint(compiled, text)? {
        Endpoint::Prefix(net) => {
            // What of it is declared or mentioned by itself, and what lies around it.
            let inside = build.space.members(Endpoint::Prefix(net));
            actors_of(&build.space, inside.into_iter().map(|a| a as usize)).for_each(&mut add);
            around(compiled, net).into_iter().for_each(add);
        }
        endpoint => {
            let members = build.space.members(endpoint).into_iter().map(|a| a as usize);
            actors_of(&build.space, members).for_each(add);
        }
    }
    Ok(classes)
}

fn endpoint(compiled: &Compiled, text: &str) -> Result<Endpoint, ExplainError> {
    let literal = || {
        let one = text.parse::<IpAddr>().ok().map(IpNet::from);
        one.or_else(|| text.parse::<IpNet>().ok().map(|n| n.trunc())).map(Endpoint::Prefix)
    };
    compiled.names.find(text).or_else(literal).ok_or_else(|| ExplainError::UnknownEndpoint {
        name: text.to_owned(),
        help: compiled.names.suggest(text),
    })
}

/// The smallest region that contains a prefix, for the addresses of the prefix that nobody
/// declared.
fn around(compiled: &Compiled, net: IpNet) -> Option<Actor> {
    let space = &compiled.build.space;
    let block = Block::of(net);
    let declared = space.points().any(|i| space.atoms()[i].example == block.first);
    if declared && block.len == 128 {
        return None;
    }
    let regions = space.regions().filter(|(b, _)| b.contains(block));
    let (_, atom) = regions.max_by_key(|(b, _)| b.len)?;
    Some(Actor::new(space, atom, block.first))
}

/// The address of a number.
pub fn ip(number: u128) -> IpAddr {
    addr(number).into()
}

/// Who has the addresses of an atom.
pub fn describe(compiled: &Compiled, atom: usize) -> String {
    let space = &compiled.build.space;
    let a = &space.atoms()[atom];
    match (a.owner, space.zone(atom)) {
        (Owner::Guest(g, _), _) => compiled.model.guests[g].name.clone(),
        (Owner::Host, _) => "host".to_owned(),
        (Owner::Region, Zone::World) => "world".to_owned(),
        (Owner::Region, Zone::Network(n)) => {
            format!("undeclared in {}", compiled.model.networks[n].name)
        }
        _ => "undeclared link-local".to_owned(),
    }
}
