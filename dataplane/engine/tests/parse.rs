//! Whatever bytes come in: the parser does not panic and does not point behind the frame, and what
//! it makes of what it accepts is what an independent parser makes of the same bytes. The seed is
//! fixed; `PORTCULLIS_TEST_LONG` tries thirty times as much.

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use portcullis_engine::Buffer;
use portcullis_pipeline::{
    addr::Addr,
    frame::Frame,
    parse::{self, Fragment},
    wire::{ethernet, protocol},
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

const CASES: u32 = 300_000;
const CASES_LONG: u32 = 30 * CASES;
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const V4: [[u8; 4]; 2] = [[10, 1, 0, 11], [10, 1, 0, 12]];
const V6: [[u8; 16]; 2] = {
    let mut both = [[0xfd; 16]; 2];
    both[1][15] = 2;
    both
};
const IP_AT: usize = ethernet::LEN as usize;

/// Honest frames, from which the others are made.
fn seeds() -> Vec<Vec<u8>> {
    let ethernet = || PacketBuilder::ethernet2(MACS[0], MACS[1]);
    let mut frames = Vec::new();
    let mut frame = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        write(&mut bytes);
        frames.push(bytes);
    };
    let payload = [0x5a; 48];
    frame(&|to| ethernet().ipv4(V4[0], V4[1], 64).udp(53, 4000).write(to, &payload).unwrap());
    frame(&|to| {
        ethernet().ipv4(V4[0], V4[1], 64).tcp(80, 4000, 7, 9).ack(1).write(to, &payload).unwrap();
    });
    frame(&|to| {
        ethernet().ipv4(V4[0], V4[1], 64).icmpv4_echo_request(3, 4).write(to, &payload).unwrap();
    });
    frame(&|to| ethernet().ipv6(V6[0], V6[1], 64).udp(53, 4000).write(to, &payload).unwrap());
    frame(&|to| {
        ethernet().ipv6(V6[0], V6[1], 64).tcp(80, 4000, 7, 9).ack(1).write(to, &payload).unwrap();
    });
    frame(&|to| {
        ethernet().ipv6(V6[0], V6[1], 64).icmpv6_echo_request(3, 4).write(to, &payload).unwrap();
    });
    // Extension headers: options, a fragment's, both.
    let udp = frames[3].clone();
    let options = [0, 1, 4, 0, 0, 0, 0];
    let fragment = extended(&udp, protocol::FRAGMENT, [0, 0, 0, 0, 0, 0, 9]);
    frames.push(extended(&udp, protocol::HOP_BY_HOP, options));
    frames.push(extended(&fragment, protocol::DESTINATION, options));
    frames.push(fragment);
    // A tag.
    let mut tagged = frames[0].clone();
    tagged.splice(12..12, [0x81, 0, 0, 10]);
    frames.push(tagged);
    frames
}

/// The IPv6 frame with one extension header more, in front of what it has.
fn extended(frame: &[u8], kind: u8, rest: [u8; 7]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let next = std::mem::replace(&mut frame[IP_AT + 6], kind);
    let length = u16::from_be_bytes([frame[IP_AT + 4], frame[IP_AT + 5]]) + 8;
    frame[IP_AT + 4..IP_AT + 6].copy_from_slice(&length.to_be_bytes());
    frame.splice(IP_AT + 40..IP_AT + 40, [next].into_iter().chain(rest));
    frame
}

/// A frame, bytes of it replaced (most of them in the headers), and where it is cut.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        any::<u8>(),
        prop::sample::select(vec![0, 1, 4, 5, 6, 0x0f, 0x45, 0x46, 0x4f, 0x60, 0x80, 0xff]),
        prop::sample::select(vec![0, 6, 17, 43, 44, 50, 51, 58, 60, 132]),
    ];
    let edits = prop::collection::vec((0_usize..96, value), 0..6);
    let cut = prop_oneof![3 => Just(usize::MAX), 1 => 0_usize..130];
    (prop::sample::select(seeds()), edits, cut).prop_map(|(mut frame, edits, cut)| {
        for (at, value) in edits {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        frame.truncate(cut);
        frame
    })
}

/// Parses a frame as the pipeline does; true if it could be compared with the other parser's view.
fn check(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let mut frame = Buffer::new(bytes.to_vec());
    let Ok(link) = parse::link(&frame) else { return Ok(false) };
    if link.tagged {
        prop_assert!(frame.pop_tag());
    }
    let v6 = link.ethertype == ethernet::IPV6;
    if !v6 && link.ethertype != ethernet::IPV4 {
        return Ok(false);
    }
    // What an error quotes may be cut anywhere.
    let _ = parse::ip(&frame, ethernet::LEN, v6, true).map(|ip| parse::quoted(&frame, &ip));
    let Ok(ip) = parse::ip(&frame, ethernet::LEN, v6, false) else { return Ok(false) };
    prop_assert!(ip.l4 + ip.rest <= frame.length(), "{ip:?} in {} bytes", frame.length());
    let Ok(transport) = parse::transport(&frame, &ip) else { return Ok(false) };
    let Ok(other) = SlicedPacket::from_ethernet(frame.bytes()) else { return Ok(false) };
    let ends = match &other.net {
        Some(NetSlice::Ipv4(ip)) => [ip.header().source(), ip.header().destination()].map(Addr::v4),
        Some(NetSlice::Ipv6(ip)) => [ip.header().source(), ip.header().destination()].map(Addr::v6),
        _ => return Ok(false),
    };
    prop_assert_eq!([ip.src, ip.dst], ends);
    let ports = match &other.transport {
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        _ => return Ok(false),
    };
    prop_assert_eq!(ip.fragment, Fragment::Whole);
    prop_assert_eq!((transport.sport(), transport.dport()), ports);
    Ok(true)
}

#[test]
fn what_is_accepted_is_what_another_parser_reads() {
    let long = std::env::var_os("PORTCULLIS_TEST_LONG").is_some();
    let cases = if long { CASES_LONG } else { CASES };
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let compared = std::cell::Cell::new(0_u32);
    let run = TestRunner::new_with_rng(config, rng).run(&frames(), |bytes| {
        if check(&bytes)? {
            compared.set(compared.get() + 1);
        }
        Ok(())
    });
    run.unwrap();
    println!("{} of {cases} frames compared", compared.get());
    assert!(compared.get() > cases / 20, "only {} of {cases}", compared.get());
}

#[test]
fn honest_frames_are_accepted() {
    for frame in seeds() {
        let mut buffer = Buffer::new(frame);
        let link = parse::link(&buffer).unwrap();
        if link.tagged {
            assert!(buffer.pop_tag());
        }
        let v6 = link.ethertype == ethernet::IPV6;
        let ip = parse::ip(&buffer, ethernet::LEN, v6, false).unwrap();
        parse::transport(&buffer, &ip).unwrap();
    }
}
