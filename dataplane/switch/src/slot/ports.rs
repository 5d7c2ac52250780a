//! The ports of a slot, and what they may take.

use portcullis_image::{Limits, Nic};
use portcullis_pipeline::{
    addr::Addr,
    layout::{PortEntry, PortLimits, Rate, port_flag, port_kind},
    subport::is_subport,
    tables::TICKS_PER_SECOND,
};

use super::{Builder, OpenPort, Tables};
use crate::{
    notices,
    place::{Place, table_index, vlan_of},
};

/// How long a port may take more than its rate at once.
const EVENT_BURST_TICKS: u64 = TICKS_PER_SECOND;
/// For bytes: longer than the 200 ms for which Linux' TCP is silent at least when it has lost all
/// that it sent; what such a sender leaves unused meanwhile would be lost to it otherwise.
const BYTE_BURST_TICKS: u64 = 3 * TICKS_PER_SECOND / 10;
/// Two frames as large as they come, so that they pass at any rate.
const BYTE_BURST_LEAST: u64 = 2 * 65_550;

impl Builder<'_> {
    pub(super) fn ports(&self, tables: &mut Tables) {
        for port in self.ports {
            self.guest_ports(tables, port);
            let index = table_index(port.ifindex);
            let bare = PortEntry { mtu: port.mtu, ..port_entry(port.ifindex) };
            match &port.place {
                Place::Nic(_) => {}
                Place::Trunk { .. } => {
                    // Without an untagged network it has no address, and takes no frame without a
                    // tag.
                    let closed = PortEntry { kind: port_kind::GUEST, ..bare };
                    tables.ports.entry(index).or_insert(closed).flags |= port_flag::TRUNK;
                }
                Place::Uplink { tagged, untagged } => {
                    let mut flags = 0;
                    if port.hides_tags && !tagged.is_empty() {
                        flags = port_flag::HIDES_TAGS;
                    }
                    let (kind, network) = (port_kind::UPLINK, *untagged);
                    let mut entry = PortEntry { kind, flags, network, ..bare };
                    let networks = tagged.iter().chain([untagged]);
                    let said = networks.filter_map(|id| self.image.network(*id));
                    let said = said.map(|network| network.uplink_limits);
                    limit(&mut entry, &said.fold(Limits::LEAST, Limits::most));
                    tables.ports.insert(index, entry);
                }
            }
        }
        for leg in self.legs {
            let Some(network) = self.image.network(leg.network) else { continue };
            tables.members.entry(leg.network).or_default().push(leg.ifindex);
            let mut entry = PortEntry {
                mac: network.gateway_mac.0,
                mtu: network.mtu,
                kind: port_kind::HOST,
                network: leg.network,
                class: self.image.host,
                ..port_entry(leg.ifindex)
            };
            limit(&mut entry, &network.host_limits);
            tables.ports.insert(table_index(leg.ifindex), entry);
        }
        // Copies without a tag are made first.
        tables.members.values_mut().for_each(|ports| ports.sort_by_key(|p| is_subport(*p)));
    }

    /// The ports of the NICs that an interface carries.
    fn guest_ports(&self, tables: &mut Tables, port: &OpenPort) {
        for (index, number) in port.place.nics(port.ifindex) {
            let nic = &self.image.nics[index];
            tables.members.entry(nic.network).or_default().push(number);
            let mut entry = self.guest_port(tables, number, nic);
            entry.device = port.ifindex;
            if self.image.shared.iter().any(|s| s.by.contains(&index)) {
                entry.flags |= port_flag::SHARES;
            }
            if number != port.ifindex {
                tables.subports.insert((port.ifindex, vlan_of(self.image, index)), number);
            }
            tables.ports.insert(table_index(number), entry);
        }
    }

    fn guest_port(&self, tables: &mut Tables, ifindex: u32, nic: &Nic) -> PortEntry {
        let network = self.image.network(nic.network);
        if let Some(network) = network {
            notices::of_nic(tables, network, nic, ifindex);
        }
        let mut entry = PortEntry {
            mac: nic.mac.0,
            mtu: network.map_or(0, |n| n.mtu),
            kind: port_kind::GUEST,
            network: nic.network,
            class: self.nic_class(tables, nic),
            ..port_entry(ifindex)
        };
        for (to, from) in entry.addrs.iter_mut().zip(&nic.addrs) {
            *to = *from;
        }
        if nic.addrs.len() > entry.addrs.len() {
            entry.flags |= port_flag::MORE_ADDRESSES;
        }
        limit(&mut entry, &nic.limits);
        entry
    }
}

/// Gives a port its limits.
fn limit(entry: &mut PortEntry, limits: &Limits) {
    if limits.in_bit_per_s.is_some() {
        entry.flags |= port_flag::LIMIT_IN;
    }
    if limits.out_bit_per_s.is_some() {
        entry.flags |= port_flag::LIMIT_OUT;
    }
    entry.limits = port_limits(limits);
}

/// Limits as the programs count them.
pub(super) fn port_limits(l: &Limits) -> PortLimits {
    let events = |per_s: Option<u32>| Rate::new(per_s.unwrap_or(0).into(), EVENT_BURST_TICKS, 1);
    let bytes = |bit_per_s: Option<u64>| {
        Rate::new(bit_per_s.unwrap_or(0) / 8, BYTE_BURST_TICKS, BYTE_BURST_LEAST)
    };
    PortLimits {
        flows: l.flows.unwrap_or(0),
        half_open: l.half_open.unwrap_or(0),
        new: events(l.new_per_s),
        broadcast: events(l.broadcast_per_s),
        neighbours: events(l.neighbours_per_s),
        receive: bytes(l.in_bit_per_s),
        send: bytes(l.out_bit_per_s),
        reserved: 0,
    }
}

/// A closed port.
fn port_entry(ifindex: u32) -> PortEntry {
    PortEntry {
        addrs: [Addr::UNSPECIFIED; 4],
        mac: 0,
        ifindex,
        mtu: 0,
        kind: port_kind::CLOSED,
        flags: 0,
        network: 0,
        device: ifindex,
        class: 0,
        limits: PortLimits::NONE,
    }
}
