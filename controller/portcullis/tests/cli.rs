//! The command as scripts see it: exit statuses, JSON, help. No daemon, no privileges.

mod bench;

use std::{path::Path, process::Command};

use portcullis::cli;
use serde_json::Value;

use crate::bench::{Bench, GOOD, err, json, out, status};

#[test]
fn check_says_ok_with_0() {
    let bench = Bench::new();
    let file = bench.file("good.yaml", GOOD);
    let human = bench.run(&["check", &file]);
    assert_eq!(status(&human), 0);
    assert!(out(&human).starts_with("good.yaml: ok, 1 networks, 2 guests"), "{}", out(&human));
    let value = json(&bench.run(&["check", &file, "--format", "json"]));
    assert_eq!((&value["ok"], &value["size"]["guests"]), (&Value::from(true), &Value::from(2)));
    assert_eq!(value["files"][0], "good.yaml");
    assert!(value["warnings"].is_array());
}

#[test]
fn check_shows_every_mistake_with_2() {
    let bench = Bench::new();
    let text = GOOD.replace("network: lan, ip: auto", "netwrok: lan, ip: 1.2.3.4") + "rools: []\n";
    let file = bench.file("bad.yaml", &text);
    let human = bench.run(&["check", &file]);
    assert_eq!((status(&human), out(&human).as_str()), (2, ""));
    let text = err(&human);
    assert!(text.contains("bad.yaml:5:") && text.contains("bad.yaml:8:1"), "{text}");
    assert!(text.contains("did you mean `network`?") && !text.contains('\x1b'), "{text}");
    let output = bench.run(&["check", &file, "--format=json"]);
    assert_eq!(status(&output), 2);
    let value = json(&output);
    assert_eq!((&value["ok"], &value["violated"]), (&Value::from(false), &Value::from(false)));
    let diagnostics = value["diagnostics"].as_array().unwrap();
    assert!(diagnostics.len() >= 2);
    for d in diagnostics {
        assert!(d["code"].is_string() && d["line"].is_u64() && d["column"].is_u64(), "{d}");
        assert_eq!(d["file"], "bad.yaml");
    }
}

#[test]
fn a_violated_invariant_is_1() {
    let bench = Bench::new();
    let file = bench.file("p.yaml", &(GOOD.to_owned() + "never:\n  - { from: host, to: pc1 }\n"));
    assert_eq!(status(&bench.run(&["check", &file])), 1);
    let output = bench.run(&["check", &file, "--format", "json"]);
    assert_eq!((status(&output), &json(&output)["violated"]), (1, &Value::from(true)));
    // It can still be explained: that is how to find out.
    let explain = ["explain", &file, "--from", "host", "--to", "pc1", "--service", "http"];
    assert_eq!(status(&bench.run(&explain)), 0);
}

#[test]
fn a_folder_is_one_policy() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("policy")).unwrap();
    let (networks, rest) = GOOD.split_at(GOOD.find("guests:").unwrap());
    bench.file("policy/1.yaml", networks);
    bench.file("policy/2.yaml", rest);
    let value = json(&bench.run(&["check", "policy", "--format", "json"]));
    assert_eq!(value["files"].as_array().unwrap().len(), 2);
    std::fs::create_dir(bench.path("empty")).unwrap();
    let output = bench.run(&["check", "empty"]);
    assert_eq!(status(&output), 2);
    assert!(err(&output).contains("*.yaml"), "{}", err(&output));
}

#[test]
fn explain_answers_with_0_and_1() {
    let bench = Bench::new();
    let file = bench.file("good.yaml", GOOD);
    let ask = |from, to, more: &[&str]| {
        let args = ["explain", &file, "--from", from, "--to", to, "--service", "http"];
        bench.run(&[&args, more].concat())
    };
    let allowed = ask("host", "pc1", &[]);
    assert_eq!(status(&allowed), 0);
    assert!(
        out(&allowed).contains("web") && out(&allowed).contains("good.yaml:7:"),
        "{}",
        out(&allowed)
    );
    assert_eq!(status(&ask("pc1", "host", &[])), 1);
    let value = json(&ask("pc1", "host", &["--format", "json"]));
    assert_eq!(value["verdict"], "denied");
    assert!(!value["answers"][0]["advice"].as_array().unwrap().is_empty());
    let unknown = ask("pc9", "host", &[]);
    assert_eq!(status(&unknown), 2);
    assert!(err(&unknown).contains("did you mean"), "{}", err(&unknown));
}

