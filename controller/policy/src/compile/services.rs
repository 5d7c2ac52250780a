//! Service classes: connections that no rule and no invariant tells apart by what they are for.
//!
//! Two divisions, one of destination numbers and one of source ports; a class is a pair of these.
//! For every list, all numbers of a destination class go with the same source ports, so a list
//! covers a pair as a whole or not at all. Pairs that no packet has (ICMP with a source class
//! that is not 0) are judged like any other, and nobody ever asks for them.

use hashbrown::{HashMap, HashSet};
use portcullis_pipeline::layout::{SERVICE_TABLES, ServiceTable};

use super::{classes::TooManyMembers, interned::Interned, partition::Partition};
use crate::{
    model::{Ports, Protocol, Purpose, Service, Sources16},
    source::Span,
};

/// Which service lists a policy uses, each once.
#[derive(Clone, Default)]
pub struct ServiceLists {
    lists: Interned<Ports>,
}

impl ServiceLists {
    /// The number of a list; `user` is where it is used.
    pub fn intern(&mut self, services: &[Service], user: Span) -> u32 {
        self.lists.intern(joined(services), user)
    }

    /// The number of a list that is in use already.
    pub fn use_known(&mut self, services: &[Service]) -> Option<u32> {
        self.lists.use_known(joined(services))
    }

    /// Uses a list once less; is it still in use?
    pub fn release(&mut self, list: u32) -> bool {
        self.lists.release(list)
    }

    /// Where a list is used first.
    pub fn user(&self, list: u32) -> Span {
        self.lists.user(list)
    }
}

/// All numbers of some services, ranges that touch joined.
fn joined(services: &[Service]) -> Vec<Ports> {
    let mut ports: Vec<Ports> = services.iter().flat_map(|s| s.ports.iter().copied()).collect();
    ports.sort_unstable();
    ports.dedup_by(|next, last| {
        let joins = next.protocol == last.protocol
            && next.source == last.source
            && u32::from(next.first) <= u32::from(last.last) + 1;
        if joins {
            last.last = last.last.max(next.last);
        }
        joins
    });
    ports
}

/// Numbers of one protocol that no list tells apart because no list ends between them.
#[derive(Clone, Copy)]
struct Interval {
    protocol: Protocol,
    first: u16,
    last: u16,
}

/// Source ports between which no list ends, and their class.
#[derive(Clone, Copy)]
struct SourceInterval {
    first: u16,
    last: u16,
    class: u32,
}

/// The division of all connections by service, and the classes of each list.
#[derive(Clone)]
pub struct ServiceClasses {
    intervals: Vec<Interval>,
    /// Destination class of each interval.
    class: Vec<u32>,
    destinations: usize,
    sources: Vec<SourceInterval>,
    source_classes: usize,
    lists: Vec<Vec<u32>>,
    /// How many destination classes each list adds to those of the lists before it.
    made: Vec<u32>,
}

/// The part of a list that goes with one set of source ports.
struct Part {
    /// Indexes of intervals, ascending.
    intervals: Vec<u32>,
    /// Which set of source intervals.
    sources: u32,
}

impl ServiceClasses {
    /// The coarsest pair of divisions that every list respects.
    pub fn new(lists: &ServiceLists, limit: u64) -> Result<Self, TooManyMembers> {
        let intervals = intervals(lists.lists.iter());
        let mut source_sets = SourceSets::new(lists.lists.iter());
        let covered = |list: &Vec<Ports>| {
            list.iter().map(|p| Interval::covered(&intervals, p).len() as u32).sum()
        };
        refuse(lists.lists.iter().map(covered), limit)?;
        let parts: Vec<Vec<Part>> =
            lists.lists.iter().map(|list| source_sets.parts(&intervals, list)).collect();
        let mut partition = Partition::new(intervals.len());
        let mut refine = |parts: &Vec<Part>| {
            let before = partition.len();
            parts.iter().for_each(|p| partition.refine(&p.intervals));
            (partition.len() - before) as u32
        };
        let made = parts.iter().map(&mut refine).collect();
        let class = partition.classes();
        let (sources, of_set) = source_sets.classes();
        let source_classes = sources.iter().map(|s| s.class as usize + 1).max().unwrap_or(1);
        let bases = |part: &Part| {
            let mut bases: Vec<u32> =
                part.intervals.iter().map(|&i| class[i as usize] * source_classes as u32).collect();
            bases.sort_unstable();
            bases.dedup();
            bases
        };
        let size = |part: &Part| (bases(part).len() * of_set[part.sources as usize].len()) as u32;
        refuse(parts.iter().map(|parts| parts.iter().map(size).sum()), limit)?;
        let classes = |parts: &Vec<Part>| {
            let each = parts.iter().flat_map(|part| {
                let sources = &of_set[part.sources as usize];
                bases(part).into_iter().flat_map(move |base| sources.iter().map(move |s| base + s))
            });
            let mut classes: Vec<u32> = each.collect();
            classes.sort_unstable();
            classes
        };
        let lists = parts.iter().map(classes).collect();
        let destinations = partition.len();
        Ok(Self { intervals, class, destinations, sources, source_classes, lists, made })
    }

