//! A real tap, opened by name, handed to a command, in a namespace that vanishes with the test.

use std::{
    os::fd::{AsFd, AsRawFd},
    os::unix::net::UnixStream,
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
};

use nix::sched::{CloneFlags, unshare};
use portcullis_ports::{
    Netns, link,
    tap::{self, Openers},
};
use vmm_attach::{Error, inherit, open_queues, receive, send};

/// One test at a time: between fork and exec the command of one holds the queues of all.
static ALONE: Mutex<()> = Mutex::new(());

fn in_namespace(test: impl FnOnce() + Send) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let netns = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        let file = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        Netns::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap()
    });
    netns.join().unwrap().run(test).unwrap();
}

#[test]
fn all_queues_are_handed_to_a_command() {
    in_namespace(|| {
        tap::create("vm1", 2, "portcullis:test").unwrap();
        let queues = open_queues("vm1", 2).unwrap();
        assert_eq!(queues.len(), 2);
        // The command sees two character devices of the tun driver at those numbers.
        let script = "for fd in $(echo $PORTCULLIS_TAP_FDS | tr , ' '); do \
                      readlink /proc/self/fd/$fd; done | grep -c /dev/net/tun";
        let words = ["sh", "-c", script].map(Into::into);
        let output = inherit(&words, &queues).unwrap().output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "2");
    });
}

#[test]
fn a_queue_is_still_that_tap_after_a_socket() {
    in_namespace(|| {
        tap::create("vm1", 1, "portcullis:test").unwrap();
        let queue = open_queues("vm1", 1).unwrap().pop().unwrap();
        let (left, right) = UnixStream::pair().unwrap();
        send(&left, &[queue.as_fd()], b"vm1").unwrap();
        drop(queue);
        let received = receive(&right).unwrap();
        assert_eq!(tap::header_size(&received.fds[0]).unwrap(), tap::VNET_HEADER);
        assert!(open_queues("vm1", 1).is_err(), "held by the receiver");
        // As QEMU leaves it.
        tap::set_header_size(&received.fds[0], 10).unwrap();
        drop(received);
        let again = open_queues("vm1", 1).unwrap();
        assert_eq!(tap::header_size(&again[0]).unwrap(), tap::VNET_HEADER);
        drop(again);
        link::delete(link::get("vm1").unwrap().index).unwrap();
    });
}

#[test]
fn what_is_no_tap_is_refused() {
    in_namespace(|| {
        assert!(matches!(open_queues("lo", 1), Err(Error::Tap(_))));
        assert!(matches!(open_queues("nothing", 1), Err(Error::Tap(_))));
    });
}

#[test]
fn nobody_else_opens_a_tap_by_its_name() {
    in_namespace(|| {
        tap::create("vm1", 1, "portcullis:test").unwrap();
        tap::create_for("vm2", 1, "portcullis:test", Openers::Group(0)).unwrap();
        // One that says nothing is everybody's.
        for (name, openers) in [("vm1", "\"user\":\"root\""), ("vm2", "\"group\":\"root\"")] {
            let shown =
                Command::new("ip").args(["-d", "-j", "link", "show", name]).output().unwrap();
            let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
            assert!(shown.contains(openers), "{shown}");
        }
    });
}
