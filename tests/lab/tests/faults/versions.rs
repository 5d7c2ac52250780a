//! Other versions of the programs, and of the tables: what runs goes on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use portcullis_lab::{
    host::Host,
    inject::Fault,
    other_build::{self, HOOKS},
    patience::is_long,
    small::Small,
};

use crate::siege::{GUESTS, RUNNING, Siege, start_under};

/// Everything pinned, of the one layout that there is.
fn pins(host: &Host) -> PathBuf {
    let pins = fs::read_dir(host.run_dir().join("bpf")).unwrap();
    pins.map(|entry| entry.unwrap().path()).next().unwrap()
}

/// Of the filter, the lane and the gates that are in force: the kernel's hash over the instructions,
/// and the program's number.
fn hooks(host: &Host) -> Vec<(String, u64)> {
    let status = host.status().unwrap().0;
    let programs = status["programs"].as_array().unwrap();
    let one = |name: &&str| {
        let program = programs.iter().find(|program| program["name"] == **name).unwrap();
        (program["tag"].as_str().unwrap().to_owned(), program["id"].as_u64().unwrap())
    };
    HOOKS.iter().map(one).collect()
}

/// Ends the daemon and starts that of another version.
fn change(siege: &mut Siege, program: &Path) {
    siege.host().kill_daemon().unwrap();
    siege.small.host.run_program(program.to_path_buf());
    siege.host().up().unwrap();
    siege.is_whole();
}

#[test]
fn an_upgrade_and_a_downgrade_lose_nothing() {
    let mut siege = Siege::new("plV");
    let ours = siege.host().program().to_path_buf();
    let other = siege.small.lab.dir().join("portcullis-other");
    other_build::write(&ours, &other, other_build::harmless).unwrap();
    let mut before = hooks(siege.host());
    let first = before.clone();
    for round in 0..if is_long() { 20 } else { 4 } {
        let program = if round % 2 == 0 { &other } else { &ours };
        change(&mut siege, program);
        let now = hooks(siege.host());
        for ((now, before), first) in now.iter().zip(&before).zip(&first) {
            assert!(now.0 != before.0 && now.1 != before.1, "{now:?} after {before:?}");
            assert_eq!(now.0 == first.0, round % 2 == 1, "it is the first version again");
        }
        before = now;
        assert_eq!(siege.apply(round % 2 == 0), 0);
        siege.reached += 1;
    }
    siege.end();
}

#[test]
fn a_version_that_the_verifier_refuses_leaves_the_old_one_in_force() {
    let mut siege = Siege::new("plW");
    let ours = siege.host().program().to_path_buf();
    let broken = siege.small.lab.dir().join("portcullis-broken");
    other_build::write(&ours, &broken, |build| other_build::refused(build, "ingress")).unwrap();
    let before = hooks(siege.host());
    siege.host().kill_daemon().unwrap();
    siege.small.host.run_program(broken);
    let output = siege.host().run(&["up"]).unwrap();
    assert_eq!(output.code(), 2, "{output:?}");
    assert!(output.stderr.contains("whatever ran before still runs"), "{output:?}");
    change(&mut siege, &ours);
    assert_eq!(hooks(siege.host()), before, "the same programs, left alone");
    siege.reached += 2;
    siege.end();
}

#[test]
fn another_layout_is_left_in_force() {
    let mut siege = Siege::new("plX");
    siege.host().kill_daemon().unwrap();
    // What stands there was made by a version with other tables, as far as anybody can tell.
    let ours = pins(siege.host());
    let other = ours.with_file_name("v1");
    fs::rename(&ours, &other).unwrap();
    let output = siege.host().run(&["up"]).unwrap();
    assert_eq!(output.code(), 2, "{output:?}");
    assert!(output.stderr.contains("layout v1") && output.stderr.contains("portcullis down"));
    assert!(!ours.exists() && other.exists());
    fs::rename(&other, &ours).unwrap();
    siege.host().up().unwrap();
    siege.is_whole();
    siege.reached += 2;
    siege.end();
}

#[test]
fn another_layout_is_taken_down_whole() {
    let small = Small::with("plY", &[RUNNING], GUESTS).unwrap();
    small.host.kill_daemon().unwrap();
    let ours = pins(&small.host);
    fs::rename(&ours, ours.with_file_name("v1")).unwrap();
    small.host.down().unwrap();
    assert!(!small.host.run_dir().join("bpf").exists());
    let left = small.host.space().interfaces().unwrap();
    assert!(!left.iter().any(|name| name.starts_with("v-") || name.starts_with("pc")), "{left:?}");
    small.host.up().unwrap();
    assert!(small.host.status().unwrap().is_open("v-r1"));
}

#[test]
fn programs_that_are_refused_leave_the_old_ones_in_force() {
    let mut siege = Siege::new("plu");
    let version = pins(siege.host());
    let code = || {
        let all = fs::read_dir(&version).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> = all.filter(|p| p.to_string_lossy().contains("code-")).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    };
    let rounds = if is_long() { 20 } else { 3 };
    for round in 0..rounds {
        siege.host().kill_daemon().unwrap();
        // What runs is of another version now, as far as anybody can tell; there and back.
        let (ours, other) = (code(), version.join(format!("code-{round:016x}")));
        fs::rename(&ours, &other).unwrap();
        // The verifier refuses: everything that is loaded now fails, somewhere.
        for at in [30 + 5 * round, 60 + 5 * round] {
            let fault = Fault { call: "bpf", what: "error=EACCES", at };
            siege.reached += usize::from(!start_under(siege.host(), &fault));
        }
        siege.host().up().unwrap();
        assert_eq!(code(), ours, "the new version took over");
        siege.is_whole();
    }
    siege.end();
}
