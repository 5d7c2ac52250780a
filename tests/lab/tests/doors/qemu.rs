//! QEMU on taps of the switch: by a helper that passes the descriptor, and by name.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use portcullis_lab::{
    process::{self, Output, wait_for},
    small::Small,
};

/// A machine without processors, which has a network device all the same.
struct Qemu(Child);

impl Qemu {
    fn start(small: &Small, netdev: &str) -> Self {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-machine", "none", "-nodefaults", "-display", "none"]);
        command.args(["-monitor", "stdio", "-netdev", netdev]).envs(small.host.environment());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(small.host.space().spawn(command).unwrap())
    }

    /// Is one of its descriptors a queue of this tap (`iff` of tun(4) in `/proc`)?
    fn holds(&self, tap: &str) -> bool {
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fdinfo", self.0.id())) else {
            return false;
        };
        let wanted = format!("iff:\t{tap}\n");
        let infos = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
        infos.into_iter().any(|info| info.contains(&wanted))
    }

    /// Waits until it has its tap.
    fn on(mut self, tap: &str) -> Self {
        let ended = |child: &mut Child| child.try_wait().unwrap().is_some();
        wait_for("QEMU on its tap", 20, || self.holds(tap) || ended(&mut self.0)).unwrap();
        if ended(&mut self.0) {
            panic!("it ended: {}", self.end("").stderr);
        }
        self
    }

    /// Types this into its monitor, and ends it.
    fn end(mut self, typed: &str) -> Output {
        // One that could not start reads nothing.
        let _ = self.0.stdin.take().unwrap().write_all(format!("{typed}\nquit\n").as_bytes());
        process::finish(self.0, "qemu".into(), 20).unwrap()
    }
}

/// The helper as QEMU wants it: a path.
fn helper(small: &Small) -> PathBuf {
    let link = small.lab.dir().join("portcullis-qemu-helper");
    symlink(small.host.program(), &link).unwrap();
    link
}

#[test]
fn the_helper_attaches_and_passes_the_tap() {
    let small = Small::new("pdq").unwrap();
    let helper = helper(&small);
    let netdev = |nic: &str| format!("tap,id=n,helper={},br={nic}", helper.display());
    let first = Qemu::start(&small, &netdev("r1")).on("r1");
    assert!(!small.host.status().unwrap().is_open("r1"), "there is no policy yet");
    small.apply(&[]).unwrap();
    assert!(small.host.status().unwrap().is_open("r1"));

    let twice = Qemu::start(&small, &netdev("r1")).end("");
    assert_ne!(twice.code(), 0);
    assert!(twice.stderr.contains("every queue of r1 is open already"), "{}", twice.stderr);
    assert!(twice.stderr.contains("the guest runs already"), "{}", twice.stderr);
    let unknown = Qemu::start(&small, &netdev("r11")).end("");
    assert!(unknown.stderr.contains("did you mean r1"), "{}", unknown.stderr);

    let told = first.end("info network");
    assert_eq!(told.code(), 0, "{}", told.stderr);
    assert!(told.stdout.contains("type=tap"), "{}", told.stdout);
    // The port stays, and the guest finds it again.
    assert!(small.host.status().unwrap().is_open("r1"));
    let again = Qemu::start(&small, &netdev("r1/red")).on("r1");
    assert_eq!(again.end("").code(), 0);
}

#[test]
fn a_tap_is_opened_by_name() {
    let small = Small::with("pdn", &[], &[]).unwrap();
    small.host.portcullis(&["attach", "tap", "vm-r2", "--guest", "r2"]).unwrap();
    let qemu = Qemu::start(&small, "tap,id=n,ifname=vm-r2,script=no,downscript=no").on("vm-r2");
    assert!(small.host.status().unwrap().is_open("vm-r2"));
    let told = qemu.end("info network");
    assert!(told.stdout.contains("ifname=vm-r2"), "{}", told.stdout);
}

#[test]
fn a_helper_that_cannot_pass_its_tap_leaves_none() {
    let small = Small::with("pdf", &[], &[]).unwrap();
    let refused = small.host.run(&["qemu-helper", "--br=r1", "--fd=77"]).unwrap();
    assert_eq!(refused.code(), 2);
    assert!(refused.stderr.contains("no socket is open here as number 77"), "{}", refused.stderr);
    assert!(small.host.status().unwrap().port("r1").is_none());
}
