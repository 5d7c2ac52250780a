//! Compiling what changed gives what compiling everything gives, bit for bit.

use std::sync::Arc;

use portcullis_image::Image;
use portcullis_policy::{
    Compiled, Compiler, Diagnostics, Moment, Sources, compile_at,
    generate::{self, Random, Size},
};
use proptest::prelude::*;

/// Compares two images, part by part.
fn assert_same_image(got: &Image, wanted: &Image, about: &dyn Fn() -> String) {
    let tables = |tables: &[portcullis_pipeline::layout::ServiceTable]| -> Vec<Vec<u16>> {
        tables.iter().map(|t| t.class.to_vec()).collect()
    };
    let numbers = |i: &Image| [i.world, i.host, i.classes, i.services, i.sources];
    macro_rules! same {
        ($($what:literal: $part:expr;)*) => {$(
            let part = $part;
            assert!(part(got) == part(wanted), "{}: {}", $what, about());
        )*};
    }
    same! {
        "networks": |i: &Image| i.networks.clone();
        "nics": |i: &Image| i.nics.clone();
        "rules": |i: &Image| i.rules.clone();
        "host addresses": |i: &Image| i.host_addresses.clone();
        "addresses": |i: &Image| i.addresses.clone();
        "prefixes": |i: &Image| i.prefixes.clone();
        "numbers": numbers;
        "service tables": |i: &Image| tables(&i.service_tables);
        "source tables": |i: &Image| tables(&i.source_tables);
        "rows": |i: &Image| i.rows.clone();
        "cells": |i: &Image| i.cells.clone();
        "shadows": |i: &Image| i.shadows.clone();
        "denied": |i: &Image| i.denied.clone();
    }
}

/// Holds an answer against that of a full compile.
fn assert_same(
    got: &Result<Arc<Compiled>, Diagnostics>,
    sources: &Sources,
    moment: &Moment,
    step: &str,
) {
    let text = || sources.files().iter().map(|f| f.text()).collect::<Vec<_>>().join("=====\n");
    match (got, compile_at(sources, moment)) {
        (Err(got), Err(wanted)) => {
            assert_eq!(got.items(), wanted.items(), "{step}\n{}", text());
            assert_eq!(got.to_string(), wanted.to_string(), "{step}");
        }
        (Ok(got), Ok(wanted)) => {
            let about = || format!("{step}\n{}", text());
            assert_same_image(&got.image, &wanted.image, &about);
            assert_eq!(got.warnings.items(), wanted.warnings.items(), "{step}\n{}", text());
            assert_eq!(got.warnings.to_string(), wanted.warnings.to_string(), "{step}");
            let (got, wanted) = (format!("{:?}", got.model), format!("{:?}", wanted.model));
            assert!(got == wanted, "{step}: models\n{}", text());
        }
        (Ok(_), Err(wanted)) => panic!("{step}: taken, and it is wrong:\n{wanted}"),
        (Err(got), Ok(_)) => panic!("{step}: refused, and it is right:\n{got}"),
    }
}

/// Changes a text as people and accidents do.
struct Editor {
    r: Random,
    lines: Vec<String>,
    fresh: usize,
}

impl Editor {
    fn new(text: &str, seed: u64) -> Self {
        let lines = text.lines().map(str::to_owned).collect();
        Self { r: Random::new(seed), lines, fresh: 0 }
    }

    fn text(&self) -> String {
        self.lines.join("\n") + "\n"
    }

    /// A line of a section, if it has any.
    fn line_of(&mut self, section: &str) -> Option<usize> {
        let start = self.lines.iter().position(|l| l.starts_with(section))? + 1;
        let inside = |l: &&String| l.starts_with([' ', '#']) || l.is_empty();
        let count = self.lines[start..].iter().take_while(inside).count();
        (count > 0).then(|| start + self.r.below(count))
    }

