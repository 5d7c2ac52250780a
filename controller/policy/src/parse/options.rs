//! What a rule can have besides what it says: tier, mode, log, end, owner and ticket.

use super::{
    Builder, keys,
    reader::{self, Table},
};
use crate::{
    diagnostic::Diagnostic,
    foreign, hash,
    model::{Anchor, Log, Tier, Until},
    near::nearest,
    problem::Problem,
    until::{self, End},
    yaml::{Node, Value},
};

/// `log: true`: enough to see who it is, too little to drown in.
const LOG_DEFAULT: Log = Log { events_per_s: 10 };
/// Most events a second that one can ask for, on each CPU.
const LOG_MAX: u32 = 100_000;

impl Builder<'_> {
    /// `mode: observe`: does the rule only count and log?
    pub fn observes(&mut self, table: &Table<'_>) -> bool {
        let words = &[("enforce", false), ("observe", true)];
        let expected = "a mode: `enforce` or `observe`";
        self.one_word(table, "mode", expected, words, foreign::mode).unwrap_or(false)
    }

    /// `tier: platform` or `tier: tenant`.
    pub fn tier(&mut self, table: &Table<'_>) -> Tier {
        let words = &[("platform", Tier::Platform), ("tenant", Tier::Tenant)];
        let expected = "a tier: `platform` or `tenant`";
        self.one_word(table, "tier", expected, words, |_| None).unwrap_or(Tier::Tenant)
    }

    /// The value of a key that has one of a few words.
    pub fn one_word<T: Copy>(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        expected: &'static str,
        words: &[(&str, T)],
        foreign: impl Fn(&str) -> Option<&'static str>,
    ) -> Option<T> {
        let node = table.get(key)?;
        let got = reader::text(node, expected, self.diags)?;
        let found = words.iter().find(|(word, _)| *word == got).map(|&(_, value)| value);
        if found.is_none() {
            let problem = Problem::BadValue { got: got.to_owned(), expected };
            let near = || nearest(got, words.iter().map(|&(word, _)| word));
            let meant = foreign(got).or_else(near);
            self.diags.push(Diagnostic::new(problem, node.span).meant(meant));
        }
        found
    }

    /// `log-denied: 10/s` of the whole policy: what no rule allows is told, so often.
    pub fn log_denied(&mut self, nodes: &[&Node]) {
        let [node, more @ ..] = nodes else { return };
        for other in more {
            let problem = Problem::DuplicateKey { key: "log-denied".to_owned() };
            self.diags.push(Diagnostic::new(problem, other.span).label(node.span, "the first one"));
        }
        let Some(text) = reader::text(node, "`log-denied`", self.diags) else { return };
        if text != "none" {
            self.model.log_denied = self.log_rate(node, text);
        }
    }

    fn log_rate(&mut self, node: &Node, text: &str) -> Option<Log> {
        match rate(text) {
            Ok(events_per_s) => Some(Log { events_per_s }),
            Err((why, help)) => {
                let problem = Problem::BadRate { got: text.to_owned(), why };
                self.diags.push(Diagnostic::new(problem, node.span).maybe_help(help));
                None
            }
        }
    }

    /// `log: true`, `log: false` or `log: { rate: 50/s }`.
    pub fn log(&mut self, table: &Table<'_>) -> Option<Log> {
        let node = table.get("log")?;
        let Value::Map(_) = node.value else {
            let text = reader::text(node, "`log`", self.diags)?;
            return match reader::boolean(text) {
                Some(wanted) => wanted.then_some(LOG_DEFAULT),
                None => {
                    let wrong = reader::not_boolean(text, node.span);
                    let rate = text.starts_with(|c: char| c.is_ascii_digit());
                    let help = rate.then_some("a rate is written `log: { rate: 50/s }`");
                    self.diags.push(wrong.maybe_help(help));
                    None
                }
            };
        };
        let inner = reader::table(node, "`log`", keys::LOG, self.diags)?;
        let Some(node) = inner.get("rate") else { return Some(LOG_DEFAULT) };
        let text = reader::text(node, "`rate`", self.diags)?;
        self.log_rate(node, text)
    }

    /// `until: ...`. A duration counts from the moment in which the rule was first in force, if
    /// somebody remembers it, and from now if not.
    pub fn until(&mut self, table: &Table<'_>, rule: &Node) -> Option<Until> {
        let node = table.get("until")?;
        let text = reader::text(node, "`until`", self.diags)?;
        let span = node.span;
        match until::read(text) {
            Ok(End::At(at_unix_s)) => Some(Until { at_unix_s, span, anchor: None }),
            Ok(End::After(seconds)) => {
                let key = self.anchor_key(table, rule);
                let now = self.moment.now_unix_s;
                let since_unix_s = self.moment.since_unix_s.get(&key).copied().unwrap_or(now);
                let at_unix_s = since_unix_s.saturating_add(seconds);
                Some(Until { at_unix_s, span, anchor: Some(Anchor { key, since_unix_s }) })
            }
            Err(bad) => {
                let problem = Problem::BadUntil { got: text.to_owned(), why: bad.why };
                self.diags.push(Diagnostic::new(problem, span).maybe_help(bad.help));
                None
            }
        }
    }

    /// What a rule's first apply is remembered under: its name and what it says. Comments, white
    /// space and where it stands change nothing.
    fn anchor_key(&self, table: &Table<'_>, rule: &Node) -> String {
        let name = match table.get("name").map(|n| &n.value) {
            Some(Value::Scalar(name)) => name.as_str(),
            _ => "rule",
        };
        let mut text = String::new();
        spell(rule, &mut text);
        format!("{name}:{:016x}", hash::stable(&text))
    }

    /// `owner` or `ticket`.
    pub fn remark(&mut self, table: &Table<'_>, key: &'static str) -> Option<String> {
        let node = table.get(key)?;
        reader::text(node, "a remark", self.diags).map(str::to_owned)
    }
}

/// Writes a node so that two that say something else never look alike.
fn spell(node: &Node, out: &mut String) {
    let word = |out: &mut String, text: &str| {
        out.push_str(&text.len().to_string());
        out.push(':');
        out.push_str(text);
    };
    match &node.value {
        Value::Null | Value::Refused => out.push('~'),
        Value::Scalar(text) => word(out, text),
        Value::List(items) => {
            out.push('[');
            items.iter().for_each(|item| spell(item, out));
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (key, value) in entries {
                word(out, &key.text);
                spell(value, out);
            }
            out.push('}');
        }
    }
}

/// `50/s`: events a second on each CPU.
fn rate(text: &str) -> Result<u32, (&'static str, Option<String>)> {
    let (number, unit) = text.split_once('/').unwrap_or((text, ""));
    let Some(number) = reader::number(number.trim()) else {
        return Err(("it is a number of events in a second", Some("write `50/s`".to_owned())));
    };
    match unit.trim() {
        "s" if (1..=LOG_MAX).contains(&number) => Ok(number),
        "s" => Err(("it goes from 1/s to 100000/s", None)),
        "m" | "min" | "minute" => {
            let help = format!("write `{}/s`", number.div_ceil(60).max(1));
            Err(("rates are counted in seconds", Some(help)))
        }
        _ => Err(("the unit is missing", Some(format!("write `{number}/s`")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        assert_eq!(rate("50/s"), Ok(50));
        let help = |text| rate(text).expect_err(text).1;
        assert_eq!(help("50"), Some("write `50/s`".into()));
        assert_eq!(help("90/m"), Some("write `2/s`".into()));
        assert_eq!(help("0/s"), None);
        assert_eq!(help("many"), Some("write `50/s`".into()));
    }
}
