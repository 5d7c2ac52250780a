//! Nothing that is fed to the crate makes it panic or hang.

use portcullis_policy::{Sources, compile, explain, generate::Random};

fn seeds() -> Vec<String> {
    let root = env!("CARGO_MANIFEST_DIR");
    let folders = [format!("{root}/../../policies"), format!("{root}/tests/bad")];
    let files = folders.iter().flat_map(|f| std::fs::read_dir(f).expect("a folder"));
    let mut paths: Vec<_> = files.map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().filter_map(|p| std::fs::read_to_string(p).ok()).collect()
}

/// Fragments that mean something to YAML or to a policy.
const SPICE: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    "- ",
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
    "0",
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
    "kind: dmz",
    "never:",
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

fn feed(text: &str) {
    match compile(&Sources::new([("fuzz.yaml", text)])) {
        Ok(compiled) => {
            drop(compiled.warnings.render(true));
            drop(explain(&compiled, "any", "any", "any").map(|e| e.render()));
        }
        Err(diags) => {
            assert!(diags.has_errors());
            drop(diags.render(true));
            assert_eq!(diags.to_json().len(), diags.items().len());
        }
    }
}

#[test]
fn mutated_policies_never_panic() {
    let seeds = seeds();
    let mut r = Random::new(42);
    for _ in 0..4000 {
        let seed = r.pick(&seeds);
        feed(&mutate(seed, &mut r));
    }
}

#[test]
fn every_prefix_of_an_example_is_survived() {
    let root = env!("CARGO_MANIFEST_DIR");
    let text =
        std::fs::read_to_string(format!("{root}/../../policies/tiers.yaml")).expect("a file");
    for (end, _) in text.char_indices() {
        feed(&text[..end]);
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
        feed(&format!("networks: {}{}", open.repeat(100_000), close.repeat(100_000)));
        feed(&open.repeat(100_000));
    }
}

#[test]
fn odd_texts() {
    for text in ["", "\n", "---", "...", "a", "[]", "{}", "\u{feff}networks: {}", "\0", "{---"] {
        feed(text);
    }
    assert!(compile(&Sources::default()).is_ok_and(|c| c.image.networks.is_empty()));
}
