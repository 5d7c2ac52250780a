//! What `check`, `explain`, `diff` and `matrix` print, with the real binary. Whole outputs are
//! compared with reviewed texts in `snapshots/`; `PORTCULLIS_BLESS=1` writes them anew.

mod bench;

use std::{fs, path::Path, process::Output};

use serde_json::{Value, json as value};

use crate::bench::{Bench, GOOD, err, json, out, status};

/// An example of `policies/`, with some text replaced.
fn example(bench: &Bench, name: &str, into: &str, edits: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies").join(name);
    let mut text = fs::read_to_string(path).unwrap();
    for (from, to) in edits {
        assert!(text.contains(from), "{name} has no {from}");
        text = text.replacen(from, to, 1);
    }
    bench.file(into, &text)
}

/// Compares with a reviewed text: what people read, and the status.
fn reviewed(name: &str, output: &Output) {
    let text = format!("{}{}status {}\n", out(output), err(output), status(output));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("PORTCULLIS_BLESS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(text == expected, "{name} is\n{text}\nand should be\n{expected}");
}

#[test]
fn people_read_this() {
    let bench = Bench::new();
    example(&bench, "dmz.yaml", "dmz.yaml", &[]);
    let oops = (
        "  # Names and time",
        "  - { name: oops, allow: { from: web, to: files, for: smb } }\n\n  # Names and time",
    );
    example(&bench, "dmz.yaml", "broken.yaml", &[oops]);
    let edits = [
        ("from: lan, to: web, for: http }", "from: lan, to: web, for: [http, https] }"),
        ("  - { name: office-ssh, allow: { from: offices, to: web, for: ssh }, owner: ops }\n", ""),
        ("vlan: 20", "vlan: 21"),
        ("  - { name: site-is-up, from: world, to: web1, for: https }\n", ""),
    ];
    example(&bench, "dmz.yaml", "new.yaml", &edits);
    let ask = |from, to, service| {
        ["explain", "dmz.yaml", "--from", from, "--to", to, "--service", service]
    };
    reviewed("check-ok.txt", &bench.run(&["check", "dmz.yaml"]));
    reviewed("check-violation.txt", &bench.run(&["check", "broken.yaml"]));
    reviewed("explain-allowed.txt", &bench.run(&ask("world", "web1", "https")));
    reviewed("explain-denied.txt", &bench.run(&ask("pc2", "web1", "ssh")));
    reviewed("explain-forbidden.txt", &bench.run(&ask("world", "app1", "http")));
    reviewed("diff.txt", &bench.run(&["diff", "dmz.yaml", "new.yaml"]));
    reviewed("matrix.txt", &bench.run(&["matrix", "dmz.yaml"]));
    reviewed("matrix-network.txt", &bench.run(&["matrix", "dmz.yaml", "--by", "network"]));
}

#[test]
fn strict_makes_errors_of_warnings() {
    let bench = Bench::new();
    let text = GOOD.to_owned() + "  - { name: again, allow: { from: host, to: pc1, for: http } }\n";
    let file = bench.file("p.yaml", &text);
    let lax = bench.run(&["check", &file]);
    assert_eq!(status(&lax), 0, "{}", err(&lax));
    assert!(err(&lax).contains("warning["), "{}", err(&lax));
    let strict = bench.run(&["check", &file, "--strict"]);
    assert_eq!((status(&strict), out(&strict).as_str()), (2, ""));
    assert!(err(&strict).contains("--strict"), "{}", err(&strict));
    let output = bench.run(&["check", &file, "--strict", "--format", "json"]);
    assert_eq!(status(&output), 2);
    let value = json(&output);
    assert_eq!((&value["ok"], &value["strict"]), (&Value::from(false), &Value::from(true)));
    assert_eq!(status(&bench.run(&["check", &bench.file("q.yaml", GOOD), "--strict"])), 0);
}

/// A place in a text by SARIF's line and column, as a byte.
fn byte(text: &str, line: &Value, column: &Value) -> usize {
    let (line, column) = (line.as_u64().unwrap(), column.as_u64().unwrap());
    assert!(line >= 1 && column >= 1);
    let before: usize = text.split_inclusive('\n').take(line as usize - 1).map(str::len).sum();
    let rest = &text[before..];
    before + rest.char_indices().nth(column as usize - 1).map_or(rest.len(), |(at, _)| at)
}

/// What the standard's schema demands of a physical location, and that it is in the text.
fn located<'t>(location: &Value, uri: &str, text: &'t str) -> &'t str {
    let place = &location["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], uri);
    region(&place["region"], text).1
}

