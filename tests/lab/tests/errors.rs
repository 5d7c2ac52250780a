//! Bad input and a bad day: clear words, exit status 2, nothing left half made; and `down` takes
//! what is ours, whatever happened, and nothing else.

use std::{fs, os::unix::process::CommandExt, process::Command};

use portcullis_lab::{
    Lab,
    host::Host,
    probe::Probe,
    small::{Small, policy},
    world::Nic,
};

const RULES: &[&str] = &["{ name: pings, allow: { from: red, to: red, for: ping } }"];

/// Runs a command that must fail with status 2; what it said.
fn refused(host: &Host, arguments: &[&str]) -> String {
    let output = host.run(arguments).unwrap();
    assert_eq!(output.code(), 2, "{arguments:?}: {}{}", output.stdout, output.stderr);
    output.stdout + &output.stderr
}

fn sorted(host: &Host) -> Vec<String> {
    let mut names = host.space().interfaces().unwrap();
    names.sort();
    names
}

#[test]
fn mistakes_of_attach_are_explained_and_undone() {
    let small = Small::with("ple", RULES, &[("r1", Nic::Veth)]).unwrap();
    let host = &small.host;
    host.space().ip("link add uplink0 type veth peer name far0").unwrap();
    let before = sorted(host);
    let r2 = small.lab.space("r2").unwrap();
    let ns = r2.path().to_string_lossy().into_owned();

    let said = refused(host, &["attach", "uplink", "uplin0", "--untagged", "red"]);
    assert!(said.contains("uplin0") && said.contains("uplink0"), "{said}");
    let said = refused(host, &["attach", "veth", "v-r1", "--guest", "r2", "--netns", &ns]);
    assert!(said.contains("v-r1") && said.contains("portcullis detach v-r1"), "{said}");
    let said = refused(host, &["attach", "tap", "far0", "--guest", "r2"]);
    assert!(said.contains("far0"), "{said}");
    let said = refused(host, &["attach", "tap", "t-r2", "--guest", "r22"]);
    assert!(said.contains("r22") && said.contains("r2"), "{said}");
    let said = refused(host, &["attach", "uplink", "uplink0", "--untagged", "rad"]);
    assert!(said.contains("rad") && said.contains("red"), "{said}");
    let said = refused(host, &["attach", "tap", "a-name-that-is-far-too-long", "--guest", "r2"]);
    assert!(said.contains("a-name-that-is-far-too-long"), "{said}");
    let said =
        refused(host, &["attach", "veth", "v-r2", "--guest", "r2", "--netns", "/run/netns/gone"]);
    assert!(said.contains("gone"), "{said}");
    let said = refused(host, &["detach", "v-r11"]);
    assert!(said.contains("v-r11"), "{said}");

    assert_eq!(sorted(host), before);
    assert!(host.status().unwrap().is_open("v-r1"));
}

#[test]
fn without_a_daemon_the_command_says_how_to_start_one() {
    let lab = Lab::new("plj").unwrap();
    let host = Host::new(&lab, "host").unwrap();
    let said = refused(&host, &["status"]);
    assert!(said.contains("portcullis up"), "{said}");
}

#[test]
fn without_privileges_up_says_what_is_missing() {
    let lab = Lab::new("pli").unwrap();
    let host = Host::new(&lab, "host").unwrap();
    // Somewhere that nobody may read and execute, whatever the build directory allows.
    let program = lab.dir().join("portcullis");
    fs::copy(host.program(), &program).unwrap();
    let nobody = lab.dir().join("nobody");
    fs::create_dir(&nobody).unwrap();
    std::os::unix::fs::chown(&nobody, Some(65534), Some(65534)).unwrap();
    let mut command = Command::new(&program);
    command.args(["up", "--run-dir"]).arg(nobody.join("run")).uid(65534).gid(65534);
    command.env("PORTCULLIS_STATE_DIR", nobody.join("state"));
    let output = host.space().run(command, 30).unwrap();
    let said = output.stdout.clone() + &output.stderr;
    assert_eq!(output.code(), 2, "{said}");
    assert!(said.contains("root") || said.contains("CAP_SYS_ADMIN"), "{said}");
    assert!(host.space().interfaces().unwrap().is_empty());
}

#[test]
fn down_after_a_crash_takes_what_is_ours_and_nothing_else() {
    let guests = [("r1", Nic::Veth), ("r2", Nic::Tap)];
    let small = Small::with("plk", RULES, &guests).unwrap();
    let host = &small.host;
    // Things of others: a cable that becomes an uplink, a tap, a pair of veths.
    let far = small.lab.space("far").unwrap();
    host.space()
        .ip(&format!("link add up0 type veth peer name eth0 netns {}", far.name()))
        .unwrap();
    host.space().ip("link add theirs0 type veth peer name theirs1").unwrap();
    host.space().ip("tuntap add theirs2 mode tap").unwrap();
    host.space().ip("addr add 192.0.2.1/24 dev up0").unwrap();
    host.space().ip("link set up0 up").unwrap();
    far.ip("addr add 192.0.2.2/24 dev eth0").unwrap();
    far.ip("link set eth0 up").unwrap();
    let theirs = ["theirs0", "theirs1", "theirs2", "up0"];
    let pings = || Probe::Ping.reaches(&far, "192.0.2.1".parse().unwrap()).unwrap();
    assert!(pings(), "a cable is a cable");
    host.portcullis(&["attach", "uplink", "up0", "--untagged", "blue"]).unwrap();
    assert!(!pings(), "an uplink belongs to the switch");

    host.kill_daemon().unwrap();
    host.down().unwrap();

    assert_eq!(sorted(host), theirs);
    assert!(pings(), "released, the cable is a cable again");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let run_dir = host.run_dir().to_string_lossy().into_owned();
    assert!(!mounts.contains(&run_dir), "still mounted below {run_dir}");
    // Once more is no error, and a new start finds a clean house.
    host.down().unwrap();
    host.up().unwrap();
    let file = small.lab.file("policy.yaml", &policy(RULES)).unwrap();
    host.apply(&file).unwrap();
    host.down().unwrap();
    assert_eq!(sorted(host), theirs);
}

#[test]
fn two_hosts_on_one_machine_do_not_meet() {
    let guests = [("r1", Nic::Veth), ("r2", Nic::Veth)];
    let one = Small::with("plone", RULES, &guests).unwrap();
    let two = Small::with("pltwo", &[], &guests).unwrap();
    let ping =
        |small: &Small| Probe::Ping.reaches(small.space("r1"), small.address("r2", false)).unwrap();
    assert!(ping(&one) && !ping(&two));
    two.host.down().unwrap();
    assert!(ping(&one));
    assert!(one.host.status().unwrap().is_open("v-r1"));
}
