//! The test programs of the workspace: compiled once, found by what cargo says, run one by one.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    guest,
    outcome::{self, Outcome},
    place,
    step::Step,
};

/// One compiled test program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestProgram {
    /// Package and target: `portcullis-policy oracle`.
    pub name: String,
    /// The program.
    pub executable: PathBuf,
    /// Where cargo would run it.
    pub directory: PathBuf,
}

/// Compiles all programs and test programs of the workspace in one go: one by one, or programs
/// before tests, they would have other sets of features, and so be compiled again.
pub fn build() -> Result<Vec<TestProgram>> {
    let mut all = place::cargo();
    all.args(["build", "--workspace", "--bins", "--tests"]);
    all.args(["--message-format", "json-render-diagnostics"]);
    let done = Step::new("build programs and tests", all).succeed()?;
    Ok(parse(&done.output))
}

/// Documentation examples: cargo has to run these itself.
pub fn doc_tests() -> Step {
    let mut command = place::cargo();
    command.args(["test", "--workspace", "--doc"]);
    Step::new("documentation examples", command)
}

/// Reads cargo's JSON messages; other lines are the compiler talking to people.
fn parse(messages: &str) -> Vec<TestProgram> {
    let mut programs: Vec<TestProgram> = messages
        .lines()
        .filter(|line| line.starts_with('{'))
        .filter_map(|line| program(&serde_json::from_str(line).ok()?))
        .collect();
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    programs
}

fn program(message: &Value) -> Option<TestProgram> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    let directory = manifest.parent()?.to_path_buf();
    let package = package_name(message["package_id"].as_str()?);
    let target = message["target"]["name"].as_str()?;
    let name = if package.replace('-', "_") == target.replace('-', "_") {
        package
    } else {
        format!("{package} {target}")
    };
    Some(TestProgram { name, executable: message["executable"].as_str()?.into(), directory })
}

/// The name in `path+file:///x/y#name@0.1.0` or `path+file:///x/name#0.1.0`.
fn package_name(id: &str) -> String {
    let (path, fragment) = id.rsplit_once('#').unwrap_or((id, ""));
    match fragment.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => path.rsplit('/').next().unwrap_or(path).to_owned(),
    }
}

impl TestProgram {
    /// Is it one of the lab's? They build hosts and guests, and wait for them.
    pub fn is_lab(&self) -> bool {
        self.name.starts_with("portcullis-lab")
    }

    /// Runs all its tests.
    pub fn run(&self, long: bool) -> Result<Outcome> {
        let mut command = std::process::Command::new(&self.executable);
        command.current_dir(&self.directory).env("CARGO_MANIFEST_DIR", &self.directory);
        command.env("RUST_BACKTRACE", "1").arg(outcome::SHOW);
        if long {
            command.env("PORTCULLIS_TEST_LONG", "1");
        }
        // Tests of the lab use the whole machine: two at a time disturb each other's clocks.
        if self.is_lab() {
            command.arg("--test-threads=1").env(guest::VARIABLE, guest::directory());
        }
        let done = Step::new(&self.name, command).finish().context("running a test program")?;
        let outcome = Outcome::of_harness(&done.output, done.status.success());
        if outcome.failed > 0 {
            done.print_tail();
        }
        let ignored = done.output.lines().filter(|line| line.contains("... ignored"));
        for line in ignored.chain(outcome::skips(&done.output)) {
            println!("      skipped: {line}");
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_found_among_the_messages() {
        let text = concat!(
            "   Compiling x\n",
            r#"{"reason":"compiler-artifact","package_id":"path+file:///w/p/image#portcullis-image@0.1.0","manifest_path":"/w/p/image/Cargo.toml","target":{"name":"portcullis_image"},"profile":{"test":true},"executable":"/t/a"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","package_id":"path+file:///w/p/image#portcullis-image@0.1.0","manifest_path":"/w/p/image/Cargo.toml","target":{"name":"layout"},"profile":{"test":true},"executable":"/t/b"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","package_id":"path+file:///w/p/image#portcullis-image@0.1.0","manifest_path":"/w/p/image/Cargo.toml","target":{"name":"portcullis_image"},"profile":{"test":false},"executable":null}"#,
            "\n",
        );
        let names: Vec<String> = parse(text).into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["portcullis-image", "portcullis-image layout"]);
    }

    #[test]
    fn package_names_come_in_two_spellings() {
        assert_eq!(package_name("path+file:///w/tests/xtask#0.1.0"), "xtask");
        assert_eq!(package_name("path+file:///w/tests/lab#portcullis-lab@0.1.0"), "portcullis-lab");
    }
}
