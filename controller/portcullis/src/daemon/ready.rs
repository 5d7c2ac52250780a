//! A policy, compiled for one moment: what the switch needs, and what ends when.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_host_rules::Plan;
use portcullis_image::Image;
use portcullis_policy::{Compiled, Compiler, Diagnostics, Moment, model};

use crate::{
    api::{Refused, RuleEnd, SourceFile},
    outside, policy,
};

/// Anchors of rules that the policy does not have any more, kept so that a rule that goes and
/// comes back is not renewed; the youngest, at most so many.
const REMEMBERED: usize = 4096;
/// Errors and warnings that an answer holds.
const TOLD_MAX: usize = 200;

/// A policy that passed all checks at a moment.
#[derive(Clone)]
pub struct Ready {
    /// The image.
    pub image: Arc<Image>,
    /// What is wanted of the host's own stack.
    pub outside: Arc<Plan>,
    /// Rules that end, or have ended, in the order of the text.
    pub ends: Vec<RuleEnd>,
    /// Where durations count from, once this is in force.
    pub since_unix_s: BTreeMap<String, u64>,
    /// The moment that it was compiled for, seconds since 1970.
    pub at_unix_s: u64,
    /// Ends up to this moment are taken account of. It is later than the one above where the
    /// policy does not hold without a rule that has ended since.
    pub known_unix_s: u64,
    /// Warnings for people.
    pub rendered: String,
    /// Warnings for programs.
    pub warnings: Vec<serde_json::Value>,
}

impl std::fmt::Debug for Ready {
    /// An image's tables are too long.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rules = self.image.rules.len();
        f.debug_struct("Ready").field("rules", &rules).field("at_unix_s", &self.at_unix_s).finish()
    }
}

impl Ready {
    /// Checks, compiles and proves.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(sources: &[SourceFile], moment: &Moment, color: bool) -> Result<Self, Refused> {
        check(sources, moment, color).map(|c| Self::new(&c, moment, color))
    }

    /// As [`Ready::compile`], but quicker where little differs from what `compiler` saw last.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile_again(
        compiler: &mut Compiler,
        sources: &[SourceFile],
        moment: &Moment,
        color: bool,
    ) -> Result<Self, Refused> {
        match compiler.compile(&policy::texts(sources), moment) {
            Ok(compiled) => Ok(Self::new(&compiled, moment, color)),
            Err(all) => Err(refused(&all, color)),
        }
    }

    /// From a policy that was compiled at this moment.
    pub fn new(compiled: &Compiled, moment: &Moment, color: bool) -> Self {
        let (warnings, rest) = few(&compiled.warnings);
        let rendered =
            if warnings.is_empty() { String::new() } else { warnings.render(color) + &rest };
        Self {
            outside: Arc::new(outside::plan(&compiled.model)),
            ends: ends(&compiled.model),
            since_unix_s: remember(&moment.since_unix_s, compiled.model.anchors()),
            at_unix_s: moment.now_unix_s,
            known_unix_s: moment.now_unix_s,
            rendered,
            warnings: policy::to_json(&warnings),
            image: Arc::new(compiled.image.clone()),
        }
    }

    /// The next end that is to be taken account of, seconds since 1970.
    pub fn next_end(&self) -> Option<u64> {
        self.ends.iter().map(|e| e.until_unix_s).filter(|end| *end > self.known_unix_s).min()
    }
}

/// Checks, compiles and proves, and refuses in as many words as fit into an answer.
///
/// # Errors
/// What is wrong with it.
pub fn check(sources: &[SourceFile], moment: &Moment, color: bool) -> Result<Compiled, Refused> {
    let compiled = portcullis_policy::compile_at(&policy::texts(sources), moment);
    compiled.map_err(|all| refused(&all, color))
}

/// A refusal that fits into an answer.
pub fn refused(all: &Diagnostics, color: bool) -> Refused {
    let (few, rest) = few(all);
    let refused = policy::refused(&few, color);
    let (violated, rendered) = (policy::is_violated(all), refused.rendered + &rest);
    Refused { violated, rendered, ..refused }
}

/// The first diagnostics, and a word about the others. A policy of 100,000 rules may have a
/// warning for each, which nobody reads and no message holds.
fn few(all: &Diagnostics) -> (Diagnostics, String) {
    let mut few = Diagnostics::new(all.sources());
    all.items().iter().take(TOLD_MAX).for_each(|item| few.push(item.clone()));
    let rest = match all.items().len().saturating_sub(TOLD_MAX) {
        0 => String::new(),
        more => format!("\nand {more} more: portcullis check FILE shows them all\n"),
    };
    (few, rest)
}

fn ends(model: &model::Model) -> Vec<RuleEnd> {
    let end = |rule: &model::Rule| {
        let until_unix_s = rule.until.as_ref()?.at_unix_s;
        let place = model.sources.position(rule.span);
        Some(RuleEnd {
            rule: rule.name.clone(),
            file: place.file,
            line: place.line,
            allow: rule.action == model::Action::Allow,
            until_unix_s,
            ended: rule.is_expired(model.now_unix_s),
        })
    };
    model.rules.iter().filter_map(end).collect()
}

/// What was remembered, and what begins now.
fn remember(
    known: &BTreeMap<String, u64>,
    present: BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let mut gone: Vec<(&String, &u64)> =
        known.iter().filter(|(key, _)| !present.contains_key(*key)).collect();
    gone.sort_by_key(|(_, since)| std::cmp::Reverse(**since));
    let kept = gone.into_iter().take(REMEMBERED).map(|(key, since)| (key.clone(), *since));
    let mut all: BTreeMap<String, u64> = kept.collect();
    all.extend(present);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_warnings_fit_into_an_answer() {
        let rule = |n| format!("  - {{ name: r{n}, allow: {{ from: a, to: b, for: ssh }} }}\n");
        let text = "networks: { n: { vlan: 1, subnets: [10.0.0.0/24] } }\nguests: { a: { network: \
                    n }, b: { network: n } }\nrules:\n"
            .to_owned()
            + &(0..5000).map(rule).collect::<String>();
        let source = |text: &str| vec![SourceFile { name: "p.yaml".into(), text: text.into() }];
        let ready = Ready::compile(&source(&text), &Moment::at(9), false).unwrap();
        assert_eq!(ready.warnings.len(), TOLD_MAX);
        assert!(ready.rendered.contains("more: portcullis check FILE"), "{}", ready.rendered);
        let broken = text.replace("ssh", "shh");
        let refused = Ready::compile(&source(&broken), &Moment::at(9), false).unwrap_err();
        assert!(refused.rendered.contains("and 4800 more") && !refused.violated);
    }

    #[test]
    fn anchors_are_kept_and_bounded() {
        let map = |range: std::ops::Range<u64>| -> BTreeMap<String, u64> {
            range.map(|i| (format!("r{i}"), i)).collect()
        };
        let all = remember(&map(0..3), map(2..5));
        assert_eq!(all, map(0..5));
        let many = remember(&map(0..10_000), map(20_000..20_010));
        assert_eq!(many.len(), REMEMBERED + 10);
        assert!(many.contains_key("r9999") && !many.contains_key("r5000"));
    }
}
