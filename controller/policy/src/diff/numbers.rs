//! All numbers and source ports, cut into pieces that none of several policies tells apart.

use std::collections::HashMap;

use super::bits::Bits;
use crate::{
    Compiled,
    model::{Ports, Protocol, Purpose, Sources16},
};

/// The joint service classes of several policies.
pub struct Numbers<const N: usize> {
    /// Service class of each joint class in each policy.
    pub classes: Vec<[u32; N]>,
    /// The pieces of each protocol, by first number, then by first source port.
    pub pieces: Vec<Piece>,
    /// The joint classes whose connections are IPv4's only, IPv6's only, and either's.
    pub v4: Bits,
    pub v6: Bits,
    pub either: Bits,
}

/// Numbers of one protocol.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Which numbers and source ports.
    pub ports: Ports,
    /// Their joint class.
    pub class: usize,
}

/// A run of numbers with one class in each policy.
#[derive(Clone, Copy)]
struct Run<const N: usize> {
    first: u16,
    last: u16,
    classes: [u16; N],
}

impl<const N: usize> Numbers<N> {
    /// Cuts all numbers along everything that some policy tells apart.
    pub fn new(policies: [&Compiled; N]) -> Self {
        let images = policies.map(|p| &p.image);
        let mut ids: HashMap<(u8, [u32; N]), usize> = HashMap::new();
        let mut classes = Vec::new();
        let mut pieces = Vec::new();
        for protocol in Protocol::ALL {
            let table = protocol.table() as usize;
            // There are 256 IP protocols; the numbers behind them are never looked up.
            let end = if protocol == Protocol::Proto { 255 } else { u16::MAX };
            let numbers = runs(end, |n| images.map(|i| i.service_tables[table].class[n]));
            let sources =
                |n: usize| images.map(|i| i.source_tables.get(table).map_or(0, |t| t.class[n]));
            let whole = [Run { first: 0, last: u16::MAX, classes: [0; N] }];
            let sources =
                if protocol.has_ports() { runs(u16::MAX, sources) } else { whole.to_vec() };
            for number in &numbers {
                for source in &sources {
                    let of = |k: usize| {
                        let of_number = u32::from(number.classes[k]) * images[k].sources;
                        of_number + u32::from(source.classes[k])
                    };
                    let key = (family(protocol), std::array::from_fn(of));
                    let class = *ids.entry(key).or_insert_with(|| {
                        classes.push(key);
                        classes.len() - 1
                    });
                    let Run { first, last, .. } = *number;
                    let source = Sources16 { first: source.first, last: source.last };
                    pieces.push(Piece { ports: Ports { protocol, first, last, source }, class });
                }
            }
        }
        let which = |wanted: u8| Bits::which(classes.len(), |i| classes[i].0 == wanted);
        let (either, v4, v6) = (which(0), which(4), which(6));
        Self { classes: classes.into_iter().map(|c| c.1).collect(), pieces, v4, v6, either }
    }

    /// How many joint classes there are.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// No class.
    pub fn none(&self) -> Bits {
        Bits::none(self.len())
    }

    /// One connection of a class, from a source port as clients have it where that is possible.
    pub fn example(&self, class: usize) -> Option<Purpose> {
        let of_class = self.pieces.iter().filter(|p| p.class == class);
        let best = of_class
            .min_by_key(|p| !holds(&p.ports, Purpose::new(p.ports.protocol, p.ports.first)))?;
        let Ports { protocol, first, last, source } = best.ports;
        // Nobody means port 0.
        let number = if first == 0 && last > 0 && protocol.has_ports() { 1 } else { first };
        let usual = Purpose::new(protocol, number);
        Some(Purpose { source: usual.source.clamp(source.first, source.last), ..usual })
    }
}

/// Do these numbers hold a connection?
pub fn holds(ports: &Ports, purpose: Purpose) -> bool {
    let Purpose { protocol, number, source } = purpose;
    ports.protocol == protocol
        && (ports.first..=ports.last).contains(&number)
        && (!protocol.has_ports() || (ports.source.first..=ports.source.last).contains(&source))
}

fn family(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Icmp => 4,
        Protocol::Icmpv6 => 6,
        _ => 0,
    }
}

fn runs<const N: usize>(end: u16, classes: impl Fn(usize) -> [u16; N]) -> Vec<Run<N>> {
    let mut runs: Vec<Run<N>> = Vec::new();
    for n in 0..=end {
        let classes = classes(usize::from(n));
        match runs.last_mut() {
            Some(run) if run.classes == classes => run.last = n,
            _ => runs.push(Run { first: n, last: n, classes }),
        }
    }
    runs
}