#[test]
fn without_a_daemon_the_next_step_is_named() {
    let bench = Bench::new();
    let file = bench.file("good.yaml", GOOD);
    let explain = ["explain", "--from", "pc1", "--to", "host", "--service", "ssh"];
    for args in [
        &["status"][..],
        &["apply", &file],
        &["detach", "x"],
        &explain,
        &["attach", "tap", "x", "--guest", "pc1"],
    ] {
        let output = bench.run(args);
        assert_eq!(status(&output), 2, "{args:?}");
        assert!(err(&output).contains("portcullis up"), "{args:?}: {}", err(&output));
        let value = json(&bench.run(&[args, &["--format", "json"]].concat()));
        assert_eq!(value["error"]["code"], "no-daemon", "{args:?}");
        assert!(value["error"]["message"].is_string() && value["error"]["hint"].is_string());
    }
    assert!(!bench.path("run").exists() && !bench.path("state").exists());
}

#[test]
fn what_cannot_be_read_is_2() {
    let bench = Bench::new();
    let output = bench.run(&["check", "nowhere.yaml"]);
    assert_eq!(status(&output), 2);
    assert!(err(&output).contains("nowhere.yaml"), "{}", err(&output));
    assert_eq!(
        json(&bench.run(&["check", "nowhere.yaml", "--format", "json"]))["error"]["code"],
        "read"
    );
    assert_eq!(status(&bench.run(&["check"])), 2);
    assert_eq!(status(&bench.run(&["fly"])), 2);
    assert_eq!(status(&bench.run(&["up", "--flows", "7"])), 2);
    assert_eq!(status(&bench.run(&["attach", "uplink", "eth0"])), 2);
}

#[test]
fn colours_come_when_they_are_wanted() {
    let bench = Bench::new();
    let file = bench.file("good.yaml", GOOD);
    assert!(!out(&bench.run(&["check", &file])).contains('\x1b'));
    assert!(out(&bench.run(&["check", &file, "--color", "always"])).contains("\x1b[32mok\x1b[0m"));
    let bad = bench.file("bad.yaml", "x: 1\n");
    assert!(err(&bench.run(&["--color", "always", "check", &bad])).contains('\x1b'));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let bench = Bench::new();
    let script = format!("{} man | head -c 1", env!("CARGO_BIN_EXE_portcullis"));
    let output = Command::new("sh").args(["-c", &script]).current_dir(bench.folder.path()).output();
    assert_eq!(err(&output.unwrap()), "");
}

#[test]
fn completions_know_every_command() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = bench.run(&["completions", shell]);
        let script = out(&output);
        assert_eq!(status(&output), 0);
        for command in ["check", "explain", "attach", "uplink", "--untagged", "--state-dir"] {
            let bare = command.trim_start_matches('-');
            assert!(script.contains(bare), "{shell}: {command}");
        }
    }
}

#[test]
fn every_command_has_its_page() {
    let bench = Bench::new();
    let page = out(&bench.run(&["man"]));
    assert!(
        page.contains(".TH portcullis 1") && page.contains("EXAMPLE") | page.contains("Example")
    );
    assert_eq!(status(&bench.run(&["man", "--out", "pages"])), 0);
    let mut pages: Vec<String> = std::fs::read_dir(bench.path("pages"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    for name in
        ["portcullis.1", "portcullis-apply.1", "portcullis-attach-veth.1", "portcullis-status.1"]
    {
        assert!(pages.contains(&name.to_owned()), "{name} in {pages:?}");
    }
    assert!(!pages.contains(&"portcullis-daemon.1".to_owned()), "{pages:?}");
}

/// All help texts in one file: a change of the command line is seen in review. Written anew
/// with `PORTCULLIS_BLESS=1`.
#[test]
fn the_help_is_as_reviewed() {
    let mut text = String::new();
    collect(&mut cli::definition().term_width(100), "", &mut text);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help.txt");
    if std::env::var_os("PORTCULLIS_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let reviewed = std::fs::read_to_string(&file).unwrap();
    let differs = text.lines().zip(reviewed.lines()).find(|(now, then)| now != then);
    assert_eq!(differs, None);
    assert_eq!(text.lines().count(), reviewed.lines().count());
}

fn collect(command: &mut clap::Command, before: &str, text: &mut String) {
    let name = format!("{before} {}", command.get_name());
    let help = command.clone().bin_name(name.trim_start()).render_long_help().to_string();
    let lines = help.lines().map(|line| line.trim_end().to_owned() + "\n");
    *text += &format!("#{name}\n\n{}\n", lines.collect::<String>().trim_end());
    *text += "\n";
    for sub in command.get_subcommands_mut().filter(|sub| !sub.is_hide_set()) {
        collect(&mut sub.clone().term_width(100), &name, text);
    }
}
