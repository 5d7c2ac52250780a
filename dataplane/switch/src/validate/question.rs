//! Which packets the loaded program is asked about: somebody of every identity class as source
//! and as destination, every service class, every distinct row. Always the same for one image.

use std::{fmt, net::IpAddr};

use portcullis_image::Image;
use portcullis_pipeline::{
    layout::service_table,
    policy::Cell,
    wire::{ethernet, ipv4, ipv6, sctp, tcp, udp},
};

use super::{
    people::{self, Family, Person},
    purposes::{self, Purpose},
};

/// Most packets that are asked about. Each takes about 2 µs.
pub const MOST: usize = 2048;

/// A packet, and what the image says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    src: Person,
    dst: Person,
    purpose: Purpose,
    /// Verdict and shadow.
    pub expected: (Cell, Cell),
}

/// The questions for an image.
pub fn questions(image: &Image, host_addrs: &[IpAddr]) -> Vec<Question> {
    let people = people::find(image, host_addrs);
    let purposes = purposes::find(image);
    let mut all = Vec::new();
    for (family, v6) in people.iter().zip([false, true]) {
        let purposes: Vec<Purpose> = purposes.iter().copied().filter(|p| p.suits(v6)).collect();
        let asker = Asker { image, family, purposes: &purposes };
        asker.classes(&mut all);
        asker.services(&mut all);
        asker.rows(MOST / 2, &mut all);
    }
    thin(all, MOST)
}

/// Every k-th of them, so that at most so many are left.
fn thin(all: Vec<Question>, most: usize) -> Vec<Question> {
    let step = all.len().div_ceil(most).max(1);
    all.into_iter().step_by(step).collect()
}

/// Asks about one family.
struct Asker<'a> {
    image: &'a Image,
    family: &'a Family,
    purposes: &'a [Purpose],
}

impl Asker<'_> {
    /// Each class as source and as destination, for services in turn.
    fn classes(&self, all: &mut Vec<Question>) {
        let present: Vec<usize> =
            (0..self.family.len()).filter(|class| self.family[*class].is_some()).collect();
        for (at, class) in present.iter().enumerate() {
            let other = present[(at * 7 + 1) % present.len()];
            for (turn, (src, dst)) in [(*class, other), (other, *class)].into_iter().enumerate() {
                all.extend(self.ask(src, dst, 2 * at + turn));
            }
        }
    }

    /// Each service, for pairs in turn.
    fn services(&self, all: &mut Vec<Question>) {
        let present: Vec<usize> =
            (0..self.family.len()).filter(|class| self.family[*class].is_some()).collect();
        if present.is_empty() {
            return;
        }
        for turn in 0..self.purposes.len() {
            let src = present[turn % present.len()];
            let dst = present[(turn * 3 + 1) % present.len()];
            all.extend(self.ask(src, dst, turn));
        }
    }

    /// Each distinct row: about a service for which it says something, and about another one.
    fn rows(&self, most: usize, all: &mut Vec<Question>) {
        let mut seen = vec![false; self.image.cells.len() / self.image.services.max(1) as usize];
        let mut found = Vec::new();
        let classes = self.image.classes as usize;
        for (pair, row) in self.image.rows.iter().enumerate() {
            let (src, dst) = (pair / classes, pair % classes);
            if seen[*row as usize] || self.family[src].is_none() || self.family[dst].is_none() {
                continue;
            }
            seen[*row as usize] = true;
            let speaks =
                |purpose: &Purpose| self.cell(src, dst, purpose.service).0 != Cell::DEFAULT;
            let said = self.purposes.iter().position(speaks);
            found.extend(said.and_then(|at| self.ask(src, dst, at)));
            found.extend(self.ask(src, dst, pair));
        }
        all.extend(thin(found, most));
    }

    /// About the `turn`-th purpose.
    fn ask(&self, src: usize, dst: usize, turn: usize) -> Option<Question> {
        let purpose = *self.purposes.get(turn % self.purposes.len().max(1))?;
        let expected = self.cell(src, dst, purpose.service);
        let (src, dst) = (self.family[src]?, self.family[dst]?);
        // One packet stands in one network.
        let apart = src.scope != 0 && dst.scope != 0 && src.scope != dst.scope;
        (!apart).then_some(Question { src, dst, purpose, expected })
    }

    fn cell(&self, src: usize, dst: usize, service: u32) -> (Cell, Cell) {
        let image = self.image;
        let row = image.rows[src * image.classes as usize + dst];
        let at = (row * image.services + service) as usize;
        let cell = Cell(image.cells[at]);
        (cell, image.shadows.get(at).map_or(cell, |shadow| Cell(*shadow)))
    }
}

