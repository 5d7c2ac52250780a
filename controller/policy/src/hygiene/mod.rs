//! What is not wrong and still not right: rules without effect, names without use.

use portcullis_pipeline::policy::Cell;

use crate::{
    Compiled,
    diagnostic::{Diagnostic, Diagnostics},
    model::Action,
    problem::Problem,
    prove::cell,
};

/// Warns of everything that somebody should look at.
pub fn check(compiled: &Compiled, diags: &mut Diagnostics) {
    never_decide(compiled, diags);
}

/// Warns of rules that decide nothing: other rules say it already, or overrule them everywhere.
fn never_decide(compiled: &Compiled, diags: &mut Diagnostics) {
    let build = &compiled.build;
    let mut decides = vec![false; build.expanded.rules.len() + 1];
    for &cell in compiled.image.cells.iter().chain(&compiled.image.shadows) {
        decides[Cell(cell).rule() as usize] = true;
    }
    for (i, rule) in build.expanded.rules.iter().enumerate() {
        if decides[i + 1] || rule.action == Action::Pass {
            continue;
        }
        let key = build.rules[i];
        let first = |classes: &[u32]| classes.first().copied().unwrap_or(0);
        let src = first(build.classes.of_list(key.from));
        let dst = first(build.classes.of_list(key.to));
        let cell = cell(compiled, src, dst, first(build.services.of_list(key.services)));
        let problem = Problem::NeverDecides { name: rule.name.clone() };
        let diagnostic = Diagnostic::new(problem, rule.span);
        diags.push(match (cell.rule() as usize).checked_sub(1) {
            Some(other) => {
                let other = &build.expanded.rules[other];
                diagnostic.label(other.span, format!("`{}` decides instead", other.name))
            }
            None => diagnostic,
        });
    }
}
