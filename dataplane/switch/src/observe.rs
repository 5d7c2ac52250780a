//! What the switch is and does, read from the kernel and from what was installed.

use std::os::fd::AsFd;

use aya::maps::{MapError, PerCpuArray};
use portcullis_image::{Image, Shared};
use portcullis_pipeline::{
    addr::Addr,
    layout::{HolderKey, RULES},
    policy::Cell,
    reason::DropReason,
};
use portcullis_ports::{Link, link};

use crate::{
    Switch,
    batch::{self, Cursor, Sizes},
    device,
    error::{Error, Result},
    maps::name,
    numbers,
    peer::Told,
    place::{Place, name_of, table_index},
    status::{
        Closed, Drops, FlowStatus, NetworkStatus, PortConnections, PortStatus, RuleHits,
        SharedStatus, SwitchStatus, Traffic,
    },
    sweep,
    switch::Port,
    taken,
    traffic::Counted,
    writer::bytes,
};

/// Bytes of a counter of one processor.
const WORD: usize = size_of::<u64>();

impl Switch {
    /// Everything that can be told.
    pub fn status(&self) -> Result<SwitchStatus> {
        let mut ports = self.port_statuses();
        close_missing(&mut ports, &link::list()?);
        let told = self.told();
        let counted = Counted::read(&self.maps, &told)?;
        for port in ports.iter_mut().filter(|p| p.ifindex != 0) {
            port.traffic = Some(counted.of(port.ifindex));
            port.past = self.past_of(port, &counted);
            port.connections = Some(self.connections(port.ifindex, &told)?);
            let own = self.state.ports.iter().find(|own| own.ifindex == port.ifindex);
            port.vhost = own.and_then(|own| self.vhost_status(own, &told));
        }
        Ok(SwitchStatus {
            generation: self.state.generation,
            hook: self.links.hook(),
            networks: self.network_statuses(),
            shared: self.shared_statuses()?,
            ports,
            traffic: counted.total(),
            drops: self.drops(&told)?,
            rules: self.rule_hits(&told)?,
            events: self.event_counts()?,
            flows: FlowStatus {
                used: sweep::count(&self.maps)? + told.flows,
                capacity: self.maps.flow_capacity,
            },
            programs: self.code.status()?,
        })
    }

    /// Ports whose interface was there and is not any more: somebody deleted it, or a namespace
    /// with it, or took the NIC out.
    pub fn lost(&self) -> Result<Vec<String>> {
        let links = link::list()?;
        let lost = |p: &&Port| p.ifindex != 0 && !is_there(&links, p.ifindex, &p.spec.name);
        Ok(self.state.ports.iter().filter(lost).map(|p| p.spec.name.clone()).collect())
    }

    /// What has passed an interface by the networks that it carries no more.
    fn past_of(&self, port: &PortStatus, counted: &Counted) -> Option<Traffic> {
        let past = numbers::past(&self.state.tables.subports, port.ifindex);
        past.map(|number| counted.of(number)).reduce(|sum, one| sum.plus(&one))
    }

    /// Ports as they are, host legs last.
    pub(crate) fn port_statuses(&self) -> Vec<PortStatus> {
        let with_subports =
            |p: &'_ Port| std::iter::once(self.port_status(p)).chain(self.subport_statuses(p));
        let ports = self.state.ports.iter().flat_map(with_subports);
        ports.chain(self.leg_statuses()).collect()
    }

    pub(crate) fn port_status(&self, port: &Port) -> PortStatus {
        let mut status = PortStatus {
            name: port.spec.name.clone(),
            kind: port.spec.kind.word(),
            guest: port.spec.guest.clone(),
            networks: port.spec.network.iter().cloned().collect(),
            mac: None,
            addresses: Vec::new(),
            ifindex: port.ifindex,
            open: port.place.is_ok(),
            closed: port.place.clone().err(),
            lane: self.lanes.is_open(&port.spec.name),
            gate: self.gate_status(port),
            vhost: None,
            traffic: None,
            past: None,
            connections: None,
        };
        let Some(image) = &self.state.image else {
            status.closed.get_or_insert(Closed::NoPolicy);
            return status;
        };
        match &port.place {
            Ok(Place::Nic(index) | Place::Trunk { untagged: Some(index), .. }) => {
                tell_nic(&mut status, image, *index);
            }
            Ok(place @ Place::Trunk { untagged: None, .. }) => {
                status.networks.clear();
                status.mac = device::mac(image, place).map(|mac| mac.to_string());
            }
            Ok(Place::Uplink { tagged, untagged }) => {
                let all = tagged.iter().chain(Some(untagged).filter(|u| **u != 0));
                status.networks = all.map(|id| name_of(image, *id)).collect();
            }
            Err(_) => {}
        }
        status
    }

