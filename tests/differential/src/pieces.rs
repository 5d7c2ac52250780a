//! Datagrams in fragments, in every order, honest and not; and the protocols without ports. On both
//! sides at once.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use portcullis_pipeline::{DropReason, Verdict, fragment::LIFETIME};
use portcullis_policy::generate::NOW_UNIX_S;

use crate::{
    clock,
    frames::{self, Frame},
    stories::{ANN, BOB, EXPIRED, NO_RULE, Story, passes, tell},
};

const RULES: &str = "
rules:
  - { name: ends, allow: { from: ann, to: bob, for: udp/9000 }, until: 90m }
  - { name: talk, allow: { from: ann, to: bob, for: [udp/53, sctp/2905, proto/47, proto/50, ping] } }
";

/// The same story in both families.
fn in_both(story: fn(&mut Story) -> Result<()>) {
    let networks = [("10.1.0.0/24", "10.1.0.1", "10.1.0.2"), ("fd01::/64", "fd01::1", "fd01::2")];
    for (subnet, ann, bob) in networks {
        let text = format!(
            "networks: {{ lan: {{ vlan: 10, subnets: ['{subnet}'] }} }}\nguests:\n  \
             ann: {{ network: lan, ip: '{ann}' }}\n  bob: {{ network: lan, ip: '{bob}' }}{RULES}"
        );
        tell(move || story(&mut Story::of(&text, 0)?).context(subnet));
    }
}

const UDP: u8 = 17;
const TINY: Verdict = Verdict::Drop(DropReason::FragmentTiny);
const OVERLAP: Verdict = Verdict::Drop(DropReason::FragmentOverlap);
const ENDLESS: Verdict = Verdict::Drop(DropReason::FragmentEndless);
const ORPHAN: Verdict = Verdict::Drop(DropReason::FragmentOrphan);
const MALFORMED: Verdict = Verdict::Drop(DropReason::Fragment);

/// Octets of a datagram: its pieces are of 400 but for the last.
const WHOLE: usize = 1_700;
const PIECES: [Range<usize>; 5] = [0..400, 400..800, 800..1200, 1200..1600, 1600..WHOLE];

impl Story {
    /// Octets of a datagram of Ann's to a port of Bob's.
    fn piece(&mut self, port: u16, id: u32, octets: Range<usize>, more: bool) -> Result<Verdict> {
        let whole = frames::udp(4000, port, 70_000 - 8);
        let mut frame = self.frame(ANN, UDP, whole[octets.clone()].to_vec());
        if octets.start == 0 && octets.end >= 8 {
            frame.payload[4..6].copy_from_slice(&(WHOLE as u16).to_be_bytes());
        }
        frame.fragment = Some(((octets.start / 8) as u16, more, id));
        frame.keep_whole = false;
        let ifindex = self.world.ports[ANN].ifindex;
        self.send(frame.bytes(), ifindex)?.context("the kernel takes a fragment")
    }

    fn pieces(&mut self, port: u16, id: u32, order: &[usize]) -> Result<Vec<Verdict>> {
        let piece = |at: &usize| self.piece(port, id, PIECES[*at].clone(), *at != 4);
        order.iter().map(piece).collect()
    }

    /// A packet of a protocol without ports.
    fn bare(&mut self, from: usize, protocol: u8) -> Result<Verdict> {
        let payload = if protocol == 132 { frames::sctp(2905, 2905) } else { vec![0x64; 24] };
        let frame = self.frame(from, protocol, payload).bytes();
        let ifindex = self.world.ports[from].ifindex;
        self.send(frame, ifindex)?.context("the kernel takes it")
    }
}

impl Story {
    /// An error of Bob's, that a packet is too big, about this one of Ann's.
    fn too_big_for(&mut self, quoted: &Frame) -> Result<Verdict> {
        let v6 = quoted.src.is_ipv6();
        let (kind, code) = if v6 { (2, 0) } else { (3, 4) };
        let error = frames::icmp(kind, code, [0, 0, 5, 0], &quoted.bytes()[14..]);
        let frame = self.frame(BOB, if v6 { 58 } else { 1 }, error).bytes();
        let ifindex = self.world.ports[BOB].ifindex;
        self.send(frame, ifindex)?.context("the kernel takes an ICMP error")
    }
}

