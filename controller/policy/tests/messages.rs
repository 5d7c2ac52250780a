//! What people read, word for word: a policy in `tests/messages/NAME.yaml`, and beside it in
//! `NAME.txt` all that is said about it. `PORTCULLIS_BLESS=1` writes the texts anew; read them
//! as a patient colleague would before committing them.

use std::{fs, path::PathBuf};

use portcullis_policy::{Moment, Problem, Sources, compile_at};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/messages")
}

/// Policies and their names, sorted.
fn policies() -> Vec<(String, String)> {
    let entries = fs::read_dir(folder()).expect("tests/messages");
    let paths = entries.map(|e| e.expect("an entry").path());
    let yaml = paths.filter(|p| p.extension().is_some_and(|e| e == "yaml"));
    let read = |p: PathBuf| {
        let name = p.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(&p).expect("a policy"))
    };
    let mut all: Vec<_> = yaml.map(read).collect();
    all.sort();
    all
}

/// 2026-11-22T00:00:00Z.
const NOW_UNIX_S: u64 = 1_795_305_600;

fn said(name: &str, text: &str) -> String {
    let file = format!("{name}.yaml");
    let sources = Sources::new([(file.as_str(), text)]);
    match compile_at(&sources, &Moment::at(NOW_UNIX_S)) {
        Ok(compiled) => compiled.warnings.render(false),
        Err(diags) => diags.render(false),
    }
}

#[test]
fn messages_are_as_they_were_read() {
    let bless = std::env::var_os("PORTCULLIS_BLESS").is_some();
    let mut different = Vec::new();
    for (name, text) in policies() {
        let path = folder().join(format!("{name}.txt"));
        let said = said(&name, &text);
        if bless {
            fs::write(&path, &said).expect("written");
        } else if fs::read_to_string(&path).ok().as_deref() != Some(&said) {
            different.push(format!("{name}:\n{said}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

#[test]
fn every_proof_and_every_warning_is_among_them() {
    let all: String = policies().iter().map(|(name, text)| said(name, text)).collect();
    let ours = |code: &&&str| code.starts_with("PC06") || code.starts_with("PC09");
    for code in Problem::CODES.iter().filter(ours) {
        assert!(all.contains(&format!("[{code}]")), "no message shows {code}");
    }
}

/// A thousand times the same is said twenty times, and counted.
#[test]
fn a_flood_of_warnings_stays_readable() {
    let mut text = String::from(
        "networks:\n  lan: { vlan: 10, subnets: [10.0.0.0/16] }\nguests:\n  pc: { network: lan }\n\
         sets:\n",
    );
    for i in 0..1000 {
        text.push_str(&format!("  set{i}: [pc]\n"));
    }
    let said = said("flood", &text);
    assert!(said.contains("warning[PC0907]: and 980 more of these"), "{said}");
    assert!(said.ends_with("1000 warnings\n"), "{said}");
    assert!(said.lines().count() < 200, "{said}");
}