fn region<'t>(region: &Value, text: &'t str) -> (std::ops::Range<usize>, &'t str) {
    let from = byte(text, &region["startLine"], &region["startColumn"]);
    let to = byte(text, &region["endLine"], &region["endColumn"]);
    (from..to, &text[from..to])
}

#[test]
fn sarif_is_sound_and_its_fixes_fix() {
    let bench = Bench::new();
    let text = GOOD.to_owned() + "never:\n  - { name: closed, from: host, to: pc1 }\n";
    let file = bench.file("a policy.yaml", &text);
    let output = bench.run(&["check", &file, "--format", "sarif"]);
    assert_eq!(status(&output), 1);
    let log = json(&output);
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().ends_with("sarif-schema-2.1.0.json"));
    let run = &log["runs"][0];
    assert_eq!(
        (log["runs"].as_array().unwrap().len(), &run["columnKind"]),
        (1, &"unicodeCodePoints".into())
    );
    assert_eq!(run["invocations"][0]["executionSuccessful"], true);
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "portcullis");
    let rules = driver["rules"].as_array().unwrap();
    for rule in rules {
        for field in ["shortDescription", "fullDescription", "help"] {
            assert!(!rule[field]["text"].as_str().unwrap().is_empty());
        }
    }
    let results = run["results"].as_array().unwrap();
    assert!(!results.is_empty());
    for result in results {
        let index = result["ruleIndex"].as_u64().unwrap() as usize;
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["error", "warning"].contains(&result["level"].as_str().unwrap()));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        assert!(!located(&result["locations"][0], "a%20policy.yaml", &text).is_empty());
    }
    let violation = &results[0];
    assert_eq!(
        located(&violation["locations"][0], "a%20policy.yaml", &text),
        "{ name: closed, from: host, to: pc1 }"
    );
    let related = &violation["relatedLocations"][0];
    assert_eq!(related["id"], 1);
    assert!(located(related, "a%20policy.yaml", &text).contains("name: web"));
    let fixes = violation["fixes"].as_array().unwrap();
    assert!(!fixes.is_empty());
    for fix in fixes {
        let change = &fix["artifactChanges"][0];
        assert_eq!(change["artifactLocation"]["uri"], "a%20policy.yaml");
        let replacement = &change["replacements"][0];
        let (at, _) = region(&replacement["deletedRegion"], &text);
        let mut mended = text.clone();
        mended.replace_range(at, replacement["insertedContent"]["text"].as_str().unwrap());
        let output = bench.run(&["check", &bench.file("mended.yaml", &mended)]);
        assert_eq!(status(&output), 0, "{}\n{mended}", fix["description"]["text"]);
    }
}

#[test]
fn sarif_tells_what_cannot_be_read_too() {
    let bench = Bench::new();
    let output = bench.run(&["check", "nowhere.yaml", "--format", "sarif"]);
    assert_eq!(status(&output), 2);
    let run = &json(&output)["runs"][0];
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
    assert_eq!(run["results"], value!([]));
    let good = json(&bench.run(&["check", &bench.file("p.yaml", GOOD), "--format", "sarif"]));
    assert_eq!(good["runs"][0]["results"], value!([]));
}

#[test]
fn a_policy_comes_from_standard_input_and_includes() {
    let bench = Bench::new();
    let output = bench.run_with(&["check", "-"], GOOD);
    assert_eq!(status(&output), 0, "{}", err(&output));
    assert!(out(&output).starts_with("(stdin): ok"), "{}", out(&output));
    let bad = bench.run_with(&["check", "-"], "rools: []\n");
    assert!(err(&bad).contains("(stdin):1:1"), "{}", err(&bad));
    let (networks, rest) = GOOD.split_at(GOOD.find("guests:").unwrap());
    fs::create_dir(bench.path("parts")).unwrap();
    bench.file("parts/networks.yaml", networks);
    let main = bench.file("main.yaml", &format!("include: [parts/]\n{rest}"));
    let value = json(&bench.run(&["check", &main, "--format", "json"]));
    assert_eq!(value["files"], value!(["main.yaml", "parts/networks.yaml"]));
    let missing = bench.file("main.yaml", "include: [partz/]\n");
    let output = bench.run(&["check", &missing]);
    assert_eq!(status(&output), 2);
    assert!(
        err(&output).contains("main.yaml:1:11") && err(&output).contains("parts"),
        "{}",
        err(&output)
    );
}

