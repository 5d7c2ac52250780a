//! Guests in our own monitor, on ports of the switch.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portcullis_lab::{
    process::wait_for,
    small::Small,
    tiny::{FOR_EVER, HALT, WAIT_FOR_A_KEY, kernel, off, say},
};

/// Runs a test on a machine that has KVM.
fn with_kvm(test: impl FnOnce(&Small)) {
    if !Path::new("/dev/kvm").exists() {
        println!("nothing is tested: there is no /dev/kvm");
        return;
    }
    test(&Small::with("plk", &[], &[]).unwrap());
}

fn write(small: &Small, code: &[u8]) -> String {
    let file = small.lab.dir().join("kernel");
    fs::write(&file, kernel(code, false)).unwrap();
    file.to_string_lossy().into_owned()
}

#[test]
fn a_guest_runs_on_its_port_until_it_switches_itself_off() {
    with_kvm(|small| {
        let file = write(small, &[say("good day\n"), off(), HALT.to_vec()].concat());
        let ran = small.host.run(&["guest", "run", "r1", "--kernel", &file]).unwrap();
        assert_eq!((ran.code(), ran.stdout.as_str()), (0, "good day\n"), "{}", ran.stderr);
        assert!(ran.stderr.contains("r1 has port r1"), "{}", ran.stderr);
        assert!(small.host.status().unwrap().port("r1").is_none(), "it is taken away");
    });
}

#[test]
fn a_monitor_has_given_up_what_it_does_not_need() {
    with_kvm(|small| {
        let file = write(small, &[say("here I am\n"), FOR_EVER.to_vec()].concat());
        let mut command = small.host.command(&["guest", "run", "r1", "--kernel", &file]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut ran = small.host.space().spawn(command).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", ran.id());
        let monitor = || {
            let children = fs::read_to_string(&children).ok()?;
            let status = format!("/proc/{}/status", children.split_whitespace().next()?);
            fs::read_to_string(status).ok().filter(|status| status.contains("Seccomp:\t2"))
        };
        wait_for("a monitor behind its filter", 20, || monitor().is_some()).unwrap();
        let status = monitor().unwrap();
        let all =
            ["Uid:\t65534\t65534\t65534\t65534", "NoNewPrivs:\t1", "CapEff:\t0000000000000000"];
        for wanted in all {
            assert!(status.contains(wanted), "{wanted}: {status}");
        }
        assert!(small.host.status().unwrap().is_open("r1"));
        let twice = small.host.run(&["guest", "run", "r1", "--kernel", &file]).unwrap();
        assert!(twice.code() == 2 && twice.stderr.contains("port r1"), "{twice:?}");
        kill(Pid::from_raw(ran.id() as i32), Signal::SIGTERM).unwrap();
        assert_eq!(ran.wait().unwrap().code(), Some(1));
        assert!(small.host.status().unwrap().port("r1").is_none());
    });
}

#[test]
fn a_guest_goes_on_from_its_snapshot() {
    with_kvm(|small| {
        let file = write(small, &[WAIT_FOR_A_KEY, &off(), HALT].concat());
        let into = small.lab.dir().join("snapshot").to_string_lossy().into_owned();
        let (typed, output) = (small.lab.dir().join("typed"), small.lab.dir().join("output"));
        fs::write(&typed, "x").unwrap();
        let mut command = small.host.command(&["guest", "run", "r1", "--kernel", &file]);
        command.stdin(Stdio::null()).stdout(File::create(&output).unwrap());
        let mut ran = small.host.space().spawn(command).unwrap();
        let said = || fs::read_to_string(&output).unwrap();
        wait_for("its first letter", 20, || said() == "a").unwrap();
        for order in ["pause", "resume"] {
            let done = small.host.run(&["guest", order, "r1"]).unwrap();
            assert_eq!(done.code(), 0, "{order}: {}", done.stderr);
        }
        let done = small.host.run(&["guest", "snapshot", "r1", &into, "--end"]).unwrap();
        assert!(done.code() == 0 && done.stdout.contains("has ended"), "{done:?}");
        assert_eq!(ran.wait().unwrap().code(), Some(1));
        let gone = small.host.run(&["guest", "pause", "r1"]).unwrap();
        assert!(gone.code() == 2 && gone.stderr.contains("no guest r1"), "{gone:?}");
        // Its tap is another one now, with the same MAC.
        let mut command = small.host.command(&["guest", "run", "r1", "--restore", &into]);
        command.stdin(File::open(&typed).unwrap()).stdout(File::create(&output).unwrap());
        assert_eq!(small.host.space().spawn(command).unwrap().wait().unwrap().code(), Some(0));
        assert_eq!(said(), "xrm");
        let twice = small.host.run(&["guest", "snapshot", "r1", &into]).unwrap();
        assert!(twice.code() == 2 && twice.stderr.contains("exists"), "{twice:?}");
    });
}

#[test]
fn a_guest_that_nobody_knows_does_not_run() {
    with_kvm(|small| {
        let file = write(small, HALT);
        let refused = small.host.run(&["guest", "run", "r11", "--kernel", &file]).unwrap();
        assert_eq!(refused.code(), 2);
        assert!(refused.stderr.contains("did you mean r1"), "{}", refused.stderr);
        // One that cannot be made leaves no port behind.
        let missing = small.host.run(&["guest", "run", "r1", "--kernel", "/no/kernel"]).unwrap();
        assert!(missing.code() == 2 && missing.stderr.contains("/no/kernel"), "{missing:?}");
        assert!(small.host.status().unwrap().port("r1").is_none());
    });
}
