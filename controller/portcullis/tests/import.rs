//! `portcullis import` as scripts see it: exit statuses, files, JSON. And that what it writes is
//! a policy that `check` takes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn sources(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../import/tests/sources").join(name)
}

fn run(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).args(args).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const ROUTER: &[&str] = &[
    "--network",
    "lan=10,10.0.1.0/24,gateway,eth1",
    "--network",
    "dmz=20,10.0.2.0/24,gateway,eth2",
    "--world",
    "eth0",
];

#[test]
fn what_is_written_passes_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (pve, router) = (sources("pve"), sources("iptables/router.rules"));
    let filters =
        ["shop", "guest-basics", "own-mac", "own-address", "own-arp", "shop1", "database"]
            .map(|name| sources("nwfilter").join(format!("{name}.xml")).display().to_string());
    let (pve, router) = (pve.display().to_string(), router.display().to_string());
    let proxmox = vec!["import", "proxmox", &pve, "--host", "192.168.10.11"];
    let mut iptables = vec!["import", "iptables-save", &router];
    iptables.extend(ROUTER);
    let mut nwfilter = vec!["import", "nwfilter", "--network", "lan=10,10.0.0.0/24,gateway,br0"];
    nwfilter.extend(filters.iter().map(String::as_str));
    for mut args in [proxmox, iptables, nwfilter] {
        args.extend(["--out", "out.yaml"]);
        let output = run(here, &args);
        // Each of the examples has a line without equal.
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "out.yaml is written\n");
        assert!(text(&output.stderr).contains("proved: "), "{}", text(&output.stderr));
        let check = run(here, &["check", "out.yaml"]);
        assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
        fs::remove_file(here.join("out.yaml")).unwrap();
    }
}

#[test]
fn strict_writes_nothing_that_is_narrower() {
    let folder = tempfile::tempdir().unwrap();
    let router = sources("iptables/router.rules").display().to_string();
    let mut args = vec!["import", "iptables-save", &router, "--strict", "--out", "out.yaml"];
    args.extend(ROUTER);
    let output = run(folder.path(), &args);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("nothing is written (--strict)"));
    assert!(!folder.path().join("out.yaml").exists());
}

#[test]
fn all_of_it_is_zero_and_json_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                 -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n";
    fs::write(folder.path().join("rules.v4"), rules).unwrap();
    let args = ["import", "iptables-save", "rules.v4", "--host", "192.0.2.5"];
    let output = run(folder.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("# rules.v4:5: -A INPUT -p tcp"));
    let output = run(folder.path(), &[&args[..], &["--format", "json"]].concat());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        (&json["ok"], &json["closed"], &json["rules"]),
        (&true.into(), &0.into(), &2.into())
    );
    assert!(json["yaml"].as_str().unwrap().contains("rules:"));
}

#[test]
fn what_cannot_be_read_is_two_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                 -A INPUT -p tpc -j ACCEPT\nCOMMIT\n";
    fs::write(folder.path().join("rules.v4"), rules).unwrap();
    let args = ["import", "iptables-save", "rules.v4", "--host", "192.0.2.5", "--format", "json"];
    let output = run(folder.path(), &args);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2));
    let finding = &json["findings"][0];
    assert_eq!((&finding["code"], &finding["line"]), (&"PI0003".into(), &5.into()));
    assert_eq!(finding["help"], "did you mean `tcp`?");
    let missing = run(folder.path(), &["import", "proxmox", "nowhere"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("nowhere"), "{}", text(&missing.stderr));
}
