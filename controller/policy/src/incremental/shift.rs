//! Places behind a change: they move with the text.

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    model::{Model, Rule, Service, Term},
    source::{Sources, Span},
};

/// What stands in a file from some byte on moves.
#[derive(Clone, Copy, Debug)]
pub struct Shift {
    pub file: u32,
    pub from: u32,
    /// How far, in bytes.
    pub by: i64,
}

impl Shift {
    /// Moves one place.
    pub fn span(&self, span: &mut Span) {
        if self.is_behind(*span) {
            span.start = (i64::from(span.start) + self.by) as u32;
            span.end = (i64::from(span.end) + self.by) as u32;
        }
    }

    /// Does a place stand behind the change, in its file?
    pub fn is_behind(&self, span: Span) -> bool {
        span.file == self.file && span.start >= self.from
    }

    /// Moves everything of a model, its rules and the rest.
    pub fn model(&self, model: &mut Model) {
        if self.by == 0 {
            return;
        }
        for network in &mut model.networks {
            self.span(&mut network.span);
            self.span(&mut network.kind_span);
            self.span(&mut network.outside_span);
        }
        model.guests.iter_mut().for_each(|g| self.span(&mut g.span));
        model.host.iter_mut().for_each(|h| self.span(&mut h.span));
        model.labels.iter_mut().for_each(|l| self.span(&mut l.span));
        for set in &mut model.denied {
            self.span(&mut set.span);
            set.inline.iter_mut().for_each(|p| self.span(&mut p.span));
        }
        for set in &mut model.sets {
            self.span(&mut set.span);
            self.terms(&mut set.members);
            self.terms(&mut set.except);
        }
        for selector in &mut model.selectors {
            self.span(&mut selector.span);
            self.terms(&mut selector.terms);
        }
        self.services(&mut model.services);
        for publish in &mut model.publish {
            self.span(&mut publish.span);
            self.services(&mut publish.services);
        }
        self.rules(&mut model.rules);
        for invariant in &mut model.invariants {
            self.span(&mut invariant.span);
            self.terms(&mut invariant.from);
            self.terms(&mut invariant.to);
            self.services(&mut invariant.services);
        }
    }

    /// Moves rules, which stand in the order of the text.
    pub fn rules(&self, rules: &mut [Rule]) {
        let first = rules.partition_point(|r| (r.span.file, r.span.start) < (self.file, self.from));
        for rule in rules[first..].iter_mut().take_while(|r| r.span.file == self.file) {
            self.span(&mut rule.span);
            self.terms(&mut rule.from);
            self.terms(&mut rule.to);
            self.services(&mut rule.services);
            if let Some(until) = &mut rule.until {
                self.span(&mut until.span);
            }
        }
    }

    fn terms(&self, terms: &mut [Term]) {
        terms.iter_mut().for_each(|t| self.span(&mut t.span));
    }

    fn services(&self, services: &mut [Service]) {
        services.iter_mut().for_each(|s| self.span(&mut s.span));
    }

    /// Moves what was said about a text, which is now another one.
    pub fn diagnostics(&self, diags: &Diagnostics, sources: &Sources) -> Diagnostics {
        let mut moved = Diagnostics::new(sources);
        for diagnostic in diags.items() {
            let mut diagnostic: Diagnostic = diagnostic.clone();
            self.span(&mut diagnostic.span);
            diagnostic.labels.iter_mut().for_each(|l| self.span(&mut l.span));
            diagnostic.edits.iter_mut().for_each(|e| self.span(&mut e.span));
            moved.push(diagnostic);
        }
        moved
    }
}
