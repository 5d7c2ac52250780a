//! What a connection is for, as people know it: of many possible services the best known.

use std::collections::HashMap;

use crate::{
    Compiled,
    catalogue::{self, CATALOGUE},
    model::{Ports, Protocol, Purpose},
};

/// Services that everybody knows come first.
const KNOWN: &[&str] = &[
    "ssh",
    "https",
    "http",
    "smb",
    "nfs",
    "rdp",
    "dns",
    "smtp",
    "postgresql",
    "mysql",
    "ping",
    "ntp",
    "telnet",
    "vnc",
    "ldap",
    "imap",
];

/// More than the parts of any service: the first part of a service is the one to show.
const PARTS: usize = 64;

/// Well-known numbers by destination class, the best known first.
pub struct Purposes<'a> {
    compiled: &'a Compiled,
    examples: Vec<Vec<Purpose>>,
    known: HashMap<u32, Vec<(usize, Protocol, u16)>>,
}

impl<'a> Purposes<'a> {
    pub fn new(compiled: &'a Compiled) -> Self {
        let image = &compiled.image;
        let mut known: HashMap<u32, Vec<(usize, Protocol, u16)>> = HashMap::new();
        let others = CATALOGUE.iter().map(|(name, _)| *name).filter(|n| !KNOWN.contains(n));
        for (rank, name) in KNOWN.iter().copied().chain(others).enumerate() {
            let ports = catalogue::find(name).unwrap_or_default();
            for (i, ports) in ports.iter().enumerate().filter(|(_, p)| is_small(p)) {
                let table = &image.service_tables[ports.protocol.table() as usize];
                let class = u32::from(table.class[usize::from(ports.first)]);
                known.entry(class).or_default().push((
                    rank * PARTS + i,
                    ports.protocol,
                    ports.first,
                ));
            }
        }
        Self { compiled, examples: compiled.build.services.examples(), known }
    }

    /// The best known connection of some service classes, and its class.
    pub fn best(
        &self,
        services: &[u32],
        fits: impl Fn(Protocol) -> bool,
    ) -> Option<(u32, Purpose)> {
        let each = services.iter().flat_map(|&s| self.of_class(s).map(move |(r, p)| (r, s, p)));
        let best = each.filter(|(_, _, p)| fits(p.protocol)).min_by_key(|&(r, _, p)| (r, p));
        best.map(|(_, service, purpose)| (service, purpose))
    }

    /// Well-known ones with a rank, then any.
    fn of_class(&self, service: u32) -> impl Iterator<Item = (usize, Purpose)> + '_ {
        let examples = &self.examples[service as usize];
        let known = self.known.get(&(service / self.compiled.image.sources));
        let known = known.into_iter().flatten().filter_map(move |&(rank, protocol, number)| {
            let like = examples.iter().find(|e| e.protocol == protocol)?;
            Some((rank, Purpose { protocol, number, source: like.source }))
        });
        known.chain(examples.iter().map(|e| (usize::MAX, *e)))
    }
}

fn is_small(ports: &Ports) -> bool {
    ports.last - ports.first < 16 || !ports.protocol.has_ports()
}

/// The name of the smallest service of the catalogue that a connection is for.
pub fn name_of(purpose: Purpose) -> Option<&'static str> {
    let covers =
        |p: &Ports| p.protocol == purpose.protocol && (p.first..=p.last).contains(&purpose.number);
    let size =
        |ports: &[Ports]| -> u32 { ports.iter().map(|p| u32::from(p.last - p.first) + 1).sum() };
    let all = CATALOGUE.iter().filter_map(|(name, _)| Some((*name, catalogue::find(name)?)));
    let about = all.filter(|(_, ports)| ports.iter().any(covers) && size(ports) <= 256);
    let rank = |name: &str| KNOWN.iter().position(|k| *k == name).unwrap_or(KNOWN.len());
    about.min_by_key(|(name, ports)| (rank(name), size(ports))).map(|(name, _)| name)
}

/// `tcp/445 (smb)`, `tcp/8000`, `tcp/2049 from 700 (nfs)`.
pub fn show(purpose: Purpose) -> String {
    let usual = Purpose::new(purpose.protocol, purpose.number).source == purpose.source;
    let number = crate::service::show_number(purpose.protocol, purpose.number);
    let from = if usual { String::new() } else { format!(" from {}", purpose.source) };
    let name = name_of(purpose).map_or_else(String::new, |name| format!(" ({name})"));
    format!("{number}{from}{name}")
}
