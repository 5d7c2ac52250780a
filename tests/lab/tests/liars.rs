//! Front ends that lie at random, for a while: their port's guest may have nothing of it, and nobody
//! else notices.

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use portcullis_lab::{
    Error,
    frame::{Udp, holds, parse_mac},
    front::Front,
    liar::Liar,
    patience::is_long,
    probe::Probe,
    server::UdpEcho,
    small::Small,
    world::Nic,
};

const RULES: [&str; 2] = [
    "{ name: ping, allow: { from: red, to: red, for: ping } }",
    "{ name: echo, allow: { from: red, to: red, for: udp/7000 } }",
];
/// How long they lie, and how long in the long form.
const TIME: Duration = Duration::from_secs(4);
const TIME_LONG: Duration = Duration::from_secs(300);
/// Those that have brought something down, once: 449 has the engine ask for the options of a socket that
/// came beside a message, a system call that it was not left.
const FOUND: [u64; 1] = [449];
/// Lies between two looks at the others.
const ROUNDS: u64 = 50;

#[test]
fn liars_bring_nothing_down() {
    let small = Small::with("pvx", &RULES, &[("r1", Nic::Vhost), ("r3", Nic::Veth)]).unwrap();
    small.host.portcullis(&["attach", "vhost-user", "u-r2", "--guest", "r2"]).unwrap();
    let socket = small.host.vhost_socket("u-r2");
    let engine = small.host.engine();
    // Something is to come into the queues that lie.
    let sender =
        small.space("r1").enter(|| UdpSocket::bind("10.1.0.11:0").map_err(Error::system("bind")));
    let sender = sender.unwrap();
    let time = if is_long() { TIME_LONG } else { TIME };
    let (begin, mut seeds, mut seed) = (Instant::now(), FOUND.into_iter().chain(0..), 0);
    while begin.elapsed() < time || seed < ROUNDS {
        for _ in 0..ROUNDS {
            seed = seeds.next().unwrap();
            let mut liar = Liar::new(seed).unwrap();
            liar.speak(&socket).unwrap();
            // A connection that comes before the last one is gone may be cut off with that.
            let _ = liar.drive(&socket);
            for _ in 0..4 {
                let _ = sender.send_to(&[7; 900], "10.1.0.12:7000");
            }
        }
        assert_eq!(small.host.engine(), engine, "seed {seed}");
        for (from, to, v6) in [("r1", "r3", false), ("r3", "r1", true)] {
            let reaches = Probe::Ping.reaches(small.space(from), small.address(to, v6)).unwrap();
            assert!(reaches, "{from} to {to}, seed {seed}");
        }
    }
    println!("{seed} front ends lied");
    // The next one is honest: nothing of before is left.
    let status = small.host.status().unwrap();
    let mut front = Front::connect(&socket, 0).unwrap();
    let question = Udp {
        from_mac: parse_mac(status.port("u-r2").unwrap()["mac"].as_str().unwrap()).unwrap(),
        to_mac: small.mac("r1"),
        from: "10.1.0.12".parse().unwrap(),
        to: small.address("r1", false),
        port: 7000,
        ttl: 64,
    };
    let _echo = UdpEcho::start(small.space("r1"), 7000).unwrap();
    let heard = (0..20).any(|_| {
        assert!(front.say(&question.frame(b"honest")));
        std::iter::from_fn(|| front.hear(100)).any(|frame| holds(&frame, b"honest"))
    });
    assert!(heard);
}
