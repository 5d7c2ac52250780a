//! What the programs tell about new connections, read out of their ring and named: rules, guests,
//! ports and networks instead of numbers.

use std::{collections::VecDeque, net::IpAddr, os::fd::AsFd, sync::Arc};

use portcullis_image::Image;
use portcullis_pipeline::{
    addr::Addr,
    event::Budget,
    layout::{EVENT_VERSION, EventEntry, RULES, event_verdict},
    policy::Cell,
    reason::DropReason,
    wire::{ethernet, protocol},
};
use rustix::time::{ClockId, Timespec, clock_gettime};
use zerocopy::FromBytes;

use crate::{
    Switch,
    batch::{self, Cursor, Sizes},
    error::{Error, Result},
    maps::name,
    observe::subport_name,
    place::name_of,
    status::{Event, EventCounts, Seen},
    switch::Port,
};

/// Events that wait here for whoever asks for them; older ones are given up.
const BACKLOG: usize = 16_384;

/// Events on their way from the ring to whoever asks.
#[derive(Default)]
pub(crate) struct Events {
    /// Named already, since the image that names them may be gone by now.
    waiting: VecDeque<Event>,
    /// The image of each slot.
    images: [Option<Arc<Image>>; 2],
    told: u64,
    suppressed: u64,
    given_up: u64,
}

impl Events {
    /// From now on this image names the rules of a generation.
    pub(crate) fn name_by(&mut self, generation: u32, image: &Arc<Image>) {
        self.images[(generation & 1) as usize] = Some(Arc::clone(image));
    }

    fn push(&mut self, event: Event) {
        self.told += 1;
        self.suppressed += u64::from(event.suppressed);
        if self.waiting.len() == BACKLOG {
            self.waiting.pop_front();
            self.given_up += 1;
        }
        self.waiting.push_back(event);
    }
}

impl Switch {
    /// What was told since the last call, the oldest first.
    pub fn events(&mut self) -> Vec<Event> {
        self.collect_events();
        self.events.waiting.drain(..).collect()
    }

    /// Takes out of the ring what is in it. Called before a slot gets another image.
    pub(crate) fn collect_events(&mut self) {
        let offset_ns = nanoseconds(ClockId::Realtime) - nanoseconds(ClockId::Boottime);
        self.collect_others(offset_ns);
        // Bounded: who fills the ring as fast as it is read has the rest of it read next time.
        for _ in 0..BACKLOG {
            let Some(record) = self.maps.events.next() else { return };
            let entry = EventEntry::read_from_bytes(&record).ok();
            drop(record);
            let Some(entry) = entry.filter(|entry| entry.version == EVENT_VERSION) else {
                self.events.given_up += 1;
                continue;
            };
            let event = self.named(&entry, offset_ns);
            self.events.push(event);
        }
    }

    /// As [`Switch::collect_events`], of the other half.
    fn collect_others(&mut self, offset_ns: i128) {
        let Some(peer) = &self.peer else { return };
        let entries = peer.borrow_mut().events();
        for entry in entries {
            let event = self.named(&entry, offset_ns);
            self.events.push(event);
        }
    }

    /// How many events there were, and how many are missing.
    pub fn event_counts(&self) -> Result<EventCounts> {
        let lost = self.maps.events_lost.get(&0, 0);
        let lost = lost.map_err(Error::map("read", name::EVENTS_LOST))?;
        Ok(EventCounts {
            told: self.events.told,
            suppressed: self.events.suppressed + self.not_told_yet()?,
            lost: lost.iter().sum::<u64>() + self.events.given_up + self.told().events_lost,
        })
    }

    /// Suppressed events of rules that had no event since, which would tell about them.
    fn not_told_yet(&self) -> Result<u64> {
        let Some(image) = &self.state.image else { return Ok(0) };
        if !image.logs() {
            return Ok(0);
        }
        let sizes = Sizes { key: size_of::<u32>(), value: size_of::<u64>() * self.maps.processors };
        let first = (self.state.generation & 1) * RULES;
        let fd = self.maps.event_budgets.fd().as_fd();
        let piece = batch::read(fd, sizes, Cursor::at_index(first), image.rules.len() + 1)
            .map_err(|source| Error::Batch { map: name::EVENT_BUDGETS, source })?;
        let mut total = 0;
        let rates = image.rules.iter().map(|rule| rule.log_per_s);
        let rates = std::iter::once(image.log_denied_per_s).chain(rates);
        for (rate, words) in rates.zip(piece.values.chunks_exact(sizes.value)) {
            if rate == 0 {
                continue;
            }
            let budgets = words.chunks_exact(size_of::<u64>()).filter_map(|w| w.try_into().ok());
            let own = budgets
                .map(|word| Budget(u64::from_ne_bytes(word)))
                .filter(|budget| budget.is_of(self.state.generation));
            total += own.map(|b| u64::from(b.suppressed(rate))).sum::<u64>();
        }
        Ok(total)
    }

