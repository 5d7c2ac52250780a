//! Sets of services as rectangles of numbers and source ports.

use portcullis_policy::model::{Ports, Protocol, Sources16};

/// Every service.
pub fn any() -> Vec<Ports> {
    Protocol::ALL.map(Ports::all).to_vec()
}

/// All of an IP protocol.
pub fn of_protocol(number: u8) -> Ports {
    match table(number) {
        Some(protocol) => Ports::all(protocol),
        None => Ports::range(Protocol::Proto, number.into(), number.into()),
    }
}

/// All of every other IP protocol.
pub fn not_protocol(number: u8) -> Vec<Ports> {
    match table(number) {
        Some(own) => Protocol::ALL.into_iter().filter(|p| *p != own).map(Ports::all).collect(),
        None => {
            let others = Protocol::ALL.into_iter().filter(|p| *p != Protocol::Proto);
            let bare = outside(&[(number.into(), number.into())]).into_iter();
            let bare = bare.map(|(first, last)| Ports::range(Protocol::Proto, first, last));
            others.map(Ports::all).chain(bare).collect()
        }
    }
}

/// The table of an IP protocol's own numbers.
pub fn table(number: u8) -> Option<Protocol> {
    match number {
        1 => Some(Protocol::Icmp),
        6 => Some(Protocol::Tcp),
        17 => Some(Protocol::Udp),
        58 => Some(Protocol::Icmpv6),
        132 => Some(Protocol::Sctp),
        _ => None,
    }
}

/// What is in both.
pub fn and(a: &[Ports], b: &[Ports]) -> Vec<Ports> {
    let both = |a: &Ports, b: &Ports| {
        let (first, last) = (a.first.max(b.first), a.last.min(b.last));
        let source = Sources16 {
            first: a.source.first.max(b.source.first),
            last: a.source.last.min(b.source.last),
        };
        let fits = a.protocol == b.protocol && first <= last && source.first <= source.last;
        fits.then_some(Ports { protocol: a.protocol, first, last, source })
    };
    a.iter().flat_map(|a| b.iter().filter_map(move |b| both(a, b))).collect()
}

/// Those to some destination ports (or ICMP types and codes), of every protocol that has any.
pub fn to_ports(ranges: &[(u16, u16)]) -> Vec<Ports> {
    let with_ports = Protocol::ALL.into_iter().filter(|p| p.has_ports());
    with_ports.flat_map(|p| ranges.iter().map(move |&(a, b)| Ports::range(p, a, b))).collect()
}

/// Those from some source ports.
pub fn from_ports(ranges: &[(u16, u16)]) -> Vec<Ports> {
    let with_ports = Protocol::ALL.into_iter().filter(|p| p.has_ports());
    let from = |p, (first, last)| Ports { source: Sources16 { first, last }, ..Ports::all(p) };
    with_ports.flat_map(|p| ranges.iter().map(move |&r| from(p, r))).collect()
}

/// Some ICMP type and code of a family; nothing: all of them.
pub fn icmp(v6: bool, kind: Option<u8>, code: Option<u8>) -> Ports {
    let protocol = if v6 { Protocol::Icmpv6 } else { Protocol::Icmp };
    let (first, last) = icmp_range(kind, code);
    Ports::range(protocol, first, last)
}

/// The numbers of an ICMP type and code.
pub fn icmp_range(kind: Option<u8>, code: Option<u8>) -> (u16, u16) {
    match (kind.map(u16::from), code.map(u16::from)) {
        (None, _) => (0, u16::MAX),
        (Some(kind), None) => (kind << 8, kind << 8 | 0xff),
        (Some(kind), Some(code)) => (kind << 8 | code, kind << 8 | code),
    }
}

/// The numbers outside of some ranges.
pub fn outside(ranges: &[(u16, u16)]) -> Vec<(u16, u16)> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut gaps = Vec::new();
    let mut next = Some(0u16);
    for (first, last) in sorted {
        if let Some(start) = next.filter(|&start| start < first) {
            gaps.push((start, first - 1));
        }
        next = next.and_then(|start| last.checked_add(1).map(|after| after.max(start)));
    }
    gaps.extend(next.map(|start| (start, u16::MAX)));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_is_left() {
        assert_eq!(outside(&[]), [(0, u16::MAX)]);
        assert_eq!(outside(&[(0, u16::MAX)]), []);
        assert_eq!(outside(&[(80, 90), (85, 100), (22, 22)]), [(0, 21), (23, 79), (101, u16::MAX)]);
        assert_eq!(outside(&[(10, u16::MAX), (20, 30)]), [(0, 9)]);
    }

    #[test]
    fn a_protocol_and_its_complement_are_everything() {
        for number in [6, 47, 58] {
            let mut all = not_protocol(number);
            assert!(and(&all, &[of_protocol(number)]).is_empty());
            all.push(of_protocol(number));
            assert!(all.len() >= 6);
        }
    }
}