    /// A rule or guest that is like another one under another name.
    fn copy(&mut self, section: &str) {
        let Some(at) = self.line_of(section) else { return };
        self.fresh += 1;
        let line = self.lines[at].clone();
        let named = ["name: ", "  guest"].into_iter().find_map(|mark| {
            let from = line.find(mark)? + mark.len();
            let to = from + line[from..].find([',', ':'])?;
            Some(format!("{}new{}{}", &line[..from], self.fresh, &line[to..]))
        });
        self.lines.insert(at, named.unwrap_or(line));
    }

    /// Puts a word of one line in the place of a word of another.
    fn mix(&mut self, section: &str) {
        let (Some(a), Some(b)) = (self.line_of(section), self.line_of(section)) else { return };
        let words = |line: &str| -> Vec<String> {
            let word = |w: &&str| w.bytes().any(|b| b.is_ascii_alphanumeric());
            let split = [' ', ',', '[', ']', '{', '}'];
            line.split(split).filter(word).map(str::to_owned).collect()
        };
        let (from, to) = (words(&self.lines[a]), words(&self.lines[b]));
        if from.is_empty() || to.is_empty() {
            return;
        }
        let (old, new) = (self.r.pick(&to).clone(), self.r.pick(&from).clone());
        self.lines[b] = self.lines[b].replacen(&old, &new, 1);
    }

    /// Something that is no YAML, or not ours, or nothing at all.
    fn scribble(&mut self) {
        let at = self.r.below(self.lines.len());
        let scraps =
            ["# a remark", "", "  - ", "- x", "...", "  - { name: x", "rules:", "  \"", "%"];
        let scrap = (*self.r.pick(&scraps)).to_owned();
        match self.r.below(3) {
            0 => self.lines.insert(at, scrap),
            1 => self.lines[at].push_str(&scrap),
            _ => {
                let line = &mut self.lines[at];
                let cut = line.char_indices().map(|(i, _)| i).nth(self.r.below(20));
                line.truncate(cut.unwrap_or(line.len()));
            }
        }
    }

    /// A rule over several lines, with a comment in it.
    fn unfold(&mut self) {
        let Some(at) = self.line_of("rules:") else { return };
        let Some(body) = self.lines[at].strip_prefix("  - { name: ") else { return };
        let Some((name, rest)) = body.split_once(", ") else { return };
        let (name, rest) = (name.to_owned(), rest.to_owned());
        let Some((action, rest)) =
            rest.split_once(": {").map(|(a, b)| (a.to_owned(), b.to_owned()))
        else {
            return;
        };
        if action.contains(',') {
            return;
        }
        let Some(selection) = rest.strip_suffix(" } }") else { return };
        self.lines[at] = format!("  - name: {name}");
        self.lines.insert(at + 1, "    # unfolded".to_owned());
        self.lines.insert(at + 2, format!("    {action}: {{{selection} }}"));
    }

    fn edit(&mut self) -> String {
        let sections = ["rules:", "rules:", "rules:", "never:", "always:", "guests:", "sets:"];
        let section = *self.r.pick(&sections);
        let kind = self.r.below(12);
        match kind {
            0..=3 => self.mix(section),
            4 | 5 => self.copy(section),
            6 | 7 => {
                if let Some(at) = self.line_of(section) {
                    self.lines.remove(at);
                }
            }
            8 => self.unfold(),
            9 => {
                let at = self.line_of(section).unwrap_or(0);
                self.lines.insert(at, "# a remark".to_owned());
            }
            10 => {
                // Without its name a rule is called after its line.
                if let Some(at) = self.line_of(section)
                    && let Some(start) = self.lines[at].find("name: ")
                    && let Some(length) = self.lines[at][start..].find(", ")
                {
                    self.lines[at].replace_range(start..start + length + 2, "");
                }
            }
            _ => self.scribble(),
        }
        format!("edit {kind} of {section}")
    }
}