    fn named(&self, entry: &EventEntry, offset_ns: i128) -> Event {
        let image = self.events.images[(entry.generation & 1) as usize].as_deref();
        let rule = image.and_then(|image| image.rule(entry.rule));
        let unix_ms = (i128::from(entry.time) + offset_ns) / 1_000_000;
        let is = |protocol: u8| entry.protocol == u16::from(protocol);
        let is_icmp = is(protocol::ICMP) || is(protocol::ICMPV6);
        let has_ports = !is_icmp && entry.protocol != ethernet::ARP;
        Event {
            unix_ms: u64::try_from(unix_ms).unwrap_or(0),
            generation: entry.generation,
            seen: seen(entry.verdict),
            reason: reason(entry.reason),
            rule: match (rule, Cell(entry.rule)) {
                (Some(rule), _) => rule.name.clone(),
                (None, Cell::DEFAULT) => "default".into(),
                (None, _) => format!("rule {} of generation {}", entry.rule, entry.generation),
            },
            file: rule.map(|rule| rule.file.clone()),
            line: rule.map(|rule| rule.line),
            src: entry.src.into(),
            dst: entry.dst.into(),
            protocol: entry.protocol,
            sport: has_ports.then_some(entry.sport),
            dport: has_ports.then_some(entry.dport),
            icmp: is_icmp.then_some([(entry.icmp >> 8) as u8, entry.icmp as u8]),
            from_guest: image.and_then(|image| guest_of(image, entry.src.into())),
            to_guest: image.and_then(|image| guest_of(image, entry.dst.into())),
            from_port: self.port_name(entry.ingress),
            to_port: self.port_name(entry.egress),
            network: image.map(|image| name_of(image, entry.network)),
            bytes: entry.length,
            suppressed: entry.suppressed,
        }
    }

    fn port_name(&self, ifindex: u32) -> Option<String> {
        let mut legs = self.state.legs.iter();
        if let Some((_, leg)) = legs.find(|(_, leg)| leg.ifindex == ifindex) {
            return Some(leg.port.clone());
        }
        let has = |p: &&Port| ifindex != 0 && p.numbers().any(|number| number == ifindex);
        let port = self.state.ports.iter().find(has)?;
        if port.ifindex == ifindex {
            return Some(port.spec.name.clone());
        }
        let nic = port.place.as_ref().ok()?.nics(port.ifindex).find(|(_, n)| *n == ifindex)?.0;
        let image = self.state.image.as_deref()?;
        Some(subport_name(&port.spec.name, &name_of(image, image.nics[nic].network)))
    }
}

/// The guest that has an address.
pub fn guest_of(image: &Image, ip: IpAddr) -> Option<String> {
    let addr = Addr::from(ip);
    let owns = |nic: &&portcullis_image::Nic| {
        nic.addrs.contains(&addr) || Addr::link_local_of(nic.mac) == addr
    };
    image.nics.iter().find(owns).map(|nic| nic.guest.clone())
}

const fn seen(verdict: u16) -> Seen {
    match verdict {
        event_verdict::ALLOWED => Seen::Allowed,
        event_verdict::WOULD_ALLOW => Seen::WouldAllow,
        event_verdict::WOULD_DENY => Seen::WouldDeny,
        _ => Seen::Denied,
    }
}

fn reason(number: u16) -> Option<&'static str> {
    let of = |reason: &&DropReason| **reason as u32 == u32::from(number);
    DropReason::ALL.iter().find(of).map(|reason| reason.word())
}

fn nanoseconds(clock: ClockId) -> i128 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    i128::from(tv_sec) * 1_000_000_000 + i128::from(tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn addresses_have_owners() {
        let image = testing::image();
        let pc1 = &image.nics[0];
        assert_eq!(guest_of(&image, pc1.addrs[0].into()).as_deref(), Some("pc1"));
        assert_eq!(guest_of(&image, Addr::link_local_of(pc1.mac).into()).as_deref(), Some("pc1"));
        let stranger: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(guest_of(&image, stranger), None);
    }

    #[test]
    fn reasons_have_words() {
        assert_eq!(reason(DropReason::NoRule as u16), Some("no-rule"));
        assert_eq!(reason(u16::MAX), None);
    }

    #[test]
    fn old_events_make_room_for_new_ones() {
        let mut events = Events::default();
        let nobody: IpAddr = "::".parse().unwrap();
        let event = |line| Event {
            unix_ms: 0,
            generation: 1,
            seen: Seen::Denied,
            reason: None,
            rule: "r".into(),
            file: None,
            line: Some(line),
            src: nobody,
            dst: nobody,
            protocol: 6,
            sport: None,
            dport: None,
            icmp: None,
            from_guest: None,
            to_guest: None,
            from_port: None,
            to_port: None,
            network: None,
            bytes: 0,
            suppressed: 2,
        };
        (0..BACKLOG as u32 + 3).for_each(|line| events.push(event(line)));
        assert_eq!((events.waiting.len(), events.given_up), (BACKLOG, 3));
        assert_eq!(events.waiting[0].line, Some(3));
        assert_eq!(events.suppressed, 2 * events.told);
    }
}
