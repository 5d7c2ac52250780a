//! The part of the status that is about time: what waits for a confirmation, which rules end.

use portcullis_policy::until;

use super::table::{Cell, Table};
use crate::{
    api::{Pending, Status},
    paint::{Paint, Style},
};

/// A policy on trial: until when, and what to do. Empty where there is none.
pub fn pending(pending: Option<&Pending>, paint: Paint) -> String {
    let Some(pending) = pending else { return String::new() };
    let before = match &pending.before {
        Some(files) => format!("{} comes back", files.join(", ")),
        None => "every port is closed".to_owned(),
    };
    let wait = format!("not confirmed yet: in {} s {before}", pending.left_ms.div_ceil(1000));
    format!("  {} (portcullis confirm)\n", paint.paint(Style::Warn, wait))
}

/// Rules that end, or have ended; the next end first.
pub fn ends(status: &Status) -> Table {
    let mut table = Table::new(&["rule", "ends", "state", "where"]);
    let mut ends: Vec<_> = status.ends.iter().collect();
    ends.sort_by_key(|end| (end.ended, end.until_unix_s));
    for end in ends {
        let state = match end.ended {
            true => Cell::new(Style::Bad, "ended"),
            false => Cell::new(Style::Good, "in force"),
        };
        table.row([
            end.rule.as_str().into(),
            until::show(end.until_unix_s).into(),
            state,
            Cell::new(Style::Dim, format!("{}:{}", end.file, end.line)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_says_what_to_do() {
        let terms = |before| Pending { until_unix_s: 9, left_ms: 30_001, before };
        let text = pending(Some(&terms(Some(vec!["a.yaml".into()]))), Paint::off());
        assert_eq!(text, "  not confirmed yet: in 31 s a.yaml comes back (portcullis confirm)\n");
        let text = pending(Some(&terms(None)), Paint::off());
        assert!(text.contains("every port is closed"), "{text}");
        assert_eq!(pending(None, Paint::off()), "");
    }
}
