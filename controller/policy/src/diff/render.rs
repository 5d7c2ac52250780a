//! A difference for people.

use std::fmt::Write;

use super::{Change, ChangeKind, Difference, Line, Side, Why, group::list};

/// What becomes allowed, what becomes denied, what else changes; or that nothing does.
pub fn render(difference: &Difference) -> String {
    let mut out = String::new();
    if difference.is_empty() {
        return "no difference: the same connections are allowed\n".to_owned();
    }
    section(&mut out, "becomes allowed", '+', &difference.allowed);
    section(&mut out, "becomes denied", '-', &difference.denied);
    if difference.allowed.is_empty() && difference.denied.is_empty() {
        out.push_str("the same connections are allowed\n\n");
    }
    if !difference.changes.is_empty() {
        out.push_str("besides\n");
        difference.changes.iter().for_each(|c| change(&mut out, c));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// Writing to a string cannot fail.
fn section(out: &mut String, title: &str, mark: char, lines: &[Line]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "{title}");
    for line in lines {
        let (from, to, services) = (list(&line.from), list(&line.to), list(&line.services));
        let _ = writeln!(out, "{mark} {from} -> {to}: {services}");
        let x = &line.witness.example;
        let _ = writeln!(
            out,
            "    e.g. {} ({}) -> {} ({}), {}",
            x.from, x.from_addr, x.to, x.to_addr, x.service
        );
        let rule = &line.cause.rule;
        let _ = writeln!(
            out,
            "    {} `{}` {} at {}{}",
            rule.action,
            rule.name,
            why(line.cause.why),
            rule.position,
            whose(line.cause.side)
        );
    }
    out.push('\n');
}

const fn why(why: Why) -> &'static str {
    match why {
        Why::Added => "is new,",
        Why::Removed => "is gone, it stood",
        Why::Changed => "has changed,",
        Why::MeansMore => "is as it was but now reaches this,",
        Why::MeansLess => "is as it was but no longer reaches this,",
        Why::Decides => "decides now,",
    }
}

const fn whose(side: Side) -> &'static str {
    match side {
        Side::Old => " (old)",
        Side::New => "",
    }
}

fn change(out: &mut String, change: &Change) {
    let subject = match change.subject.name() {
        "host" => "host".to_owned(),
        name => format!("{name} `{}`", change.name),
    };
    let (mark, word) = match change.change {
        ChangeKind::Added => ('+', " is new,"),
        ChangeKind::Removed => ('-', " is gone, it stood"),
        ChangeKind::Changed => ('~', ""),
    };
    let details = change.details.join("; ");
    let colon = if details.is_empty() { "" } else { ": " };
    let (position, whose) = (&change.position, whose(change.side));
    let _ = writeln!(out, "{mark} {subject}{word} at {position}{whose}{colon}{details}");
}