    /// The tagged networks of a trunk, each as a port.
    fn subport_statuses(&self, port: &Port) -> Vec<PortStatus> {
        let (Ok(place), Some(image)) = (&port.place, &self.state.image) else { return Vec::new() };
        let subports = place.nics(port.ifindex).filter(|(_, number)| *number != port.ifindex);
        let status = |(nic, number): (usize, u32)| {
            let mut status =
                PortStatus { kind: SUBPORT, ifindex: number, ..self.port_status(port) };
            status.name = subport_name(&port.spec.name, &name_of(image, image.nics[nic].network));
            status.lane = false;
            tell_nic(&mut status, image, nic);
            status
        };
        subports.map(status).collect()
    }

    fn leg_statuses(&self) -> impl Iterator<Item = PortStatus> {
        self.state.legs.iter().filter_map(|(id, leg)| {
            let network = self.state.image.as_ref()?.network(*id)?;
            Some(PortStatus {
                name: leg.port.clone(),
                kind: "host",
                guest: None,
                networks: vec![leg.network.clone()],
                mac: Some(network.gateway_mac.to_string()),
                addresses: network.gateway.iter().map(|(a, _)| (*a).into()).collect(),
                ifindex: leg.ifindex,
                open: true,
                closed: None,
                lane: false,
                gate: None,
                vhost: None,
                traffic: None,
                past: None,
                connections: None,
            })
        })
    }

    fn network_statuses(&self) -> Vec<NetworkStatus> {
        let Some(image) = &self.state.image else { return Vec::new() };
        let numbered = image.networks.iter().zip(1..);
        numbered.map(|(network, id)| self.network_status(network, id)).collect()
    }

    fn network_status(&self, network: &portcullis_image::Network, id: u32) -> NetworkStatus {
        let is_member = |p: &&Port| match (&p.place, &self.state.image) {
            (Ok(place), Some(image)) => {
                place.nics(p.ifindex).any(|(nic, _)| image.nics[nic].network == id)
            }
            _ => false,
        };
        let carries = |p: &&Port| match &p.place {
            Ok(Place::Uplink { tagged, untagged }) => tagged.contains(&id) || *untagged == id,
            _ => false,
        };
        let leg = self.state.legs.iter().find(|(leg, _)| *leg == id);
        NetworkStatus {
            name: network.name.clone(),
            vlan: network.vlan,
            host_leg: leg.map(|(_, l)| portcullis_ports::host_leg::host_name(&l.network)),
            uplink: self.state.ports.iter().find(carries).map(|p| p.spec.name.clone()),
            subnets: network.subnets.iter().map(subnet).collect(),
            gateway: network.gateway.iter().map(|(a, _)| (*a).into()).collect(),
            ports: self.state.ports.iter().filter(is_member).count(),
        }
    }

    fn shared_statuses(&self) -> Result<Vec<SharedStatus>> {
        let Some(image) = &self.state.image else { return Ok(Vec::new()) };
        let guest = |nic: &usize| image.nics[*nic].guest.clone();
        let status = |shared: &Shared| {
            Ok(SharedStatus {
                name: shared.name.clone(),
                network: name_of(image, shared.network),
                mac: shared.mac.to_string(),
                addresses: shared.addrs.iter().map(|a| (*a).into()).collect(),
                by: shared.by.iter().map(guest).collect(),
                holder: self.holder(shared)?.map(|nic| guest(&nic)),
            })
        };
        image.shared.iter().map(status).collect()
    }

    /// The NIC that announced shared addresses last.
    fn holder(&self, shared: &Shared) -> Result<Option<usize>> {
        let key = HolderKey { mac: shared.mac.0, network: shared.network, reserved: 0 };
        let held = match self.maps.holders.get(&bytes(&key), 0) {
            Ok(held) => u64::from_ne_bytes(held) as u32,
            Err(MapError::KeyNotFound) => 0,
            Err(e) => return Err(Error::map("read", name::HOLDERS)(e)),
        };
        let placed = |port: &'_ Port| port.place.clone().ok().map(|place| (place, port.ifindex));
        let places = self.state.ports.iter().filter_map(placed);
        let holds = |(place, ifindex): (Place, u32)| {
            let mut nics = place.nics(ifindex);
            nics.find_map(|(nic, port)| (port == held && held != 0).then_some(nic))
        };
        let nic = places.into_iter().find_map(holds);
        Ok(nic.filter(|nic| shared.by.contains(nic)))
    }

    fn connections(&self, ifindex: u32, told: &Told) -> Result<PortConnections> {
        let now = taken::count(&self.maps, ifindex)?;
        let there = told.ports.iter().find(|port| port.ifindex == ifindex);
        let (flows, half_open) = there.map_or((0, 0), |port| (port.flows, port.half_open));
        let port = self.state.tables.ports.get(&table_index(ifindex));
        let limit = |n: u32| (n != 0).then_some(n);
        Ok(PortConnections {
            flows: now.flows + flows,
            half_open: now.half_open + half_open,
            flows_max: port.and_then(|p| limit(p.limits.flows)),
            half_open_max: port.and_then(|p| limit(p.limits.half_open)),
        })
    }

