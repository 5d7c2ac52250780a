//! A packet's worth of every service class: protocol, destination number, source port.

use portcullis_image::Image;
use portcullis_pipeline::{
    layout::{SOURCE_TABLES, service_table},
    wire::{icmp, protocol},
};

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// Which of [`service_table`].
    pub table: u32,
    /// Destination port, ICMP type << 8 | code, or protocol.
    pub number: u16,
    /// Source port; 0 where there is none.
    pub source: u16,
    /// Its service class.
    pub service: u32,
}

impl Purpose {
    /// IP protocol.
    pub fn protocol(&self) -> u8 {
        match self.table {
            service_table::TCP => protocol::TCP,
            service_table::UDP => protocol::UDP,
            service_table::SCTP => protocol::SCTP,
            service_table::ICMP => protocol::ICMP,
            service_table::ICMPV6 => protocol::ICMPV6,
            _ => self.number as u8,
        }
    }

    /// Can it be asked about in this family?
    pub fn suits(&self, v6: bool) -> bool {
        match self.table {
            service_table::ICMP => !v6,
            service_table::ICMPV6 => v6,
            _ => true,
        }
    }
}

/// One for each class of each table.
pub fn find(image: &Image) -> Vec<Purpose> {
    let mut all = Vec::new();
    for (table, classes) in (0..).zip(&image.service_tables) {
        let numbers = firsts(&classes.class, |number| is_possible(table, number));
        let sources = match image.source_tables.get(table as usize) {
            Some(sources) if table < SOURCE_TABLES => firsts(&sources.class, |_| true),
            _ => vec![(0, 0)],
        };
        for (number, class) in numbers {
            let of_source = |(source, from): &(u16, u16)| Purpose {
                table,
                number,
                source: *source,
                service: u32::from(class) * image.sources + u32::from(*from),
            };
            all.extend(sources.iter().map(of_source));
        }
    }
    all
}

/// The first possible number of each class, with the class.
fn firsts(classes: &[u16], is_possible: impl Fn(u16) -> bool) -> Vec<(u16, u16)> {
    let mut seen = vec![false; usize::from(u16::MAX) + 1];
    let numbered = (0..=u16::MAX).zip(classes.iter().copied());
    let mut is_first = |(number, class): &(u16, u16)| {
        let seen = &mut seen[usize::from(*class)];
        let first = !*seen && is_possible(*number);
        *seen |= first;
        first
    };
    numbered.filter(|of| is_first(of)).collect()
}

/// Is there a packet with this number that is judged by it?
fn is_possible(table: u32, number: u16) -> bool {
    let kind = (number >> 8) as u8;
    match table {
        service_table::ICMP => {
            !matches!(kind, icmp::SOURCE_QUENCH | icmp::REDIRECT | icmp::ROUTER_ADVERTISEMENT)
        }
        service_table::PROTOCOL => u8::try_from(number).is_ok_and(|n| !has_own_rules(n)),
        _ => true,
    }
}

/// Protocols with a table of their own, and extension headers of IPv6.
const fn has_own_rules(number: u8) -> bool {
    matches!(
        number,
        protocol::TCP
            | protocol::UDP
            | protocol::SCTP
            | protocol::ICMP
            | protocol::ICMPV6
            | protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION
            | protocol::NO_NEXT
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn every_class_of_every_table_is_there() {
        let mut image = testing::image();
        (image.services, image.sources) = (6, 2);
        image.service_tables[0].class[443] = 1;
        image.service_tables[0].class[8443] = 1;
        image.service_tables[5].class[usize::from(protocol::TCP)] = 2;
        image.service_tables[5].class[47] = 2;
        image.source_tables = image.service_tables[1..4].to_vec();
        image.source_tables[0].class[1000..].fill(1);
        let all = find(&image);
        let tcp: Vec<_> = all.iter().filter(|p| p.table == service_table::TCP).collect();
        let of = |number, source, service| Purpose { table: 0, number, source, service };
        assert_eq!(tcp, [&of(0, 0, 0), &of(0, 1000, 1), &of(443, 0, 2), &of(443, 1000, 3)]);
        let other: Vec<_> = all.iter().filter(|p| p.table == service_table::PROTOCOL).collect();
        assert_eq!((other[1].number, other[1].service, other.len()), (47, 4, 2));
        assert!(all.iter().all(|p| p.service < image.services));
    }
}
