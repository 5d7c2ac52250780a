//! Rules and invariants without a name are called after their lines, which move.

use super::shift::Shift;
use crate::{model::Model, source::Span};

/// Items that are called otherwise now, by their indexes.
#[derive(Debug, Default)]
pub struct Renamed {
    pub rules: Vec<(usize, String)>,
    pub invariants: Vec<(usize, String)>,
}

impl Renamed {
    /// Of a model whose text moves down by some lines from some place on. `None`: it is unclear
    /// whether a name was given or follows from the line.
    pub fn new(model: &Model, shift: Shift, lines: i64) -> Option<Self> {
        if lines == 0 {
            return Some(Self::default());
        }
        let name = |name: &str, span: Span| rename(model, shift, lines, name, span);
        let rules = model.rules.iter().map(|r| name(&r.name, r.span));
        let invariants = model.invariants.iter().map(|i| name(&i.name, i.span));
        Some(Self { rules: collect(rules)?, invariants: collect(invariants)? })
    }
}

/// The new names, with their indexes.
fn collect(
    names: impl Iterator<Item = Result<Option<String>, Unclear>>,
) -> Option<Vec<(usize, String)>> {
    let named = names.enumerate().filter_map(|(i, name)| Some((i, name.transpose()?)));
    named.map(|(i, name)| Some((i, name.ok()?))).collect()
}

/// A name that may be given or not.
struct Unclear;

/// What an item is called from now on, if that changes.
fn rename(
    model: &Model,
    shift: Shift,
    lines: i64,
    name: &str,
    span: Span,
) -> Result<Option<String>, Unclear> {
    let by_line = ["rule-", "never-", "always-"].into_iter().find_map(|prefix| {
        let line = name.strip_prefix(prefix)?.parse::<u32>().ok()?;
        Some((prefix, line))
    });
    let Some((prefix, line)) = by_line.filter(|_| shift.is_behind(span)) else {
        return Ok(None);
    };
    if model.sources.position(span).line != line {
        return Ok(None);
    }
    let text = model.sources.file(span).text();
    if text.get(span.start as usize..span.end as usize).is_none_or(|item| item.contains("name")) {
        return Err(Unclear);
    }
    Ok(Some(format!("{prefix}{}", i64::from(line) + lines)))
}
