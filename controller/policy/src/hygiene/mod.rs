//! What is not wrong and still not right: rules without effect, names without use, prefixes that
//! reach further than anybody lives.
//!
//! Everything is found from the tables and from lists that are made once, not by comparing rules
//! in pairs.

mod names;
mod outside;
mod rules;
mod wide;

use crate::{Compiled, diagnostic::Diagnostics};

/// Warns of everything that somebody should look at.
pub fn check(compiled: &Compiled, diags: &mut Diagnostics) {
    rules::check(compiled, diags);
    names::check(&compiled.model, diags);
    wide::check(compiled, diags);
    outside::check(compiled, diags);
}
