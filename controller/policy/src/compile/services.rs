//! Service classes: numbers that no rule and no invariant tells apart.

use std::collections::HashMap;

use portcullis_pipeline::layout::{SERVICE_TABLES, ServiceTable};

use super::partition::Partition;
use crate::model::{Ports, Protocol, Service};

/// Which service lists a policy uses, each once.
#[derive(Default)]
pub struct ServiceLists {
    ids: HashMap<Vec<Ports>, u32>,
    lists: Vec<Vec<Ports>>,
}

impl ServiceLists {
    /// The number of a list.
    pub fn intern(&mut self, services: &[Service]) -> u32 {
        let mut ports: Vec<Ports> = services.iter().flat_map(|s| s.ports.iter().copied()).collect();
        ports.sort_unstable();
        ports.dedup();
        let next = self.lists.len() as u32;
        *self.ids.entry(ports).or_insert_with_key(|ports| {
            self.lists.push(ports.clone());
            next
        })
    }
}

/// Numbers of one protocol that no list tells apart because no list ends between them.
#[derive(Clone, Copy)]
struct Interval {
    protocol: Protocol,
    first: u16,
    last: u16,
}

/// The division of all numbers, and the classes of each list.
pub struct ServiceClasses {
    intervals: Vec<Interval>,
    class: Vec<u32>,
    count: usize,
    lists: Vec<Vec<u32>>,
}

impl ServiceClasses {
    /// The coarsest division that every list respects.
    pub fn new(lists: &ServiceLists) -> Self {
        let intervals = intervals(&lists.lists);
        let members: Vec<Vec<u32>> = lists.lists.iter().map(|l| covered(&intervals, l)).collect();
        let mut partition = Partition::new(intervals.len());
        members.iter().for_each(|m| partition.refine(m));
        let class = partition.classes();
        let classes = |members: &Vec<u32>| {
            let mut classes: Vec<u32> = members.iter().map(|&m| class[m as usize]).collect();
            classes.sort_unstable();
            classes.dedup();
            classes
        };
        let lists = members.iter().map(classes).collect();
        Self { intervals, count: partition.len(), lists, class }
    }

    /// How many classes there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The classes of a list, ascending.
    pub fn of_list(&self, list: u32) -> &[u32] {
        &self.lists[list as usize]
    }

    /// The tables of the data plane.
    pub fn tables(&self) -> Vec<ServiceTable> {
        let mut tables: Vec<ServiceTable> =
            (0..SERVICE_TABLES).map(|_| ServiceTable { class: [0; 65_536] }).collect();
        for (interval, &class) in self.intervals.iter().zip(&self.class) {
            let table = &mut tables[interval.protocol.table() as usize];
            let range = usize::from(interval.first)..=usize::from(interval.last);
            table.class[range].fill(class as u16);
        }
        tables
    }

    /// For each class, the first number of it in each protocol that has one.
    pub fn examples(&self) -> Vec<Vec<(Protocol, u16)>> {
        let mut examples: Vec<Vec<(Protocol, u16)>> = vec![Vec::new(); self.count];
        for (interval, &class) in self.intervals.iter().zip(&self.class) {
            let list = &mut examples[class as usize];
            // There are 256 IP protocols; the numbers behind them are never looked up.
            let real = interval.protocol != Protocol::Proto || interval.first <= 255;
            if real && list.last().is_none_or(|(p, _)| *p != interval.protocol) {
                list.push((interval.protocol, example(interval)));
            }
        }
        examples
    }

    /// The classes that these numbers belong to, each with a number for each protocol.
    pub fn within(&self, ports: &[Ports]) -> Vec<(u32, Protocol, u16)> {
        let mut found: Vec<(u32, Protocol, u16)> = Vec::new();
        for p in ports {
            let all = self.intervals.iter().zip(&self.class);
            let overlap = all.filter(|(i, _)| {
                i.protocol == p.protocol && p.first <= i.last && i.first <= p.last
            });
            for (interval, &class) in overlap {
                if found.iter().all(|&(c, protocol, _)| (c, protocol) != (class, p.protocol)) {
                    found.push((class, p.protocol, p.first.max(example(interval)).min(p.last)));
                }
            }
        }
        found
    }
}

/// A number that reads well: not port 0.
fn example(interval: &Interval) -> u16 {
    if interval.first == 0 && interval.last > 0 && interval.protocol.has_ports() {
        1
    } else {
        interval.first
    }
}

/// All numbers, cut wherever a list begins or ends.
fn intervals(lists: &[Vec<Ports>]) -> Vec<Interval> {
    let mut starts: Vec<(Protocol, u32)> = Protocol::ALL.into_iter().map(|p| (p, 0)).collect();
    for ports in lists.iter().flatten() {
        starts.push((ports.protocol, u32::from(ports.first)));
        starts.push((ports.protocol, u32::from(ports.last) + 1));
    }
    starts.retain(|&(_, start)| start <= u32::from(u16::MAX));
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).map(Some).chain([None]);
    let interval = |(&(protocol, first), next): (&(Protocol, u32), Option<&(Protocol, u32)>)| {
        let end = next.filter(|n| n.0 == protocol).map_or(u32::from(u16::MAX), |n| n.1 - 1);
        Interval { protocol, first: first as u16, last: end as u16 }
    };
    starts.iter().zip(ends).map(interval).collect()
}

/// Indexes of the intervals that a list covers, ascending, each once.
fn covered(intervals: &[Interval], list: &[Ports]) -> Vec<u32> {
    let mut covered = Vec::new();
    for ports in list {
        let from =
            intervals.partition_point(|i| (i.protocol, i.first) < (ports.protocol, ports.first));
        let to =
            intervals.partition_point(|i| (i.protocol, i.first) <= (ports.protocol, ports.last));
        covered.extend(from as u32..to as u32);
    }
    covered.sort_unstable();
    covered.dedup();
    covered
}