/// Rules that make the invariants hold, unless others of the platform stand against them.
const GUARDS: &str = "rules:
  - { name: g0, tier: platform, deny: { from: net1, to: net2, for: sctp/7 } }
  - { tier: platform, deny: { from: world, to: host, for: udp/9999 } }
  - { name: g2, tier: platform, allow: { from: net1, to: net1, for: proto/200 } }
";
const INVARIANTS: &str = "never:
  - { name: i0, from: net1, to: net2, for: sctp/7 }
  - { from: world, to: host, for: udp/9999 }
always:
  - { name: i2, from: net1, to: net1, for: proto/200 }
  - { from: net1, to: net1, for: proto/200 }
";

/// A random policy with invariants that mostly hold.
fn policy(seed: u64, rules: usize) -> String {
    let text = generate::policy(seed, Size { networks: 4, guests: 8, rules });
    text.replacen("rules:\n", GUARDS, 1) + INVARIANTS
}

/// Edits a policy many times; what is broken is mended again, mostly. How often was the last
/// result reused?
fn edit_and_compare(seed: u64, rules: usize, steps: usize, keeps: bool) -> usize {
    let mut editor = Editor::new(&policy(seed, rules), seed ^ 7);
    let mut compiler = Compiler::new();
    let mut moment = Moment::at(1_900_000_000);
    let (mut good, mut reused, mut kept) = (editor.lines.clone(), 0, None);
    for step in 0..steps {
        let what = if step == 0 { String::new() } else { editor.edit() };
        if editor.r.once_in(4) {
            moment.now_unix_s += editor.r.next() % 10_000_000;
        }
        let sources = Sources::new([("a.yaml", editor.text())]);
        let got = compiler.compile(&sources, &moment);
        reused += usize::from(compiler.has_reused());
        assert_same(&got, &sources, &moment, &format!("step {step}, {what}"));
        if got.is_ok() {
            good.clone_from(&editor.lines);
        } else if !editor.r.once_in(4) {
            editor.lines.clone_from(&good);
        }
        kept = if keeps { got.ok() } else { None };
    }
    drop(kept);
    reused
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn a_change_is_compiled_as_the_whole_is(seed: u64, rules in 1usize..25, keeps: bool) {
        edit_and_compare(seed, rules, 25, keeps);
    }
}

#[test]
fn changes_of_rules_reuse_what_is_there() {
    let reused: usize = (0..10).map(|seed| edit_and_compare(seed, 20, 25, false)).sum();
    // Half of the changes break the policy, and a third of them is not of rules or invariants.
    assert!(reused > 50, "{reused} of 250 changes");
}

/// A seed that showed a difference once.
#[test]
fn what_was_found_stays_found() {
    edit_and_compare(6_204_166_564_138_127_019, 4, 25, false);
}

/// A million prefixes are not merged again for one rule.
#[test]
fn denied_sets_are_kept() {
    let text = |port: u16| {
        format!(
            "networks: {{ n: {{ vlan: 1, subnets: [10.0.0.0/24], gateway: true }} }}\n\
             guests: {{ a: {{ network: n }} }}\n\
             denied: {{ bad: {{ addresses: [192.0.2.0/24, \"2001:db8::/32\", 10.0.0.0/8] }} }}\n\
             rules:\n  - {{ name: r, allow: {{ from: world, to: a, for: tcp/{port} }} }}\n"
        )
    };
    let (mut compiler, moment) = (Compiler::new(), Moment::at(1));
    let sources = |port| Sources::new([("p.yaml", text(port))]);
    let before = compiler.compile(&sources(80), &moment).unwrap().image.denied.clone();
    assert!(!before.is_empty());
    let got = compiler.compile(&sources(443), &moment);
    assert!(compiler.has_reused());
    assert!(Arc::ptr_eq(&before, &got.as_ref().unwrap().image.denied));
    assert_same(&got, &sources(443), &moment, "another port");
}
