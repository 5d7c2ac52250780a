//! Nothing that is fed to the crate makes it panic or hang, and what is refused says where.
//!
//! The seeds are the examples and the corpus of broken files. `PORTCULLIS_TEST_LONG=SECONDS`
//! makes the random tests run that long each.

mod examples;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use portcullis_policy::{
    Moment, Sources, compile, compile_at, explain,
    generate::{self, Random, Size},
};

/// Each random test ends after this; a busy machine then tries less.
const SHORT: Duration = Duration::from_secs(4);

fn budget() -> Duration {
    let long = std::env::var("PORTCULLIS_TEST_LONG").ok();
    long.map_or(SHORT, |text| Duration::from_secs(text.parse().unwrap_or(60)))
}

fn broken(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.extension() {
            _ if path.is_dir() => found.extend(broken(&path)),
            Some(e) if e == "yaml" => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

/// The examples, some random policies, and the broken files.
fn seeds() -> Vec<String> {
    let whole = examples::names().into_iter().flat_map(|name| {
        let sources = examples::example(&name);
        sources.files().iter().map(|f| f.text().to_owned()).collect::<Vec<_>>()
    });
    let size = Size { networks: 3, guests: 6, rules: 8 };
    let random = (0..20).map(|seed| generate::policy(seed, size));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let broken = broken(&folder).into_iter().filter_map(|p| fs::read_to_string(p).ok());
    whole.chain(random).chain(broken).collect()
}

/// Fragments that mean something to YAML or to a policy.
const SPICE: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ": ",
    "- ",
    ", ",
    "\n",
    "  ",
    "#",
    "&a",
    "*a",
    "<<: ",
    "!x ",
    "|",
    ">",
    "\"",
    "'",
    "?",
    "---",
    "...",
    "%YAML 1.2\n",
    "\t",
    "\u{feff}",
    "\0",
    "\r\n",
    "ü",
    "\u{2028}",
    "0",
    "-1",
    "99999999999",
    "null",
    "~",
    "any",
    "host",
    "auto",
    "/",
    "0.0.0.0/0",
    "::",
    "fe80::1",
    "::ffff:0:0/96",
    "kind: dmz",
    "never:",
    "include: [x]",
    "all of",
    "any of: ",
    "not: ",
    " from ",
    "from 0-65535",
    "tcp/0-65535",
    "icmp/255/255",
    "proto/0",
    "until: 8h",
    "2026-12-01T18:00Z",
    "9999-12-31",
    "mode: observe",
    "log: { rate: 1/s }",
    "tier: platform",
    "pass",
    "forwards: false",
    "labels: {",
    "except: ",
    "members: ",
    "nics: [",
    "domain: ",
];

fn mutate(text: &str, r: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..1 + r.below(6) {
        let at = r.below(chars.len() + 1);
        match r.below(5) {
            0 => chars.truncate(at),
            1 => drop(chars.splice(at..(at + r.below(20)).min(chars.len()), [])),
            2 => drop(chars.splice(at..at, r.pick(SPICE).chars())),
            3 => {
                let from = r.below(chars.len() + 1);
                let to = (from + r.below(80)).min(chars.len());
                let copy: Vec<char> = chars[from..to].to_vec();
                drop(chars.splice(at..at, copy));
            }
            _ => {
                if let Some(c) = chars.get_mut(at) {
                    *c = char::from(r.below(128) as u8);
                }
            }
        }
    }
    chars.into_iter().collect()
}

/// Where the words of a text begin and end: names, numbers, addresses, keys.
fn words(text: &str) -> Vec<(usize, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || "._-/:".contains(c);
    let mut words = Vec::new();
    let mut start = None;
    for (i, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (is_word(c), start) {
            (true, None) => start = Some(i),
            (false, Some(s)) => {
                words.push((s, i));
                start = None;
            }
            _ => {}
        }
    }
    words
}

/// Keeps the shape and changes what stands in it: another word of this text or of another one in
/// the place of a word, a line twice, a line less, two lines the other way round.
fn shuffle(text: &str, other: &str, r: &mut Random) -> String {
    let mut text = text.to_owned();
    for _ in 0..1 + r.below(4) {
        if r.once_in(3) {
            let mut lines: Vec<&str> = text.lines().collect();
            if lines.is_empty() {
                return text;
            }
            let (a, b) = (r.below(lines.len()), r.below(lines.len()));
            match r.below(3) {
                0 => lines.insert(a, lines[b]),
                1 => drop(lines.remove(a)),
                _ => lines.swap(a, b),
            }
            text = lines.join("\n") + "\n";
            continue;
        }
        let donor = if r.once_in(2) { text.clone() } else { other.to_owned() };
        let (here, there) = (words(&text), words(&donor));
        if here.is_empty() || there.is_empty() {
            return text;
        }
        let ((start, end), (first, last)) = (*r.pick(&here), *r.pick(&there));
        text.replace_range(start..end, &donor[first..last]);
    }
    text
}

fn feed(text: &str) {
    let started = Instant::now();
    feed_at(&Sources::new([("fuzz.yaml", text)]), &Moment::default());
    assert!(started.elapsed() < Duration::from_secs(20), "too slow:\n{text}");
}

fn feed_at(sources: &Sources, moment: &Moment) {
    match compile_at(sources, moment) {
        Ok(compiled) => {
            assert!(!compiled.warnings.has_errors());
            drop(compiled.warnings.render(true));
            drop(explain(&compiled, "any", "any", "any").map(|e| e.render()));
            drop(compiled.model.anchors());
        }
        Err(diags) => {
            assert!(diags.has_errors());
            drop(diags.render(true));
            for d in diags.items() {
                // Every span lies in its file, between characters.
                let spans = d.labels.iter().map(|l| l.span).chain(d.edits.iter().map(|e| e.span));
                for span in spans.chain([d.span]) {
                    let text = diags.sources().file(span).text();
                    assert!(text.get(span.start as usize..span.end as usize).is_some(), "{d:?}");
                }
            }
            assert_eq!(diags.to_json().len(), diags.items().len());
        }
    }
}

/// Feeds random texts until the time is over; on a panic the text is printed with its number.
fn fuzz(seed: u64, next: impl Fn(&[String], &mut Random) -> String) {
    let seeds = seeds();
    let mut r = Random::new(
        std::env::var("PORTCULLIS_TEST_SEED").map_or(seed, |s| s.parse().unwrap_or(seed)),
    );
    let (started, mut count) = (Instant::now(), 0);
    while started.elapsed() < budget() {
        let text = next(&seeds, &mut r);
        let fed = std::panic::catch_unwind(|| feed(&text));
        assert!(fed.is_ok(), "number {count} of seed {seed}:\n{text}");
        count += 1;
    }
    println!("{count} texts");
}

#[test]
fn mutated_policies_never_panic() {
    fuzz(42, |seeds, r| mutate(r.pick::<String>(seeds), r));
}

#[test]
fn shuffled_policies_never_panic() {
    fuzz(43, |seeds, r| {
        let other = r.pick::<String>(seeds).clone();
        shuffle(r.pick::<String>(seeds), &other, r)
    });
}

/// A policy that is cut into files is still one; parts of different policies are not, and say so.
#[test]
fn several_files_never_panic() {
    let seeds = seeds();
    let mut r = Random::new(44);
    let started = Instant::now();
    while started.elapsed() < budget() / 2 {
        let files: Vec<(String, String)> = (0..1 + r.below(3))
            .map(|i| {
                (format!("{i}.yaml"), {
                    let seed = r.pick::<String>(&seeds);
                    mutate(seed, &mut r)
                })
            })
            .collect();
        feed_at(&Sources::new(files), &Moment::at(r.next() >> 32));
    }
}

#[test]
fn every_prefix_of_an_example_is_survived() {
    let sources = examples::example("lab");
    let text = sources.files()[0].text();
    for (end, _) in text.char_indices().step_by(3) {
        feed(&text[..end]);
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("{ not: ", "}")] {
        feed(&format!("networks: {}{}", open.repeat(100_000), close.repeat(100_000)));
        feed(&open.repeat(100_000));
    }
}

/// As deep as YAML goes, all the way through the selectors.
#[test]
fn nested_selectors_are_followed_as_far_as_they_go() {
    let policy = |depth: usize| {
        let (open, close) = ("{ not: ".repeat(depth), " }".repeat(depth));
        format!(
            "networks:\n  lan: {{ vlan: 10, subnets: [10.0.0.0/24] }}\nguests:\n  a: {{ network: \
             lan }}\nrules:\n  - {{ name: r, allow: {{ from: {open}a{close}, to: any, for: ssh }} }}\n"
        )
    };
    for depth in [1, 2, 10, 50, 100, 200, 1000] {
        feed(&policy(depth));
    }
    assert!(compile(&Sources::new([("deep.yaml", policy(10))])).is_ok());
}

#[test]
fn odd_texts() {
    for text in ["", "\n", "---", "...", "a", "[]", "{}", "\u{feff}networks: {}", "\0", "{---"] {
        feed(text);
    }
    assert!(compile(&Sources::default()).is_ok_and(|c| c.image.networks.is_empty()));
}
