//! Machines that stand for a class: between which two could a packet go at all?

use super::space::{Families, Owner, Space};
use crate::model::Protocol;

/// One machine.
#[derive(Clone, Copy, Debug)]
pub struct Actor {
    /// Its atom.
    pub atom: usize,
    /// Its address.
    pub addr: u128,
    families: Families,
    owner: Owner,
    many: bool,
}

impl Actor {
    /// An address of an atom.
    pub fn new(space: &Space, atom: usize, addr: u128) -> Self {
        let a = &space.atoms()[atom];
        Self { atom, addr, families: a.families, owner: a.owner, many: a.many }
    }
}

/// The machines of some atoms, without those that no packet can come from.
pub fn actors_of(space: &Space, atoms: impl Iterator<Item = usize>) -> impl Iterator<Item = Actor> {
    let real = atoms.filter(|&i| space.atoms()[i].real);
    real.map(|i| Actor::new(space, i, space.atoms()[i].example))
}

/// Adds a machine to those that stand for a class, if it can meet somebody whom they cannot: of
/// each family two with different owners are enough.
pub fn add_actor(class: &mut Vec<Actor>, actor: Actor) {
    let known = || class.iter().filter(|a| shares_family(a.families, actor.families));
    let covered = known().any(|a| same_machine(a, &actor)) || known().count() >= 2;
    if !covered {
        class.push(actor);
        // IPv4 reads better in a message.
        class.sort_by_key(|a| !a.families.v4);
    }
}

/// Two machines between which a packet of this protocol can go.
pub fn meet(from: &[Actor], to: &[Actor], protocol: Protocol) -> Option<(Actor, Actor)> {
    let wanted = match protocol {
        Protocol::Icmp => Families { v4: true, v6: false },
        Protocol::Icmpv6 => Families { v4: false, v6: true },
        _ => Families { v4: true, v6: true },
    };
    let fits = |&(a, b): &(Actor, Actor)| {
        let v4 = wanted.v4 && a.families.v4 && b.families.v4;
        let v6 = wanted.v6 && a.families.v6 && b.families.v6;
        let apart = if a.addr == b.addr { a.many } else { !same_machine(&a, &b) };
        (v4 || v6) && apart
    };
    from.iter().flat_map(|&a| to.iter().map(move |&b| (a, b))).find(fits)
}

fn shares_family(a: Families, b: Families) -> bool {
    a.v4 && b.v4 || a.v6 && b.v6
}

/// Is there no wire between these two? A region is many machines.
fn same_machine(a: &Actor, b: &Actor) -> bool {
    a.owner == b.owner && a.owner != Owner::Region
}
