//! Does the decision function of a slot agree with the image, over all classes? Every declared
//! address, every prefix, every number of every service, every pair of classes.

use std::{collections::BTreeMap, fmt::Debug, net::IpAddr};

use portcullis_image::{Image, Shared};
use portcullis_pipeline::{
    addr::Addr,
    layout::{AddressEntry, RuleEntry, SOURCE_TABLES, port_kind, sharer_scope},
    policy::Cell,
};

use super::{
    difference::{Difference, Judgement},
    held::Held,
};
use crate::{
    maps::name,
    slot::{self, Tables},
};

type Outcome = Result<(), Difference>;

/// What a slot is to hold.
pub struct Wanted<'a> {
    /// The compiled policy.
    pub image: &'a Image,
    /// What depends on ports.
    pub tables: &'a Tables,
    /// Ends and rates of the rules.
    pub rules: &'a [RuleEntry],
    /// Addresses that the host owns, whatever the policy says.
    pub host_addrs: &'a [IpAddr],
    /// Number of the generation.
    pub generation: u32,
    /// The bank of its denied sets, which was compared when it was written.
    pub bank: u32,
}

impl Wanted<'_> {
    /// The first difference, if there is one.
    pub fn agrees(&self, held: &Held) -> Outcome {
        let shape = slot::shape(self.image, self.generation, self.bank);
        entry(name::GENERATIONS, "this slot", &shape, &held.shape)?;
        self.entries(held)?;
        self.classes(held)?;
        self.services(held)?;
        self.verdicts(held)?;
        self.rules(held)
    }

    /// The tables that say where things are.
    fn entries(&self, held: &Held) -> Outcome {
        let (wanted, got) = (self.tables, &held.tables);
        same(name::PORTS, &wanted.ports, &got.ports)?;
        same(name::SUBPORTS, &wanted.subports, &got.subports)?;
        same(name::NETWORKS, &wanted.networks, &got.networks)?;
        same(name::VLANS, &wanted.vlans, &got.vlans)?;
        same(name::MEMBERS, &wanted.members, &got.members)?;
        same(name::NOTICES, &wanted.notices, &got.notices)?;
        same(name::ADDRESSES, &wanted.addresses, &got.addresses)?;
        same(name::PREFIXES, &wanted.prefixes, &got.prefixes)
    }

    /// Identity classes, straight from the image: of all that it declares, and of nothing else.
    fn classes(&self, held: &Held) -> Outcome {
        let image = self.image;
        let host: Vec<Addr> = self.host_addrs.iter().map(|addr| Addr::from(*addr)).collect();
        for known in &image.addresses {
            class(known.addr, known.class, held.class(known.addr, known.scope))?;
        }
        for addr in &host {
            let declared = image.addresses.binary_search_by_key(&(*addr, 0), |a| (a.addr, a.scope));
            if declared.is_err() && !addr.is_link_local_v6() {
                class(*addr, image.host, held.class(*addr, 0))?;
            }
        }
        for prefix in &image.prefixes {
            let got = held.tables.prefixes.get(&(prefix.addr, prefix.len));
            class(prefix.addr, prefix.class, got.map_or(u32::MAX, |entry| entry.class))?;
        }
        self.nothing_else(held, &host)
    }

    /// What is loaded beyond the image's own addresses is the host's, follows from a MAC, or says
    /// who may hold a shared address.
    fn nothing_else(&self, held: &Held, host: &[Addr]) -> Outcome {
        let addresses = &self.image.addresses;
        let declared = |addr: Addr, scope: u32| {
            addresses.binary_search_by_key(&(addr, scope), |a| (a.addr, a.scope)).is_ok()
        };
        for ((addr, scope), got) in &held.tables.addresses {
            let known = declared(*addr, *scope)
                || addr.is_link_local_v6()
                || (host.contains(addr) && got.kind == port_kind::HOST)
                || self.image.host_addresses.contains(addr)
                || self.may_hold(*addr, *scope, got);
            if !known {
                return Err(surplus(name::ADDRESSES, addr, got));
            }
        }
        let prefixes = &self.image.prefixes;
        for ((addr, len), got) in &held.tables.prefixes {
            let key = (*addr, *len);
            let known = prefixes.binary_search_by_key(&key, |p| (p.addr, p.len)).is_ok()
                || (*len == 128 && declared(*addr, 0));
            if !known {
                return Err(surplus(name::PREFIXES, addr, got));
            }
        }
        Ok(())
    }

    /// Is this the port of a NIC that may hold a shared address?
    fn may_hold(&self, addr: Addr, scope: u32, got: &AddressEntry) -> bool {
        let image = self.image;
        let is_nic = |nic: &usize| image.nics[*nic].mac.0 == got.mac;
        let shares = |s: &Shared| s.addrs.contains(&addr) && s.by.iter().any(is_nic);
        scope == sharer_scope(got.port) && image.shared.iter().any(shares)
    }

    /// Service classes of every number, and source classes of every source port.
    fn services(&self, held: &Held) -> Outcome {
        let image = self.image;
        for (table, wanted) in (0..).zip(&image.service_tables) {
            let sourced = table < SOURCE_TABLES && image.sources > 1;
            if !sourced && image.sources == 1 && held.plainly(table, &wanted.class) {
                continue;
            }
            for number in 0..=u16::MAX {
                let destination = u32::from(wanted.class[usize::from(number)]);
                let source = if sourced { image.source_tables[table as usize].class[0] } else { 0 };
                let expected = destination * image.sources + u32::from(source);
                service(held, table, number, 0, expected)?;
            }
            if !sourced {
                continue;
            }
            for port in 0..=u16::MAX {
                let source = image.source_tables[table as usize].class[usize::from(port)];
                let destination = u32::from(wanted.class[0]);
                service(held, table, 0, port, destination * image.sources + u32::from(source))?;
            }
        }
        Ok(())
    }

    /// Verdicts and shadows of every pair of classes. Pairs that share a row in both are looked
    /// at once.
    fn verdicts(&self, held: &Held) -> Outcome {
        let image = self.image;
        let rows = image.cells.len() / image.services.max(1) as usize;
        let mut seen: Vec<Option<u32>> = vec![None; rows];
        for src in 0..image.classes {
            for dst in 0..image.classes {
                let pair = src as usize * image.classes as usize + dst as usize;
                let (row, got) = (image.rows[pair] as usize, held.rows.get(pair).copied());
                if got.is_some() && seen[row] == got {
                    continue;
                }
                self.row(held, src, dst, row)?;
                seen[row] = got;
            }
        }
        Ok(())
    }

    fn row(&self, held: &Held, src: u32, dst: u32, row: usize) -> Outcome {
        let image = self.image;
        for service in 0..image.services {
            let at = row * image.services as usize + service as usize;
            let cell = Cell(image.cells[at]);
            let expected = (cell, image.shadows.get(at).map_or(cell, |shadow| Cell(*shadow)));
            let got = held.verdict(src, dst, service);
            if got != expected {
                let [expected, got] = [expected, got].map(|j| Judgement::new(image, j));
                return Err(Difference::Verdict { src, dst, service, expected, got });
            }
        }
        Ok(())
    }

    /// Ends and rates; and the first end, without which no end is looked at.
    fn rules(&self, held: &Held) -> Outcome {
        let numbered = |rules: &[RuleEntry]| -> BTreeMap<usize, RuleEntry> {
            rules.iter().copied().enumerate().collect()
        };
        if self.rules != held.rules {
            same(name::RULES, &numbered(self.rules), &numbered(&held.rules))?;
        }
        for (rule, entry) in self.image.rules.iter().zip(&held.rules[1..]) {
            if (rule.until_unix_s > 0) != (entry.end > 0) || rule.log_per_s != entry.log_per_s {
                return Err(surplus(name::RULES, &rule.name, entry));
            }
        }
        let first = held.rules.iter().map(|rule| rule.end).filter(|end| *end > 0).min();
        entry(name::SETTINGS, "the first end", &first.unwrap_or(0), &held.first_end)
    }
}

