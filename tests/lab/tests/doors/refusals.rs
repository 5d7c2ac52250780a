//! What cannot work is said with what to do, and leaves nothing behind.

use std::{fs, os::unix::net::UnixListener, path::Path, process::Command};

use portcullis_lab::{
    process::Output,
    small::Small,
    tiny::{HALT, kernel},
};

/// Says both, with this exit status, and no port is left.
fn refused(small: &Small, output: &Output, what: &str, hint: &str) {
    assert_eq!(output.code(), 2, "{output:?}");
    for wanted in [what, hint] {
        assert!(output.stderr.contains(wanted), "{wanted:?}: {}", output.stderr);
    }
    assert!(output.stderr.contains(" hint: "), "{}", output.stderr);
    assert!(small.host.status().unwrap().port("r1").is_none());
}

fn file(small: &Small, name: &str, bytes: &[u8]) -> String {
    let path = small.lab.dir().join(name);
    fs::write(&path, bytes).unwrap();
    path.to_string_lossy().into_owned()
}

/// `/dev` with nothing in it but what a tap needs.
const NO_KVM: &str = "\
mount -t tmpfs none \"$0\" && mkdir \"$0/net\" && touch \"$0/net/tun\" \"$0/null\" \
&& mount --bind /dev/net/tun \"$0/net/tun\" && mount --bind /dev/null \"$0/null\" \
&& mount --rbind \"$0\" /dev && exec \"$@\"";

#[test]
fn a_guest_that_cannot_run_is_told_what_to_do() {
    let small = Small::with("pdr", &[], &[]).unwrap();
    let own = file(&small, "kernel", &kernel(HALT, false));
    let none = file(&small, "none", b"#!/bin/sh\necho I am no kernel\n");
    let run = |arguments: &[&str]| {
        small.host.run(&[&["guest", "run", "r1"][..], arguments].concat()).unwrap()
    };
    let dev = small.lab.dir().join("dev");
    fs::create_dir(&dev).unwrap();
    let mut hidden = Command::new("unshare");
    hidden.args(["-m", "sh", "-c", NO_KVM]).arg(&dev).arg(small.host.program());
    hidden.args(["guest", "run", "r1", "--kernel", &own]).envs(small.host.environment());
    let hidden = small.host.space().run(hidden, 20).unwrap();
    refused(&small, &hidden, "cannot open /dev/kvm", "modprobe");
    if !Path::new("/dev/kvm").exists() {
        println!("the rest is not tested: there is no /dev/kvm");
        return;
    }
    refused(&small, &run(&["--kernel", &none]), "neither a bzImage nor an ELF kernel", "bzImage");
    refused(&small, &run(&["--kernel", "/no/kernel"]), "/no/kernel", "name");
    let large = file(&small, "large", &kernel(HALT, false));
    fs::File::options().write(true).open(&large).unwrap().set_len(9 << 20).unwrap();
    let run = run(&["--kernel", &own, "--initrd", &large, "--memory", "8"]);
    refused(&small, &run, "does not fit", "--memory");
}

#[test]
fn a_name_or_a_place_that_is_taken_is_named() {
    let small = Small::with("pdu", &[], &[]).unwrap();
    let attach =
        |arguments: &[&str]| small.host.run(&[&["attach"][..], arguments].concat()).unwrap();
    refused(
        &small,
        &attach(&["tap", "r1", "--guest", "r11"]),
        "no guest \"r11\"",
        "did you mean r1",
    );
    refused(&small, &attach(&["tap", "a/b", "--guest", "r1"]), "a/b", "1 to 15 letters");
    small.host.portcullis(&["attach", "tap", "t1", "--guest", "r2"]).unwrap();
    refused(
        &small,
        &attach(&["tap", "t1", "--guest", "r1"]),
        "t1 is attached already",
        "detach t1",
    );
    refused(&small, &attach(&["tap", "r1", "--guest", "r2"]), "attached already", "detach t1");
    // The socket of somebody who listens is not taken from him.
    let sockets = small.host.run_dir().join("vhost");
    fs::create_dir_all(&sockets).unwrap();
    let _other = UnixListener::bind(sockets.join("r1.sock")).unwrap();
    let taken = attach(&["vhost-user", "r1", "--guest", "r1"]);
    for wanted in ["vhost/r1.sock", "somebody listens there", "another name"] {
        assert!(taken.code() == 2 && taken.stderr.contains(wanted), "{wanted}: {}", taken.stderr);
    }
    assert!(small.host.status().unwrap().port("r1").is_none());
}
