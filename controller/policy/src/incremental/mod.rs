//! Compiling again after a small change: what the change touches, and nothing else.
//!
//! A changed rule or invariant is found in the text, read by itself and put in the place of the
//! old one; what stands behind it moves; identity classes and service classes are divided anew,
//! which is cheap; and of the verdict table only the pairs that a changed rule is about are
//! judged again. The result is what [`crate::compile_at`] gives, bit for bit. Whatever is not
//! understood as such a change is compiled as a whole, and so is everything that is refused: a
//! mistake is reported by one place only.

mod difference;
mod items;
mod plan;
mod selectors;
mod shift;
mod unnamed;

use std::{panic::resume_unwind, sync::Arc, thread};

use self::{
    plan::{Instead, Plan},
    unnamed::Renamed,
};
use crate::{
    Compiled,
    compile::{self, Replaced, Touched},
    compile_unproved_at,
    diagnostic::Diagnostics,
    finish, hygiene, kinds,
    model::Rule,
    moment::Moment,
    prove,
    source::{Sources, Span},
};

/// Compiles a policy again and again, each time only what is new.
///
/// It is fastest when the caller has dropped what it got before: then that is changed in place.
/// If not, it is copied first.
#[derive(Default)]
pub struct Compiler {
    last: Option<Last>,
    reused: bool,
}

/// What was compiled last.
struct Last {
    compiled: Arc<Compiled>,
    moment: Moment,
    /// What was said about the text, before the proof.
    unproved: Diagnostics,
    /// What the proof had to say, if it refused nothing.
    proof: Option<Diagnostics>,
    /// What is wrong with it, if it is refused.
    refused: Option<Diagnostics>,
}

impl Compiler {
    /// Nothing compiled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads, checks, compiles and proves a policy: as [`crate::compile_at`], but quicker if it
    /// is like the last one.
    pub fn compile(
        &mut self,
        sources: &Sources,
        moment: &Moment,
    ) -> Result<Arc<Compiled>, Diagnostics> {
        let next = self.next(sources, moment);
        self.reused = next.is_some();
        let next = match next {
            Some(next) => next,
            None => Last::whole(sources, moment)?,
        };
        self.last.insert(next).answer()
    }

    /// Was the last answer made from the one before?
    pub fn has_reused(&self) -> bool {
        self.reused
    }

    /// What the last result becomes, if not much changed.
    fn next(&mut self, sources: &Sources, moment: &Moment) -> Option<Last> {
        let last = self.last.as_ref()?;
        let plan = Plan::new(&last.compiled, &last.moment, sources, moment)?;
        let same = matches!(plan.instead, Instead::Nothing) && last.moment == *moment;
        let last = self.last.take()?;
        if same { Some(last) } else { last.update(plan, sources, moment) }
    }
}

impl Last {
    /// Compiles everything.
    fn whole(sources: &Sources, moment: &Moment) -> Result<Self, Diagnostics> {
        let compiled = compile_unproved_at(sources, moment)?;
        let unproved = compiled.warnings.clone();
        Ok(Self::proved(compiled, unproved, moment.clone()))
    }

    fn proved(compiled: Compiled, unproved: Diagnostics, moment: Moment) -> Self {
        Self::finished(compiled, unproved, moment, proof_of)
    }

