//! Whatever a file holds: an answer, in time, and never a panic.

use std::time::{Duration, Instant};

use crate::common::{Format, examples, files, import};
use portcullis_import::{ImportError, Options, SourceText};
use portcullis_policy::generate::Random;

/// Broken files of each kind.
const CASES: u64 = 1_500;
/// Longest that one may take, on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(20);

const SNIPPETS: &[&str] = &[
    "!",
    "-",
    "\"",
    "'",
    "\\",
    "\n",
    "\r\n",
    "\0",
    "ä",
    "\u{2028}",
    "#",
    "|",
    "[",
    "]",
    "<",
    ">",
    "&",
    "$",
    "0",
    "999999999999",
    "-j",
    "-m x --y",
    "10.0.0.0/8",
    "::/0",
    "[RULES]",
    "COMMIT",
    "*filter",
    "<rule action='drop' direction='in'/>",
    "$IP[@7]",
    "GROUP g1",
    "+",
    "dc/",
    "=",
    ",",
    "net0:",
    ":::",
    "{ }",
    "- name:",
    "\u{feff}",
];

/// A few changes somewhere: cut, doubled, put in, turned round.
fn mutate(r: &mut Random, text: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..1 + r.below(4) {
        let at = r.below(chars.len() + 1);
        let end = (at + r.below(30)).min(chars.len());
        match r.below(5) {
            0 => drop(chars.drain(at..end)),
            1 => {
                let part: Vec<char> = chars[at..end].to_vec();
                chars.splice(at..at, part);
            }
            2 => chars[at..end].reverse(),
            3 => chars.truncate(at.max(1)),
            _ => {
                let snippet: Vec<char> = r.pick(SNIPPETS).chars().collect();
                chars.splice(at..at, snippet);
            }
        }
    }
    chars.into_iter().collect()
}

fn ask(format: Format, files: &[SourceText], options: &Options) -> bool {
    let start = Instant::now();
    let answer = import(format, files, options);
    let took = start.elapsed();
    assert!(took < TIME_MAX, "{took:?}: {files:?}");
    match answer {
        Ok(_) => true,
        Err(ImportError::Refused { findings }) => {
            assert!(!findings.is_empty());
            findings.iter().for_each(|f| assert!(!f.render().is_empty()));
            false
        }
        // A translation that is wrong is caught, and that is a bug all the same.
        Err(error) => panic!("{error}\n{files:?}"),
    }
}

#[test]
fn broken_examples() {
    let mut taken = 0;
    for seed in 0..CASES {
        let mut r = Random::new(seed);
        let all = examples();
        let example = r.pick(&all);
        let mut files = files(example);
        let at = r.below(files.len());
        files[at].text = mutate(&mut r, &files[at].text);
        taken += usize::from(ask(example.format, &files, &example.options));
    }
    // Some changes matter, some do not.
    assert!((CASES as usize / 20..CASES as usize * 19 / 20).contains(&taken), "{taken}");
}

#[test]
fn broken_lists() {
    for seed in 0..CASES {
        let mut r = Random::new(seed ^ 0x5eed);
        let format = *r.pick(&[Format::Iptables, Format::Proxmox, Format::Nwfilter]);
        let (mut files, options) = crate::random::source(format, seed);
        let at = r.below(files.len());
        files[at].text = mutate(&mut r, &files[at].text);
        ask(format, &files, &options);
    }
}

#[test]
fn noise() {
    let names =
        ["rules", "firewall/cluster.fw", "firewall/101.fw", "nodes/a/lxc/101.conf", "x.xml"];
    for seed in 0..CASES {
        let mut r = Random::new(seed ^ 0xbad);
        let mut text = String::new();
        for _ in 0..r.below(60) {
            text += *r.pick(SNIPPETS);
            text += *r.pick(&["", " ", "\n"]);
        }
        let name = (*r.pick(&names)).to_owned();
        let format = *r.pick(&[Format::Iptables, Format::Proxmox, Format::Nwfilter]);
        let word: String = r.pick(SNIPPETS).to_string();
        let options = Options { networks: vec![word], ..Options::default() };
        ask(format, &[SourceText { name, text }], &options);
    }
}
