//! Denied sets go before all rules: a `never` only holds better for them, an `always` about
//! addresses that they name does not hold. One about the whole world means whoever is left of it.

use portcullis_image::Denied;

use crate::{
    Compiled,
    compile::{Build, block::Block, first_denied, space::Zone},
    diagnostic::{Diagnostic, Diagnostics},
    model::Demand,
    problem::Problem,
};

/// Reports every `always` that a denied set cuts.
pub fn check(compiled: &Compiled, diags: &mut Diagnostics) {
    let (build, denied) = (&compiled.build, &compiled.image.denied);
    if denied.is_empty() {
        return;
    }
    for (invariant, key) in build.expanded.invariants.iter().zip(&build.invariants) {
        if invariant.demand != Demand::Always {
            continue;
        }
        let cut = [key.from, key.to].into_iter().find_map(|list| cut(build, denied, list));
        let named = cut.and_then(|addr| Some((addr, compiled.model.denied_by(addr)?)));
        if let Some((addr, (set, prefix))) = named {
            let (invariant, at) = (&invariant.name, invariant.span);
            let (invariant, set) = (invariant.clone(), set.name.clone());
            let problem = Problem::AlwaysDenied { invariant, addr, set };
            diags.push(Diagnostic::new(problem, at).label(prefix.span, "denied here").help(
                "take the address out of the denied set, or out of the invariant: no rule goes \
                 before a denied set",
            ));
        }
    }
}

/// An address of the list's regions that is denied, if the list is not about the whole world.
fn cut(build: &Build, denied: &Denied, list: u32) -> Option<std::net::IpAddr> {
    let (space, classes) = (&build.space, build.classes.of_list(list));
    let inside = |atom: usize| classes.binary_search(&build.classes.of_atom(atom)).is_ok();
    let world: Vec<(Block, usize)> =
        space.regions().filter(|(_, atom)| space.zone(*atom) == Zone::World).collect();
    if world.iter().all(|(_, atom)| inside(*atom)) {
        return None;
    }
    let blocks: Vec<Block> = space.regions().map(|(block, _)| block).collect();
    world.iter().filter(|(_, atom)| inside(*atom)).find_map(|(block, _)| {
        let inner = blocks.iter().filter(|b| *b != block && block.contains(**b));
        first_denied(denied, *block, &inner.copied().collect::<Vec<_>>())
    })
}
