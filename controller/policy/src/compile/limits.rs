//! What does not fit: refused with its size and with the rules that make it, before memory is
//! gone.

use portcullis_pipeline::layout;

use super::rows::Limits;
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    problem::Problem,
    source::Span,
};

/// Most rules: cells name them.
pub const RULES: u64 = layout::RULES as u64 - 1;
/// Most identity classes: the row table has a place for each pair.
pub const CLASSES: u64 = 2048;
/// Most service classes: the service tables hold 16-bit numbers.
pub const SERVICES: u64 = 1 << 16;
/// Most members of all lists of one kind together, 4 bytes each, while compiling.
pub const PLACES: u64 = 1 << 24;
/// For the verdict table.
pub const LIMITS: Limits = Limits {
    cells: layout::CELL_CHUNKS as u64 * layout::CHUNK as u64,
    // 28 bytes each.
    nodes: 1 << 22,
    // A second or two.
    steps: 1 << 31,
};

/// Places that a refusal names.
const BLAMED: usize = 5;

/// Something that is too much.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMuch {
    /// What there is too much of.
    pub what: &'static str,
    /// How much; there may be more, where counting ended.
    pub got: u64,
    /// What would fit.
    pub limit: u64,
    /// Who made how much of it, and what that is called.
    pub by: Vec<(Span, u64)>,
    /// What those are.
    pub share: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

/// Keeps the largest shares.
pub fn largest<T>(shares: impl Iterator<Item = (T, u64)>) -> Vec<(T, u64)> {
    let mut all: Vec<(T, u64)> = shares.filter(|(_, share)| *share > 0).collect();
    all.sort_by_key(|&(_, share)| std::cmp::Reverse(share));
    all.truncate(BLAMED);
    all
}

impl TooMuch {
    /// Reports it where its largest part comes from.
    pub fn report(self, diags: &mut Diagnostics) {
        let Self { what, got, limit, by, share, advice } = self;
        let at = by.first().map_or_else(Span::default, |b| b.0);
        let mut diagnostic = Diagnostic::new(Problem::TooLarge { what, got, limit }, at);
        for (span, count) in by {
            diagnostic = diagnostic.label(span, format!("{share} {count}"));
        }
        diags.push(diagnostic.help(advice));
    }
}
