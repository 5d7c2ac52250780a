//! An explanation for people.

use std::fmt::Write;

use super::{Answer, Explanation, RuleView, Verdict, time::show_span};

/// Verdict first, then each distinct answer with its rule, then advice.
pub fn render(e: &Explanation) -> String {
    let mut out = String::new();
    let verdict = match e.verdict {
        Verdict::Allowed => "allowed",
        Verdict::Denied => "denied",
        Verdict::Mixed => "some allowed, some denied",
    };
    line(&mut out, 0, format!("{} -> {}, {}: {verdict}", e.from, e.to, e.service));
    for answer in &e.answers {
        out.push('\n');
        one(&mut out, answer);
    }
    if e.more > 0 {
        line(&mut out, 0, format!("and {} more distinct answers", e.more));
    }
    if !e.notes.is_empty() {
        out.push('\n');
    }
    for note in &e.notes {
        line(&mut out, 0, format!("note: {note}"));
    }
    out
}

fn one(out: &mut String, answer: &Answer) {
    let x = &answer.example;
    let word = if answer.allowed { "allowed" } else { "denied" };
    let example =
        format!("{word}: {} ({}) -> {} ({}), {}", x.from, x.from_addr, x.to, x.to_addr, x.service);
    line(out, 0, example);
    match &answer.rule {
        _ if answer.denied.is_some() => denied(out, answer),
        Some(rule) => {
            line(out, 2, format!("by {}", title(rule)));
            line(out, 4, format!("{} | {}", rule.position.line, rule.excerpt.trim()));
            if let Some(ends) = &rule.until {
                let left = ends.left_s.map(|s| format!(", in {}", show_span(s)));
                line(out, 4, format!("until {}{}", ends.at, left.unwrap_or_default()));
            }
        }
        None => line(out, 2, "by default: no rule speaks about it".to_owned()),
    }
    line(out, 2, format!("way: {}", answer.way));
    if let Some(rule) = &answer.observed {
        let would = if answer.allowed { "denied" } else { "allowed" };
        line(out, 2, format!("would be {would} by {}, which only observes", title(rule)));
    }
    for rule in &answer.runners_up {
        line(out, 2, format!("also about it: {}", title(rule)));
    }
    for invariant in &answer.invariants {
        line(out, 2, format!("guarded by: {}", title(invariant)));
    }
    for advice in &answer.advice {
        line(out, 2, format!("to allow it: {advice}"));
    }
}

/// The denied set that goes before the rules.
fn denied(out: &mut String, answer: &Answer) {
    let Some(denied) = &answer.denied else { return };
    let (set, prefix, at) = (&denied.set, &denied.prefix, &denied.position);
    line(out, 2, format!("by the denied set {set} ({prefix}) at {at}, before any rule"));
    line(out, 4, format!("{} | {}", at.line, denied.excerpt.trim()));
}

/// Name, what it says, where, who and why.
fn title(rule: &RuleView) -> String {
    let mut title = format!("{} (", rule.name);
    if let Some(tier) = rule.tier {
        title.push_str(tier);
        title.push(' ');
    }
    title.push_str(rule.action);
    for (what, value) in [("owner", &rule.owner), ("ticket", &rule.ticket)] {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = write!(title, ", {what} {value}");
        }
    }
    let _ = write!(title, ") at {}", rule.position);
    title
}

fn line(out: &mut String, indent: usize, text: String) {
    out.extend(std::iter::repeat_n(' ', indent));
    out.push_str(&text);
    out.push('\n');
}
