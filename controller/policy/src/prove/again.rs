//! The proof after a change: only what the change can have broken.

use super::search::Prover;
use crate::{Compiled, compile::Touched, model::Model};

/// Does every invariant that held before the change still hold? No, if that is unclear: then all
/// of it is to be proved.
///
/// Between two classes only the rules about them count, so an invariant is looked at only if some
/// of its pairs were judged anew. Relays and ends of rules reach further.
pub fn still_holds(compiled: &Compiled, touched: &Touched) -> bool {
    if has_relays(&compiled.model) || has_ends(&compiled.model) {
        return false;
    }
    let build = &compiled.build;
    let classes = |list| build.classes.of_list(list);
    let all = build.expanded.invariants.iter().zip(&build.invariants);
    let mut suspects =
        all.filter(|(_, key)| touched.any(classes(key.from), classes(key.to))).peekable();
    if suspects.peek().is_none() {
        return true;
    }
    let prover = Prover::new(compiled);
    suspects.all(|(invariant, key)| prover.invariant(invariant, *key).0.is_empty())
}

fn has_relays(model: &Model) -> bool {
    model.guests.iter().any(|g| g.forwards && g.nics.len() > 1)
}

fn has_ends(model: &Model) -> bool {
    model.rules.iter().any(|r| r.until.is_some())
}