fn class(addr: Addr, expected: u32, got: u32) -> Outcome {
    if got == expected {
        return Ok(());
    }
    Err(Difference::Class { addr: addr.into(), expected, got })
}

fn service(held: &Held, table: u32, number: u16, source: u16, expected: u32) -> Outcome {
    match held.service(table, number, source) {
        Some(got) if got == expected => Ok(()),
        got => {
            let got = got.unwrap_or(u32::MAX);
            Err(Difference::Service { table, number, source, expected, got })
        }
    }
}

/// Equal tables.
fn same<K: Ord + Debug, V: PartialEq + Debug>(
    map: &'static str,
    wanted: &BTreeMap<K, V>,
    got: &BTreeMap<K, V>,
) -> Outcome {
    if wanted == got {
        return Ok(());
    }
    for (key, expected) in wanted {
        match got.get(key) {
            Some(got) if got == expected => {}
            other => {
                let got = other.map_or("nothing".to_owned(), |got| format!("{got:?}"));
                let (at, expected) = (format!("{key:?}"), format!("{expected:?}"));
                return Err(Difference::Entry { map, at, expected, got });
            }
        }
    }
    let surplus_key = got.iter().find(|(key, _)| !wanted.contains_key(key));
    surplus_key.map_or(Ok(()), |(key, got)| Err(surplus(map, &format!("{key:?}"), got)))
}

fn entry<T: PartialEq + Debug>(map: &'static str, at: &str, expected: &T, got: &T) -> Outcome {
    if expected == got {
        return Ok(());
    }
    let (expected, got) = (format!("{expected:?}"), format!("{got:?}"));
    Err(Difference::Entry { map, at: at.to_owned(), expected, got })
}

fn surplus(map: &'static str, at: &impl ToString, got: &impl Debug) -> Difference {
    let (expected, got) = ("nothing of the kind".to_owned(), format!("{got:?}"));
    Difference::Entry { map, at: at.to_string(), expected, got }
}
