//! A stock Debian kernel and Debian's servers in our own monitor, as a guest of the policy. Its
//! kernel needs a KVM that runs instructions itself: `cargo xtask test --kernels` has one, in a
//! virtual machine whose processor QEMU simulates with its SVM.

use std::{env, path::PathBuf};

use portcullis_lab::{
    probe::Probe,
    process::wait_for,
    small::Small,
    vm::{self, Vm},
    world::Nic,
};

/// Where the kernel and its first file system are: `cargo xtask test --kernels` says it.
const DIRECTORY: &str = "PORTCULLIS_TEST_LINUX";
/// The disks of the machine that runs this test: Debian's packages, and what is run from them.
const DISKS: [&str; 2] = ["/dev/vda", "/dev/vdb"];

const RULES: &[&str] = &[
    "{ name: web, allow: { from: [r2, r3], to: r1, for: http } }",
    "{ name: share, allow: { from: r3, to: r1, for: smb } }",
];

#[test]
fn a_stock_kernel_gets_an_address_serves_and_is_firewalled() {
    let directory = env::var_os(DIRECTORY).map(PathBuf::from);
    let Some(directory) = directory.filter(|_| vm::possible()) else {
        println!("nothing is tested: {DIRECTORY} names no kernel, or there is no /dev/kvm");
        return;
    };
    let small = Small::with("pll", RULES, &[("r2", Nic::Veth), ("r3", Nic::Veth)]).unwrap();
    let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let (kernel, initrd, serve) = (file("vmlinuz"), file("initrd"), file("serve"));
    let disks: Vec<_> = DISKS.iter().flat_map(|disk| ["--disk-read-only", disk]).collect();
    let append = format!("console=ttyS0 quiet panic=-1 inside={serve}");
    let mut arguments = vec!["--kernel", &kernel, "--initrd", &initrd, "--append", &append];
    let same = [&disks[..], &["--queues", "2"]].concat();
    arguments.extend(["--memory", "512", "--cpus", "2"]);
    arguments.extend(&same);
    let mut guest = Vm::spawn(&small.host, "r1", &arguments).unwrap();
    assert_eq!(guest.prints("address ").unwrap(), "address 10.1.0.11/24");
    assert_eq!(guest.prints("queues ").unwrap(), "queues 2", "one for each processor");
    println!("{}", guest.prints("serving ").unwrap());
    let reaches = |from: &str, probe: Probe| {
        probe.reaches(small.space(from), "10.1.0.11".parse().unwrap()).unwrap()
    };
    assert!(reaches("r2", Probe::Http) && reaches("r3", Probe::Http), "its web server");
    assert!(reaches("r3", Probe::Smb), "its share");
    for (from, probe) in [("r2", Probe::Smb), ("r3", Probe::Ping), ("r3", Probe::Ssh)] {
        let before = small.host.status().unwrap().drops("no-rule");
        assert!(!reaches(from, probe), "{from} {probe}");
        assert!(small.host.status().unwrap().drops("no-rule") > before, "{from} {probe}");
    }
    // What it was is written down, and goes on in another monitor, servers and all.
    let snapshot = tempfile::tempdir().unwrap();
    let snapshot = snapshot.path().join("r1").to_string_lossy().into_owned();
    small.host.portcullis(&["guest", "snapshot", "r1", &snapshot, "--end"]).unwrap();
    guest.ended().unwrap();
    let again = [&["--restore", &snapshot][..], &same].concat();
    let mut guest = Vm::spawn(&small.host, "r1", &again).unwrap();
    wait_for("what it was to go on", 60, || reaches("r3", Probe::Smb)).unwrap();
    assert!(reaches("r2", Probe::Http));
    assert!(!reaches("r2", Probe::Smb));
    guest.tell("off").unwrap();
    assert_eq!(guest.ended().unwrap(), Some(0));
}