#[test]
fn explain_takes_flows() {
    let bench = Bench::new();
    let file = bench.file("p.yaml", GOOD);
    let flow = |flow| bench.run(&["explain", &file, "--flow", flow]);
    assert_eq!(status(&flow("tcp host -> 10.10.0.11:80")), 0);
    assert_eq!(status(&flow("tcp 10.10.0.12:999 -> host:80")), 1);
    let bad = flow("tcp 10.10.0.12");
    assert_eq!(status(&bad), 2);
    assert!(err(&bad).contains("write it as"), "{}", err(&bad));
    assert_eq!(status(&bench.run(&["explain", &file, "--from", "pc1"])), 2);
    let both = ["explain", &file, "--flow", "icmp/8 pc1 -> pc2", "--from", "pc1"];
    assert_eq!(status(&bench.run(&both)), 2);
}

#[test]
fn diff_says_whether_something_differs() {
    let bench = Bench::new();
    let old = bench.file("old.yaml", GOOD);
    let new = bench.file("new.yaml", &GOOD.replace("for: http", "for: ssh"));
    let output = bench.run(&["diff", &old, &new]);
    assert_eq!((status(&output), err(&output).as_str()), (0, ""));
    assert!(
        out(&output).contains("+ host -> pc1: ssh\n")
            && out(&output).contains("- host -> pc1: http\n")
    );
    assert_eq!(status(&bench.run(&["diff", "--exit-code", &old, &new])), 1);
    assert_eq!(status(&bench.run(&["diff", "--exit-code", &old, &old])), 0);
    let value = json(&bench.run(&["diff", &old, &new, "--format", "json"]));
    assert_eq!(
        (&value["empty"], &value["allowed"][0]["for"][0]["name"]),
        (&Value::from(false), &"ssh".into())
    );
    let coloured = bench.run(&["diff", &old, &new, "--color", "always"]);
    assert!(out(&coloured).contains("\x1b[32m+ host"), "{}", out(&coloured));
}

#[test]
fn diff_says_which_side_is_wrong() {
    let bench = Bench::new();
    let good = bench.file("good.yaml", GOOD);
    let bad = bench.file("bad.yaml", "rools: []\n");
    for (args, side) in [(["diff", &bad, &good], "OLD"), (["diff", &good, &bad], "NEW")] {
        let output = bench.run(&args);
        assert_eq!(status(&output), 2);
        assert!(
            err(&output).contains(&format!("{side} (bad.yaml) does not hold")),
            "{}",
            err(&output)
        );
        let value = json(&bench.run(&[&args[..], &["--format", "json"]].concat()));
        assert_eq!(
            (&value["side"], &value["policy"]),
            (&side.to_lowercase().into(), &"bad.yaml".into())
        );
    }
    let broken =
        bench.file("broken.yaml", &(GOOD.to_owned() + "never:\n  - { from: host, to: pc1 }\n"));
    let output = bench.run(&["diff", &good, &broken]);
    assert_eq!(status(&output), 0);
    assert!(err(&output).contains("NEW violates 1 of its invariants"), "{}", err(&output));
    // One side alone is compared with the applied policy.
    let alone = bench.run(&["diff", &good]);
    assert!(status(&alone) == 2 && err(&alone).contains("portcullis up"), "{}", err(&alone));
}

#[test]
fn matrix_comes_in_every_form() {
    let bench = Bench::new();
    let file = bench.file("p.yaml", GOOD);
    let value = json(&bench.run(&["matrix", &file, "--format", "json", "--by", "guest"]));
    let names: Vec<&str> =
        value["subjects"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["pc1", "pc2", "host", "world"]);
    let csv = out(&bench.run(&["matrix", &file, "--format", "csv"]));
    assert!(csv.starts_with("from \\ to,lan,pc1,pc2,host,world\r\n"), "{csv}");
    let html = bench.run(&["matrix", &file, "--format", "html", "--out", "m.html"]);
    assert_eq!((status(&html), out(&html).as_str()), (0, "m.html is written\n"));
    let page = fs::read_to_string(bench.path("m.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<svg"), "{page}");
    let unwritable = bench.run(&["matrix", &file, "--out", "no/such/folder.txt"]);
    assert_eq!(status(&unwritable), 2);
    assert!(err(&unwritable).contains("cannot write"), "{}", err(&unwritable));
}

#[test]
fn the_schema_is_the_committed_one() {
    let bench = Bench::new();
    let printed = out(&bench.run(&["schema"]));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/schema.json");
    assert_eq!(printed, fs::read_to_string(path).unwrap());
    assert!(serde_json::from_str::<Value>(&printed).unwrap()["$schema"].is_string());
}
