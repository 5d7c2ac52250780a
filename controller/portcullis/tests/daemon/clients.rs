//! Clients that break the rules: they lose their connection, and nobody else notices.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use portcullis::{
    api::{Failure, Request, Response, code},
    daemon::server::CLIENTS,
    wire,
};

use crate::{
    machine::{Daemon, Machine, policy},
    promises::eventually,
};

fn raw(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

/// What the daemon says before it hangs up.
fn last_words(mut stream: UnixStream) -> Option<Failure> {
    let mut bytes = Vec::new();
    // What was sent and not read any more is answered with a reset, after the last words.
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    if bytes.is_empty() {
        return None;
    }
    match wire::decode(&bytes[wire::HEADER..]).unwrap() {
        Response::Failed(failure) => Some(failure),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_connection_takes_many_requests() {
    let machine = Machine::new();
    let daemon = machine.start();
    let mut client = daemon.client();
    for _ in 0..100 {
        assert_eq!(client.info().unwrap(), daemon.info);
    }
}

#[test]
fn garbage_gets_an_error_and_the_end() {
    let machine = Machine::new();
    let daemon = machine.start();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\0\x02{}", b"\0\0\0\0", b"\xff\xff\xff\xff"]
    {
        let mut stream = raw(&daemon);
        stream.write_all(bytes).unwrap();
        let failure = last_words(stream).unwrap();
        assert_eq!(failure.code, code::BAD_REQUEST, "{failure:?}");
        daemon.status();
    }
}

#[test]
fn another_version_is_told_so() {
    let machine = Machine::new();
    let daemon = machine.start();
    let body = br#"{"protocol":99,"message":{"do":"dance"}}"#;
    let mut stream = raw(&daemon);
    stream.write_all(&(body.len() as u32).to_be_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let failure = last_words(stream).unwrap();
    assert_eq!(failure.code, code::PROTOCOL);
    assert!(failure.message.contains("99") && failure.hint.is_some(), "{failure:?}");
}

#[test]
fn the_slow_are_left_behind() {
    let machine = Machine::new();
    let daemon = machine.start();
    let bytes = wire::encode(&Request::Info).unwrap();
    let mut slow = raw(&daemon);
    let cut = bytes.iter().any(|byte| {
        std::thread::sleep(Duration::from_millis(50));
        daemon.status();
        slow.write_all(&[*byte]).is_err()
    });
    assert!(cut, "it was listened to");
    assert!(last_words(slow).is_none());
    // Silence from the beginning, too.
    assert!(last_words(raw(&daemon)).is_none());
}

#[test]
fn a_client_that_leaves_in_the_middle_hurts_nobody() {
    let machine = Machine::new();
    machine.world.kernel().delay = Duration::from_millis(30);
    let daemon = machine.start();
    let source = portcullis::api::SourceFile { name: "p.yaml".into(), text: policy(1) };
    let request = Request::Apply { sources: vec![source], color: false, confirm_s: None };
    let bytes = wire::encode(&request).unwrap();
    for cut in [1, 3, wire::HEADER, bytes.len() / 2, bytes.len()] {
        raw(&daemon).write_all(&bytes[..cut]).unwrap();
    }
    // The last one was a whole order; that nobody waits for its answer does not matter.
    eventually(|| daemon.status().generation == 1);
}

#[test]
fn too_many_clients_are_told_to_come_back() {
    let machine = Machine::new();
    let daemon = machine.start();
    let mut held: Vec<_> = (0..CLIENTS).map(|_| daemon.client()).collect();
    held.iter_mut().for_each(|client| drop(client.info().unwrap()));
    let failure = last_words(raw(&daemon)).unwrap();
    assert_eq!(failure.code, code::BUSY);
    drop(held);
    // Places are given back.
    eventually(|| daemon.ask(&Request::Info).is_ok());
}

#[test]
fn a_client_that_never_reads_does_not_hold_the_daemon() {
    let machine = Machine::new();
    let daemon = machine.start();
    let mut deaf = raw(&daemon);
    deaf.set_nonblocking(true).unwrap();
    let bytes = wire::encode(&Request::Status).unwrap();
    for _ in 0..20_000 {
        if deaf.write_all(&bytes).is_err() {
            break;
        }
    }
    daemon.status();
}

#[test]
fn others_are_served_while_a_policy_is_installed() {
    let machine = Machine::new();
    machine.world.kernel().delay = Duration::from_millis(200);
    let daemon = machine.start();
    std::thread::scope(|scope| {
        let apply = scope.spawn(|| daemon.apply(&policy(1)).unwrap());
        let others: Vec<_> = (0..20).map(|_| scope.spawn(|| daemon.status())).collect();
        others.into_iter().for_each(|o| drop(o.join().unwrap()));
        assert_eq!(apply.join().unwrap().generation, 1);
    });
}