    /// How many classes there are.
    pub fn len(&self) -> usize {
        self.destinations * self.source_classes
    }

    /// How many source port classes there are.
    pub fn source_classes(&self) -> usize {
        self.source_classes
    }

    /// The classes of a list, ascending.
    pub fn of_list(&self, list: u32) -> &[u32] {
        &self.lists[list as usize]
    }

    /// How many destination classes each list adds to those of the lists before it.
    pub fn made_by(&self) -> &[u32] {
        &self.made
    }

    /// For each class, the class in another division of a connection in it: which one does not
    /// matter where no list of that division tells them apart.
    pub fn in_terms_of(&self, other: &Self) -> Vec<u32> {
        let mut destinations = vec![u32::MAX; self.destinations];
        for (interval, &class) in self.intervals.iter().zip(&self.class).rev() {
            let key = (interval.protocol, interval.first);
            let at = other.intervals.partition_point(|i| (i.protocol, i.first) <= key) - 1;
            destinations[class as usize] = other.class[at];
        }
        let mut sources = vec![u32::MAX; self.source_classes];
        for s in self.sources.iter().rev() {
            let at = other.sources.partition_point(|o| o.first <= s.first) - 1;
            sources[s.class as usize] = other.sources[at].class;
        }
        let count = other.source_classes as u32;
        let pairs = destinations.iter().flat_map(|d| sources.iter().map(move |s| d * count + s));
        pairs.collect()
    }

    /// The data plane's tables of destination numbers.
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

    /// The data plane's tables of source ports; none where no rule speaks of them.
    pub fn source_tables(&self) -> Vec<ServiceTable> {
        if self.source_classes == 1 {
            return Vec::new();
        }
        let mut table = ServiceTable { class: [0; 65_536] };
        for s in &self.sources {
            table.class[usize::from(s.first)..=usize::from(s.last)].fill(s.class as u16);
        }
        Protocol::ALL.into_iter().filter(|p| p.has_ports()).map(|_| table.clone()).collect()
    }

    /// For each class, a connection of each protocol that has one.
    pub fn examples(&self) -> Vec<Vec<Purpose>> {
        let mut examples: Vec<Vec<Purpose>> = vec![Vec::new(); self.len()];
        for (interval, &class) in self.intervals.iter().zip(&self.class) {
            if !interval.is_real() {
                continue;
            }
            for (source_class, source) in self.sources_of(interval.protocol, Sources16::ALL) {
                let class = class as usize * self.source_classes + source_class as usize;
                let list = &mut examples[class];
                if list.last().is_none_or(|p| p.protocol != interval.protocol) {
                    let (protocol, number) = (interval.protocol, interval.example());
                    list.push(Purpose { protocol, number, source });
                }
            }
        }
        examples
    }

    /// The classes that these numbers belong to, each with a connection of each protocol.
    pub fn within(&self, ports: &[Ports]) -> Vec<(u32, Purpose)> {
        let mut known = HashSet::new();
        let mut found = Vec::new();
        for p in ports {
            let all = self.intervals.iter().zip(&self.class);
            let overlap = all.filter(|(i, _)| {
                i.protocol == p.protocol && p.first <= i.last && i.first <= p.last && i.is_real()
            });
            for (interval, &class) in overlap {
                let number = p.first.max(interval.example()).min(p.last);
                for (source_class, source) in self.sources_of(p.protocol, p.source) {
                    let class = class * self.source_classes as u32 + source_class;
                    if known.insert((class, p.protocol)) {
                        let protocol = p.protocol;
                        found.push((class, Purpose { protocol, number, source }));
                    }
                }
            }
        }
        found
    }

    /// The source classes of some ports, each with the port that reads best. A protocol without
    /// ports has the source class 0 and no other.
    fn sources_of(&self, protocol: Protocol, wanted: Sources16) -> Vec<(u32, u16)> {
        let usual = Purpose::new(protocol, 0).source;
        if !protocol.has_ports() {
            return vec![(0, usual)];
        }
        let mut found: Vec<(u32, u16)> = Vec::new();
        for s in self.sources.iter().filter(|s| wanted.first <= s.last && s.first <= wanted.last) {
            let (first, last) = (s.first.max(wanted.first), s.last.min(wanted.last));
            // Port 0 is nobody's, where there is another.
            let port = usual.clamp(first.max(last.min(1)), last);
            match found.iter_mut().find(|(class, _)| *class == s.class) {
                Some((_, known)) if port == usual => *known = port,
                Some(_) => {}
                None => found.push((s.class, port)),
            }
        }
        found
    }
}