/// Every order of so many.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(n - 1).into_iter();
    shorter
        .flat_map(|order| {
            (0..n).map(move |at| {
                let mut order = order.clone();
                order.insert(at, n - 1);
                order
            })
        })
        .collect()
}

#[test]
fn fragments_pass_in_every_order_once_one_datagram_has() {
    in_both(|s| {
        ensure!(s.pieces(53, 1, &[4, 2])? == [ORPHAN, ORPHAN], "nothing came before");
        ensure!(s.pieces(53, 2, &[0, 1, 2, 3, 4])?.iter().all(passes));
        for (at, order) in orders(5).iter().enumerate() {
            let verdicts = s.pieces(53, 100 + at as u32, order)?;
            ensure!(verdicts.iter().all(passes), "{order:?}: {verdicts:?}");
        }
        // Numbers come again: at once after a datagram that was whole.
        ensure!(s.pieces(53, 100, &[4, 0, 2, 1, 3])?.iter().all(passes));
        // Later, after one that was not.
        ensure!(s.pieces(53, 7, &[0, 1])?.iter().all(passes));
        s.at(clock::START + LIFETIME - 1)?;
        ensure!(s.pieces(53, 7, &[0])? == [OVERLAP]);
        s.at(clock::START + LIFETIME)?;
        ensure!(s.pieces(53, 7, &[0, 1, 4, 3, 2])?.iter().all(passes));
        // What was long ago speaks for nobody.
        s.at(clock::START + 2 * LIFETIME)?;
        ensure!(s.pieces(53, 8, &[1])? == [ORPHAN]);
        Ok(())
    });
}

