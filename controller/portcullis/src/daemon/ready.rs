//! A policy, compiled for one moment: what the switch needs, and what ends when.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_image::Image;
use portcullis_policy::{Compiled, Moment, model};

use crate::{
    api::{Refused, RuleEnd, SourceFile},
    policy,
};

/// Anchors of rules that the policy does not have any more, kept so that a rule that goes and
/// comes back is not renewed; the youngest, at most so many.
const REMEMBERED: usize = 4096;

/// A policy that passed all checks at a moment.
#[derive(Clone)]
pub struct Ready {
    /// The image.
    pub image: Arc<Image>,
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
        policy::compile_at(sources, moment, color).map(|c| Self::new(c, moment, color))
    }

    /// From a policy that was compiled at this moment.
    pub fn new(compiled: Compiled, moment: &Moment, color: bool) -> Self {
        let warnings = &compiled.warnings;
        Self {
            ends: ends(&compiled.model),
            since_unix_s: remember(&moment.since_unix_s, compiled.model.anchors()),
            at_unix_s: moment.now_unix_s,
            known_unix_s: moment.now_unix_s,
            rendered: if warnings.is_empty() { String::new() } else { warnings.render(color) },
            warnings: policy::to_json(warnings),
            image: Arc::new(compiled.image),
        }
    }

    /// The next end that is to be taken account of, seconds since 1970.
    pub fn next_end(&self) -> Option<u64> {
        self.ends.iter().map(|e| e.until_unix_s).filter(|end| *end > self.known_unix_s).min()
    }
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
