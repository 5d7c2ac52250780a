//! A corpus of bad policies, in folders by topic. A comment `# PC0012 PC0034` at the end of a line says which errors
//! are expected there; all of a file's errors must be found at once, and no other.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use portcullis_policy::{Problem, Severity, Sources, compile};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bad")
}

/// Topics, and the files of each with their names (`topic/name.yaml`), sorted.
fn corpus() -> BTreeMap<String, Vec<(String, String)>> {
    let inside = |path: &PathBuf| {
        let entries = fs::read_dir(path).expect("a folder").map(|e| e.expect("an entry").path());
        let mut paths: Vec<PathBuf> = entries.collect();
        paths.sort();
        paths
    };
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    let topics = inside(&folder()).into_iter().filter(|path| path.is_dir());
    topics
        .map(|topic| {
            let read = |path: &PathBuf| {
                let text = fs::read_to_string(path).expect("a file");
                (format!("{}/{}", name(&topic), name(path)), text)
            };
            (name(&topic), inside(&topic).iter().map(read).collect())
        })
        .collect()
}

fn files() -> impl Iterator<Item = (String, String)> {
    corpus().into_values().flatten()
}

/// Line to codes, sorted.
type Found = BTreeMap<u32, Vec<String>>;

fn expected(text: &str) -> Found {
    let mut found = Found::new();
    for (i, line) in text.lines().enumerate() {
        let comment = line.rsplit_once('#').map_or("", |(_, comment)| comment);
        let codes = comment.split_whitespace().filter(|w| w.starts_with("PC"));
        for code in codes {
            found.entry(i as u32 + 1).or_default().push(code.to_owned());
        }
    }
    found.values_mut().for_each(|codes| codes.sort());
    found
}

fn found(name: &str, text: &str) -> Found {
    let mut found = Found::new();
    if let Err(diags) = compile(&Sources::new([(name, text)])) {
        for d in diags.to_json().iter().filter(|d| d.severity == Severity::Error) {
            assert_eq!(d.position.file, name);
            assert_eq!(text.lines().nth(d.position.line as usize - 1), Some(d.excerpt.as_str()));
            found.entry(d.position.line).or_default().push(d.code.to_owned());
        }
        let human = diags.render(false);
        assert!(human.contains(&format!("--> {name}:")), "{human}");
    }
    found.values_mut().for_each(|codes| codes.sort());
    found
}

#[test]
fn every_bad_file_is_refused_with_all_its_errors() {
    let mut wrong = Vec::new();
    for (name, text) in files() {
        let (expected, found) = (expected(&text), found(&name, &text));
        if expected.is_empty() || expected != found {
            let said = said(&name, &text);
            wrong.push(format!("{name}\n expected {expected:?}\n found    {found:?}\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(files().count() >= 300);
}

/// What somebody reads who has written it.
fn said(name: &str, text: &str) -> String {
    let refused = compile(&Sources::new([(name, text)]));
    refused.err().map_or_else(|| "it is taken\n".to_owned(), |d| d.render(false))
}

/// Every message as it is shown, one file a topic: read them as the one who gets them. What the
/// proof says has messages of its own in `messages.rs`.
#[test]
fn messages_read_as_they_did() {
    let mut changed = Vec::new();
    for (topic, files) in corpus() {
        let proof = |codes: &Vec<String>| codes.iter().any(|code| code.starts_with("PC06"));
        let files = files.iter().filter(|(_, text)| !expected(text).values().any(proof));
        let said: Vec<String> = files.map(|(name, text)| said(name, text)).collect();
        if said.is_empty() {
            continue;
        }
        let said = said.join("\n");
        let path = folder().join(format!("{topic}.txt"));
        if std::env::var_os("PORTCULLIS_WRITE").is_some() {
            fs::write(&path, &said).expect("the messages");
        }
        if fs::read_to_string(&path).unwrap_or_default() != said {
            changed.push(topic);
        }
    }
    assert!(
        changed.is_empty(),
        "the messages about {} have changed: run `PORTCULLIS_WRITE=1 cargo test -p \
         portcullis-policy --test bad`, read the difference, and commit it",
        changed.join(", ")
    );
}

/// What only lists of prefixes show (see `denied.rs`).
const OF_LISTS: [&str; 2] = ["PC1403", "PC1404"];

/// Codes that no bad file can show: limits (see `limits.rs`) and warnings.
#[test]
fn the_corpus_covers_every_error() {
    let all: String = files().map(|(_, text)| text).collect();
    let warns = |code: &&str| code.starts_with("PC1") && &code[4..5] == "9";
    let elsewhere = |code: &&str| {
        let begins = ["PC09", "PC05"].iter().any(|start| code.starts_with(start));
        begins || warns(code) || OF_LISTS.contains(code)
    };
    for code in Problem::CODES.iter().filter(|code| !elsewhere(code)) {
        assert!(all.contains(code), "no bad file shows {code}");
    }
}

#[test]
fn near_misses_get_a_suggestion() {
    let text = "networks:\n  lan: { vlan: 10, subnets: [10.0.0.0/24] }\nguests:\n  \
                desk: { network: lna }\nrules:\n  - { name: r, allow: { from: dsek, to: lan, for: htps } }\n";
    let diags = compile(&Sources::new([("a.yaml", text)])).err().expect("errors");
    let edits = diags.items().iter().flat_map(|d| &d.edits);
    let edits: Vec<_> = edits.map(|e| (e.title.as_str(), e.text.as_str())).collect();
    assert_eq!(edits, [("did you mean `lan`?", "lan"), ("did you mean `desk`?", "desk")]);
    let help: Vec<_> = diags.items().iter().flat_map(|d| d.help.clone()).collect();
    assert_eq!(help, ["did you mean `https`?"]);
}

#[test]
fn several_files_are_one_policy() {
    let a = "networks:\n  lan: { vlan: 10, subnets: [10.0.0.0/24] }\n";
    let b = "guests:\n  pc: { network: lan }\nrules:\n  - { name: r, allow: { from: pc, to: lan, for: ssh } }\n";
    assert!(compile(&Sources::new([("b.yaml", b), ("a.yaml", a)])).is_ok());
    let both = Sources::new([("a.yaml", a), ("c.yaml", a), ("d.yaml", "rules: 5\n")]);
    let diags = compile(&both).err().expect("errors");
    let places: Vec<_> =
        diags.items().iter().map(|d| (d.code(), diags.sources().position(d.span).file)).collect();
    assert_eq!(
        places,
        [
            ("PC0102", "c.yaml".to_owned()),
            ("PC0202", "c.yaml".to_owned()),
            ("PC0205", "c.yaml".to_owned()),
            ("PC0005", "d.yaml".to_owned()),
        ]
    );
}