#[test]
fn a_datagram_that_is_refused_is_never_whole() {
    in_both(|s| {
        ensure!(s.pieces(54, 1, &[0, 1, 4])? == [NO_RULE, ORPHAN, ORPHAN]);
        ensure!(s.pieces(53, 2, &[0, 1, 2, 3, 4])?.iter().all(passes));
        // The later ones may pass for those of an allowed one; the first, which they need, does not.
        for order in orders(5) {
            let id = 1000 + order.iter().fold(0, |id, at| id * 5 + *at as u32);
            let verdicts = s.pieces(54, id, &order)?;
            for (at, verdict) in order.iter().zip(verdicts) {
                ensure!((*at == 0) == (verdict == NO_RULE), "{order:?}: {at} {verdict:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn fragments_end_with_the_rule_that_allows_them() {
    in_both(|s| {
        let end = clock::end(NOW_UNIX_S + 90 * 60);
        s.at(end - 1)?;
        ensure!(s.pieces(9000, 1, &[0, 1])?.iter().all(passes));
        ensure!(s.pieces(9000, 2, &[3])?.iter().all(passes), "for the connection before");
        s.next_generation(3)?;
        ensure!(s.pieces(9000, 1, &[2])?.iter().all(passes));
        s.at(end)?;
        ensure!(s.pieces(9000, 1, &[3, 4])? == [EXPIRED, EXPIRED]);
        ensure!(s.pieces(9000, 2, &[4, 0])? == [EXPIRED, EXPIRED]);
        s.next_generation(4)?;
        ensure!(s.pieces(9000, 1, &[4])? == [EXPIRED]);
        Ok(())
    });
}

#[test]
fn what_comes_twice_does_not_pass() {
    in_both(|s| {
        ensure!(s.pieces(53, 1, &[0, 2])?.iter().all(passes));
        // The same, a part of it, across its ends, around it, and over both.
        for octets in [0..400, 40..80, 360..408, 760..808, 1160..1208, 400..808, 40..2000] {
            let verdict = s.piece(53, 1, octets.clone(), true)?;
            ensure!(verdict == OVERLAP, "{octets:?}: {verdict:?}");
        }
        // A later one that comes before the first, and reaches into it.
        ensure!(passes(&s.piece(53, 2, 200..400, true)?));
        ensure!(s.piece(53, 2, 0..400, true)? == OVERLAP);
        // Into the headers, whatever came before.
        for start in [8, 32] {
            ensure!(s.piece(53, 3, start..400, true)? == OVERLAP);
        }
        Ok(())
    });
}

#[test]
fn nothing_is_behind_the_end() {
    in_both(|s| {
        ensure!(s.pieces(53, 1, &[0, 4])?.iter().all(passes));
        ensure!(s.piece(53, 1, 1704..2104, true)? == ENDLESS);
        ensure!(s.piece(53, 1, 1600..1720, false)? == ENDLESS);
        // Before the end of what has come.
        ensure!(s.pieces(53, 2, &[0, 3])?.iter().all(passes));
        ensure!(s.piece(53, 2, 800..1000, false)? == ENDLESS);
        // No datagram has more than 65,535 octets (RFC 791, section 3.1).
        ensure!(s.piece(53, 3, 65_512..65_552, true)? == ENDLESS);
        ensure!(passes(&s.piece(53, 3, 65_496..65_535, false)?));
        Ok(())
    });
}

#[test]
fn small_and_odd_ones_do_not_pass() {
    in_both(|s| {
        ensure!(s.pieces(53, 1, &[0])?.iter().all(passes));
        for octets in [0..8, 0..32, 400..408, 800..832] {
            let verdict = s.piece(53, 2, octets.clone(), true)?;
            ensure!(verdict == TINY, "{octets:?}: {verdict:?}");
        }
        for octets in [400..400, 400..450] {
            let verdict = s.piece(53, 2, octets.clone(), true)?;
            ensure!(verdict == MALFORMED, "{octets:?}: {verdict:?}");
        }
        // The last one may be as small as it is.
        ensure!(passes(&s.piece(53, 1, 400..401, false)?));
        // An atomic fragment (RFC 6946) is a packet, whatever others have its number.
        ensure!(passes(&s.piece(53, 1, 0..WHOLE, false)?));
        ensure!(passes(&s.piece(53, 1, 0..WHOLE, false)?));
        Ok(())
    });
}

#[test]
fn errors_are_about_what_was_sent() {
    in_both(|s| {
        let unrelated = Verdict::Drop(DropReason::UnrelatedError);
        let datagram = s.frame(ANN, UDP, frames::udp(4000, 53, 600));
        ensure!(s.too_big_for(&datagram)? == unrelated, "nothing was sent");
        ensure!(s.pieces(53, 1, &[0, 1])?.iter().all(passes));
        ensure!(passes(&s.too_big_for(&datagram)?));
        // About a first fragment as well; the others do not say whose they are.
        let first = Frame { fragment: Some((0, true, 1)), ..datagram.clone() };
        ensure!(passes(&s.too_big_for(&first)?));
        let later = Frame { fragment: Some((50, true, 1)), ..datagram.clone() };
        ensure!(s.too_big_for(&later)? == unrelated);
        // Another port, and a packet that its receiver never sent.
        let other = s.frame(ANN, UDP, frames::udp(4000, 54, 600));
        ensure!(s.too_big_for(&other)? == unrelated);
        let backwards = s.frame(BOB, UDP, frames::udp(53, 4000, 600));
        ensure!(s.too_big_for(&backwards)? == unrelated);
        Ok(())
    });
}

#[test]
fn protocols_without_ports_are_pairs() {
    in_both(|s| {
        const NO_ANSWER_MS: u64 = 60_000;
        for protocol in [47, 50, 132] {
            ensure!(s.bare(BOB, protocol)? == NO_RULE, "{protocol}");
            ensure!(passes(&s.bare(ANN, protocol)?) && passes(&s.bare(BOB, protocol)?));
        }
        // Idle times: longer once there are answers.
        s.at(clock::START + NO_ANSWER_MS + 1)?;
        for protocol in [47, 50, 132] {
            ensure!(passes(&s.bare(BOB, protocol)?), "{protocol}");
        }
        s.at(clock::START + 12 * NO_ANSWER_MS)?;
        for protocol in [47, 50, 132] {
            ensure!(s.bare(BOB, protocol)? == NO_RULE, "{protocol}");
            ensure!(passes(&s.bare(ANN, protocol)?));
        }
        s.at(clock::START + 13 * NO_ANSWER_MS + 1)?;
        ensure!(s.bare(BOB, 47)? == NO_RULE, "it was never answered");
        Ok(())
    });
}