    /// With what `prove` has to say, and with warnings, which are looked for meanwhile.
    fn finished(
        mut compiled: Compiled,
        unproved: Diagnostics,
        moment: Moment,
        prove: impl FnOnce(&Compiled) -> Diagnostics,
    ) -> Self {
        let (proof, warnings) = thread::scope(|scope| {
            let warnings = scope.spawn(|| warnings_of(&compiled));
            let proof = prove(&compiled);
            (proof, warnings.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        let mut all = unproved.clone();
        proof.items().iter().chain(warnings.items()).cloned().for_each(|d| all.push(d));
        let proof = Some(proof).filter(|proof| !proof.has_errors());
        let refused = match finish(all) {
            Ok(warnings) => {
                compiled.warnings = warnings;
                None
            }
            Err(refused) => Some(refused),
        };
        Self { compiled: Arc::new(compiled), moment, unproved, proof, refused }
    }

    fn answer(&self) -> Result<Arc<Compiled>, Diagnostics> {
        match &self.refused {
            None => Ok(Arc::clone(&self.compiled)),
            Some(refused) => Err(refused.clone()),
        }
    }

    /// Carries a plan out. `None`: the policy does not fit any more.
    fn update(self, plan: Plan, sources: &Sources, moment: &Moment) -> Option<Self> {
        let mut compiled = Arc::unwrap_or_clone(self.compiled);
        let unproved = plan.shift.diagnostics(&self.unproved, sources);
        let same_invariants = !matches!(plan.instead, Instead::Invariants(..));
        let proof = self.proof.filter(|_| same_invariants);
        let proof = proof.map(|proof| plan.shift.diagnostics(&proof, sources));
        let touched = carry_out(plan, &mut compiled, sources, moment)?;
        Some(Self::finished(compiled, unproved, moment.clone(), |compiled| {
            let proof = proof.filter(|_| prove::still_holds(compiled, &touched));
            proof.unwrap_or_else(|| proof_of(compiled))
        }))
    }
}

fn proof_of(compiled: &Compiled) -> Diagnostics {
    let mut proof = Diagnostics::new(&compiled.model.sources);
    prove::prove(compiled, &mut proof);
    proof
}

fn warnings_of(compiled: &Compiled) -> Diagnostics {
    let mut warnings = Diagnostics::new(&compiled.model.sources);
    hygiene::check(compiled, &mut warnings);
    warnings
}

/// Brings everything but the proof up to date.
fn carry_out(
    plan: Plan,
    compiled: &mut Compiled,
    sources: &Sources,
    moment: &Moment,
) -> Option<Touched> {
    let rules = &compiled.build.expanded.rules;
    let place = |span: &Span| rules.partition_point(|r| r.span < *span);
    let then = place(&plan.gone.start)..place(&plan.gone.end);
    move_text(&plan, then.end, compiled);
    let Compiled { model, image, build, .. } = compiled;
    (model.sources, model.now_unix_s) = (sources.clone(), moment.now_unix_s);
    let keeps_invariants = !matches!(plan.instead, Instead::Invariants(..));
    let keeps_lists = keeps_invariants && plan.reselected.is_none();
    let mut change = Replaced { keeps_lists, first: then.start, then: 0, now: 0 };
    if let Some(reselected) = plan.reselected {
        reselected.carry_out(model, &mut build.expanded.rules);
    }
    match plan.instead {
        Instead::Nothing => {}
        Instead::Rules(items, new) => {
            let in_force: Vec<Rule> =
                new.iter().filter(|r| !r.is_expired(moment.now_unix_s)).cloned().collect();
            (change.then, change.now) = (then.len(), in_force.len());
            let shown = in_force.iter().map(|r| compile::shown(r, sources));
            image.rules.splice(then.clone(), shown);
            build.expanded.rules.splice(then, in_force);
            model.rules.splice(items, new);
        }
        Instead::Invariants(items, new) => {
            model.invariants.splice(items, new);
        }
    }
    build.expanded.invariants = kinds::invariants(model);
    compile::update(model, &change, build, image)
}

/// Moves what stands behind a change: from the rule with this index on.
fn move_text(plan: &Plan, first: usize, compiled: &mut Compiled) {
    // While all places are those of before: afterwards the rules that go stand among others.
    rename(&plan.renamed, compiled);
    let Compiled { model, image, names, build, .. } = compiled;
    let rules = &mut build.expanded.rules;
    plan.shift.model(model);
    plan.shift.rules(rules);
    if plan.shift.by != 0 {
        names.move_spans(|span| plan.shift.span(span));
    }
    let behind = rules[first..].iter().take_while(|r| r.span.file == plan.shift.file);
    for (shown, _) in image.rules[first..].iter_mut().zip(behind) {
        shown.line = (i64::from(shown.line) + plan.lines) as u32;
    }
}

/// Gives items that are called after their lines their new names.
fn rename(renamed: &Renamed, compiled: &mut Compiled) {
    let Compiled { model, image, build, .. } = compiled;
    let rules = &mut build.expanded.rules;
    for (i, name) in &renamed.rules {
        let rule = &mut model.rules[*i];
        rule.name.clone_from(name);
        let place = rules.partition_point(|r| r.span < rule.span);
        if let Some(in_force) = rules.get_mut(place).filter(|r| r.span == rule.span) {
            in_force.name.clone_from(name);
            image.rules[place].name.clone_from(name);
        }
    }
    for (i, name) in &renamed.invariants {
        model.invariants[*i].name.clone_from(name);
    }
}