impl Question {
    /// The network in which its link-local addresses stand.
    pub fn network(&self) -> u32 {
        self.src.scope.max(self.dst.scope)
    }

    /// The frame: headers and nothing behind them.
    pub fn frame(&self) -> Vec<u8> {
        let transport = self.transport();
        let v6 = !self.src.addr.is_v4();
        let ethertype = if v6 { ethernet::IPV6 } else { ethernet::IPV4 };
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend(ethertype.to_be_bytes());
        let (src, dst) = (self.src.addr.octets(), self.dst.addr.octets());
        let (length, protocol) = (transport.len() as u16, self.purpose.protocol());
        if v6 {
            frame.extend([0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend([src, dst].concat());
            debug_assert_eq!(frame.len() as u32, ethernet::LEN + ipv6::LEN);
        } else {
            frame.extend([0x45, 0]);
            frame.extend((ipv4::LEN as u16 + length).to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend([&src[12..], &dst[12..]].concat());
            debug_assert_eq!(frame.len() as u32, ethernet::LEN + ipv4::LEN);
        }
        frame.extend(transport);
        frame
    }

    fn transport(&self) -> Vec<u8> {
        let Purpose { table, number, source, .. } = self.purpose;
        let [s, d] = [source.to_be_bytes(), number.to_be_bytes()];
        let mut bytes = vec![s[0], s[1], d[0], d[1]];
        match table {
            service_table::TCP => {
                bytes.resize(tcp::LEN as usize, 0);
                (bytes[12], bytes[13]) = (5 << 4, tcp::SYN);
            }
            service_table::UDP => {
                bytes.extend((udp::LEN as u16).to_be_bytes());
                bytes.resize(udp::LEN as usize, 0);
            }
            service_table::SCTP => bytes.resize(sctp::LEN as usize, 0),
            service_table::ICMP | service_table::ICMPV6 => {
                bytes = vec![d[0], d[1], 0, 0, 0, 1, 0, 1];
            }
            _ => bytes = vec![0; 8],
        }
        bytes
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Purpose { table, number, source, .. } = self.purpose;
        let (src, dst) = (IpAddr::from(self.src.addr), IpAddr::from(self.dst.addr));
        write!(f, "{src} to {dst}, ")?;
        match table {
            service_table::TCP => write!(f, "tcp/{number} from {source}"),
            service_table::UDP => write!(f, "udp/{number} from {source}"),
            service_table::SCTP => write!(f, "sctp/{number} from {source}"),
            service_table::ICMP => write!(f, "icmp/{}/{}", number >> 8, number & 0xff),
            service_table::ICMPV6 => write!(f, "icmpv6/{}/{}", number >> 8, number & 0xff),
            _ => write!(f, "proto/{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_questions_are_always_the_same_and_not_too_many() {
        let image = testing::image();
        let all = questions(&image, &[]);
        assert_eq!(all, questions(&image, &[]));
        assert!(all.len() >= 2 * image.classes as usize && all.len() <= MOST, "{}", all.len());
        for class in 0..image.classes as usize {
            let [v4, _] = people::find(&image, &[]);
            let person = v4[class].unwrap();
            assert!(all.iter().any(|q| q.src == person) && all.iter().any(|q| q.dst == person));
        }
    }

    #[test]
    fn frames_have_the_lengths_that_they_say() {
        for question in questions(&testing::image(), &[]) {
            let frame = question.frame();
            let v6 = frame[12..14] == ethernet::IPV6.to_be_bytes();
            let at = if v6 { 18 } else { 16 };
            let said = usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
            assert_eq!(frame.len(), said + if v6 { 54 } else { 14 }, "{question}");
        }
    }
}