    fn drops(&self, told: &Told) -> Result<Vec<Drops>> {
        let mut drops = Vec::new();
        for reason in DropReason::ALL {
            let there = told.drops.iter().filter(|(_, number, _)| *number == *reason as u32);
            let there: u64 = there.map(|(_, _, frames)| frames).sum();
            let packets = sum(&self.maps.drops, *reason as u32)? + there;
            if packets > 0 {
                let (reason, explanation) = (reason.word(), reason.explanation());
                drops.push(Drops { reason, explanation, packets });
            }
        }
        Ok(drops)
    }

    /// Rules that decided something in this generation, in their order.
    fn rule_hits(&self, told: &Told) -> Result<Vec<RuleHits>> {
        let Some(image) = &self.state.image else { return Ok(Vec::new()) };
        let sizes = Sizes { key: size_of::<u32>(), value: WORD * self.maps.processors };
        let first = (self.state.generation & 1) * RULES;
        let count = image.rules.len() + 1;
        let fd = self.maps.rule_hits.fd().as_fd();
        let piece = batch::read(fd, sizes, Cursor::at_index(first), count)
            .map_err(|source| Error::Batch { map: name::RULE_HITS, source })?;
        let counters = piece.values.chunks_exact(sizes.value).zip(0..);
        let own = told.generation == self.state.generation;
        let there = |id: u32| {
            let hits = told.rules.iter().filter(|(rule, _)| own && *rule == id);
            hits.map(|(_, hits)| hits).sum::<u64>()
        };
        Ok(counters
            .map(|(words, id)| (total(words) + there(id), id))
            .filter(|(hits, _)| *hits > 0)
            .map(|(hits, id)| rule_hits(image, id, hits))
            .collect())
    }
}

/// The word for a tagged network of a trunk.
const SUBPORT: &str = "subport";

/// The name of a subport: no interface has one with a colon.
pub(crate) fn subport_name(trunk: &str, network: &str) -> String {
    format!("{trunk}:{network}")
}

/// Says what a port's NIC is.
fn tell_nic(status: &mut PortStatus, image: &Image, nic: usize) {
    let nic = &image.nics[nic];
    status.networks = vec![name_of(image, nic.network)];
    status.mac = Some(nic.mac.to_string());
    status.addresses = nic.addrs.iter().map(|a| (*a).into()).collect();
}

/// Somebody may have deleted an interface behind our back, or a namespace with it.
fn close_missing(ports: &mut [PortStatus], links: &[Link]) {
    let mut gone = false;
    for port in ports.iter_mut().filter(|p| p.open) {
        // A subport goes with its trunk, which stands before it.
        if port.kind != SUBPORT {
            gone = !is_there(links, port.ifindex, &port.name);
        }
        if gone {
            port.open = false;
            port.closed = Some(Closed::Gone);
        }
    }
}

fn is_there(links: &[Link], ifindex: u32, name: &str) -> bool {
    links.iter().any(|link| link.index == ifindex && link.name == name)
}

fn rule_hits(image: &Image, id: u32, hits: u64) -> RuleHits {
    match image.rule(id) {
        Some(rule) => RuleHits {
            rule: rule.name.clone(),
            file: Some(rule.file.clone()),
            line: Some(rule.line),
            allow: rule.allow,
            observe: rule.observe,
            hits,
        },
        None => RuleHits {
            rule: "default".into(),
            file: None,
            line: None,
            allow: Cell::DEFAULT.allows(),
            observe: false,
            hits,
        },
    }
}

/// A subnet as `address/length`; an image counts the bits of the mapped form.
fn subnet((address, length): &(Addr, u8)) -> String {
    let length = if address.is_v4() { length.saturating_sub(96) } else { *length };
    format!("{address}/{length}")
}

/// A counter over all processors.
fn total(words: &[u8]) -> u64 {
    let word = |w: &[u8]| u64::from_ne_bytes(w.try_into().expect("chunks of that size"));
    words.chunks_exact(WORD).map(word).fold(0, u64::wrapping_add)
}

fn sum(map: &PerCpuArray<aya::maps::MapData, u64>, index: u32) -> Result<u64> {
    let values = map.get(&index, 0).map_err(Error::map("read", name::DROPS))?;
    Ok(values.iter().fold(0, |a, b| a.wrapping_add(*b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_over_processors() {
        let words: Vec<u8> = [3_u64, 4, 5].iter().flat_map(|w| w.to_ne_bytes()).collect();
        assert_eq!(total(&words), 12);
    }
}
