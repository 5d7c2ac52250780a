//! What the eBPF target demands of the source, where no compiler of this machine says it.

use std::{fs, path::Path};

/// Every line of every source file, with its file.
fn lines() -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    all
}

fn read(path: &Path, all: &mut Vec<(String, Vec<String>)>) {
    if path.is_dir() {
        let inside = fs::read_dir(path).expect("sources");
        return inside.for_each(|entry| read(&entry.expect("a file").path(), all));
    }
    let text = fs::read_to_string(path).expect("text");
    all.push((path.display().to_string(), text.lines().map(str::to_owned).collect()));
}

/// A function that is not inlined does not load: eBPF passes five arguments and no packet
/// pointer. Formatting for people and the trait's declarations are not code of the programs.
#[test]
fn every_function_is_inlined() {
    let mut wrong = Vec::new();
    for (file, lines) in lines() {
        for (at, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let head = ["pub const fn ", "pub fn ", "const fn ", "fn "];
            if !head.iter().any(|h| code.starts_with(h)) {
                continue;
            }
            let before = lines[..at].iter().rev().take_while(|l| l.trim_start().starts_with('#'));
            let inlined = before.clone().any(|l| l.contains("inline(always)"));
            let for_people = code.contains("fn fmt(") || code.contains("fn from(");
            let text = ["fn word(", "fn explanation("].iter().any(|n| code.contains(n));
            // Declarations of traits end without a body.
            let end = lines[at..]
                .iter()
                .find(|l| l.ends_with('{') || l.ends_with(';') || l.ends_with('}'));
            let declared = end.is_some_and(|l| l.ends_with(';'));
            let seams = [
                "fn resolve(&self",
                "fn recall_fragment(&self",
                "fn keep_fragment(&self",
                "fn judge_claim(&self",
                "fn tell(&self",
                "fn ask(&self",
                "fn police(&self",
                "fn is_denied(&self",
                "fn refuse_denied(&self",
                "fn went_far(&self",
            ];
            let seam = seams.iter().any(|n| code.contains(n));
            if !(inlined || for_people || text || declared || seam) {
                wrong.push(format!("{file}:{}: {code}", at + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "without #[inline(always)]:\n{}", wrong.join("\n"));
}

/// What panics or does not compile for eBPF: see `facts` in ARCHITECTURE.md, "One source".
#[test]
fn nothing_panics() {
    let words = [".unwrap()", ".expect(", "panic!", "todo!", "unreachable!", "as i32", "as i64"];
    for (file, lines) in lines() {
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in words {
                assert!(!code.contains(word), "{file}:{}: {word}", at + 1);
            }
        }
    }
}