impl Interval {
    /// There are 256 IP protocols; the numbers behind them are never looked up.
    fn is_real(&self) -> bool {
        self.protocol != Protocol::Proto || self.first <= 255
    }

    /// A number that reads well: not port 0.
    fn example(&self) -> u16 {
        if self.first == 0 && self.last > 0 && self.protocol.has_ports() { 1 } else { self.first }
    }

    /// Where those that a list covers begin and end.
    fn covered(intervals: &[Self], ports: &Ports) -> std::ops::Range<usize> {
        let before = |n: u16| move |i: &Self| (i.protocol, i.first) < (ports.protocol, n);
        let from = intervals.partition_point(before(ports.first));
        let behind = |i: &Self| (i.protocol, i.first) <= (ports.protocol, ports.last);
        from..intervals.partition_point(behind)
    }
}

/// Adds up what lists have, as long as it fits.
fn refuse(sizes: impl Iterator<Item = u32>, limit: u64) -> Result<(), TooManyMembers> {
    let (mut got, mut shares) = (0, Vec::new());
    for size in sizes {
        got += u64::from(size);
        shares.push(size);
        if got > limit {
            return Err(TooManyMembers { got, shares });
        }
    }
    Ok(())
}

/// All numbers, cut wherever a list begins or ends.
fn intervals<'a>(lists: impl Iterator<Item = &'a Vec<Ports>>) -> Vec<Interval> {
    let mut starts: Vec<(Protocol, u32)> = Protocol::ALL.into_iter().map(|p| (p, 0)).collect();
    for ports in lists.flatten() {
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

/// Sets of source ports that lists use, each once. Protocols with ports share one division;
/// those without have all of it.
struct SourceSets {
    /// First port of each interval, ascending.
    starts: Vec<u16>,
    ids: HashMap<Vec<u32>, u32>,
    /// Indexes of intervals, ascending.
    sets: Vec<Vec<u32>>,
}

impl SourceSets {
    /// All source ports, cut wherever a list begins or ends.
    fn new<'a>(lists: impl Iterator<Item = &'a Vec<Ports>>) -> Self {
        let mut starts = vec![0];
        for ports in lists.flatten() {
            let source = Self::of(ports);
            starts.push(source.first);
            starts.extend(source.last.checked_add(1));
        }
        starts.sort_unstable();
        starts.dedup();
        Self { starts, ids: HashMap::new(), sets: Vec::new() }
    }

    fn of(ports: &Ports) -> Sources16 {
        if ports.protocol.has_ports() { ports.source } else { Sources16::ALL }
    }

    fn intern(&mut self, set: Vec<u32>) -> u32 {
        let next = self.sets.len() as u32;
        *self.ids.entry(set).or_insert_with_key(|set| {
            self.sets.push(set.clone());
            next
        })
    }

    /// A list, divided by the source ports that its numbers go with.
    fn parts(&mut self, intervals: &[Interval], list: &[Ports]) -> Vec<Part> {
        // (interval, first source interval, behind the last)
        let mut covered: Vec<(u32, u32, u32)> = Vec::new();
        for ports in list {
            let source = Self::of(ports);
            let from = self.starts.partition_point(|&s| s < source.first) as u32;
            let to = self.starts.partition_point(|&s| s <= source.last) as u32;
            let range = Interval::covered(intervals, ports);
            covered.extend(range.map(|i| (i as u32, from, to)));
        }
        covered.sort_unstable();
        covered.dedup();
        let mut parts: Vec<Part> = Vec::new();
        for same in covered.chunk_by(|a, b| a.0 == b.0) {
            let mut set: Vec<u32> = same.iter().flat_map(|&(_, from, to)| from..to).collect();
            set.sort_unstable();
            set.dedup();
            let sources = self.intern(set);
            match parts.iter_mut().find(|p| p.sources == sources) {
                Some(part) => part.intervals.push(same[0].0),
                None => parts.push(Part { intervals: vec![same[0].0], sources }),
            }
        }
        parts
    }

    /// The coarsest division that every set respects, and the classes of each set, ascending.
    fn classes(&self) -> (Vec<SourceInterval>, Vec<Vec<u32>>) {
        let mut partition = Partition::new(self.starts.len());
        self.sets.iter().for_each(|s| partition.refine(s));
        let class = partition.classes();
        let last = |i: usize| self.starts.get(i + 1).map_or(u16::MAX, |next| next - 1);
        let starts = self.starts.iter().enumerate();
        let interval = |(i, &first)| SourceInterval { first, last: last(i), class: class[i] };
        let classes = |set: &Vec<u32>| {
            let mut classes: Vec<u32> = set.iter().map(|&i| class[i as usize]).collect();
            classes.sort_unstable();
            classes.dedup();
            classes
        };
        (starts.map(interval).collect(), self.sets.iter().map(classes).collect())
    }
}
