//! Whose every declared address is, and where it is plugged in.

use std::{collections::BTreeMap, net::IpAddr};

use portcullis_image::{Nic, Shared};
use portcullis_pipeline::{
    addr::Addr,
    layout::{AddressEntry, PrefixEntry, address_flag, port_kind, sharer_scope},
};

use super::{Builder, Tables};

/// Whose a declared address is.
#[derive(Clone, Copy)]
enum Owner {
    /// Of this NIC.
    Nic(usize),
    /// The gateway of this network.
    Gateway(u32),
    /// Shared: index into [`Image::shared`].
    Shared(usize),
}

impl Builder<'_> {
    pub(super) fn addresses(&self, tables: &mut Tables, host_addrs: &[IpAddr]) {
        let owners = self.owners();
        let owned = host_addrs.iter().map(|a| Addr::from(*a));
        let host: Vec<Addr> = owned.chain(self.image.host_addresses.iter().copied()).collect();
        for known in &self.image.addresses {
            let key = (known.addr, known.scope);
            match owners.get(&key) {
                Some(owner) => {
                    tables.addresses.insert(key, self.owned(*owner, known.class));
                }
                None if host.contains(&known.addr) => {
                    tables.addresses.insert(key, host_entry(known.class));
                }
                // Nobody plugged in: a single address of a set, for which the longest prefix says
                // where it is.
                None => self.single(tables, known.addr, known.class),
            }
        }
        for addr in host.iter().filter(|a| !a.is_link_local_v6()) {
            tables.addresses.entry((*addr, 0)).or_insert_with(|| host_entry(self.image.host));
        }
        self.link_local(tables, &owners);
        self.sharers(tables);
    }

    /// Addresses that belong to a NIC or a gateway, with their scope.
    fn owners(&self) -> BTreeMap<(Addr, u32), Owner> {
        let mut owners = BTreeMap::new();
        for (nic, index) in self.image.nics.iter().zip(0..) {
            owners.extend(
                nic.addrs.iter().map(|a| ((*a, scope(*a, nic.network)), Owner::Nic(index))),
            );
            owners.insert((Addr::link_local_of(nic.mac), nic.network), Owner::Nic(index));
        }
        for (shared, index) in self.image.shared.iter().zip(0..) {
            owners.extend(addresses_of(shared).map(|key| (key, Owner::Shared(index))));
        }
        for (network, id) in self.image.networks.iter().zip(1..) {
            if network.gateway.is_empty() {
                continue;
            }
            owners.extend(network.gateway.iter().map(|(a, _)| ((*a, 0), Owner::Gateway(id))));
            owners.insert((Addr::link_local_of(network.gateway_mac), id), Owner::Gateway(id));
        }
        owners
    }

    fn owned(&self, owner: Owner, class: u32) -> AddressEntry {
        match owner {
            Owner::Nic(index) => {
                let nic = &self.image.nics[index];
                let port = self.port_of(index).unwrap_or(0);
                let kind = if port == 0 { port_kind::CLOSED } else { port_kind::GUEST };
                AddressEntry { mac: nic.mac.0, class, port, network: nic.network, kind, flags: 0 }
            }
            Owner::Shared(index) => self.shared_entry(&self.image.shared[index], class),
            Owner::Gateway(id) => AddressEntry {
                mac: self.image.network(id).map_or(0, |n| n.gateway_mac.0),
                class,
                port: self.legs.iter().find(|l| l.network == id).map_or(0, |l| l.ifindex),
                network: id,
                kind: port_kind::HOST,
                flags: 0,
            },
        }
    }

    fn shared_entry(&self, shared: &Shared, class: u32) -> AddressEntry {
        let here = shared.by.iter().filter(|nic| self.port_of(**nic).is_some()).count();
        let away = if here < shared.by.len() { address_flag::AWAY } else { 0 };
        AddressEntry {
            mac: shared.mac.0,
            class,
            port: 0,
            network: shared.network,
            kind: if here > 0 { port_kind::GUEST } else { port_kind::CLOSED },
            flags: address_flag::SHARED | away,
        }
    }

    /// Who may hold which shared address: an entry for each of its ports.
    fn sharers(&self, tables: &mut Tables) {
        for shared in &self.image.shared {
            let here = shared.by.iter().filter_map(|nic| Some((*nic, self.port_of(*nic)?)));
            for (nic, port) in here {
                for (addr, scope) in addresses_of(shared) {
                    let class = tables.addresses.get(&(addr, scope)).map_or(0, |e| e.class);
                    let entry = AddressEntry {
                        mac: self.image.nics[nic].mac.0,
                        class,
                        port,
                        network: shared.network,
                        kind: port_kind::GUEST,
                        flags: 0,
                    };
                    tables.addresses.insert((addr, sharer_scope(port)), entry);
                }
            }
        }
    }

    /// The port that carries a NIC.
    fn port_of(&self, nic: usize) -> Option<u32> {
        let mut all = self.ports.iter().flat_map(|p| p.place.nics(p.ifindex));
        all.find_map(|(index, port)| (index == nic).then_some(port))
    }

    /// A single address without an owner is a prefix of full length.
    fn single(&self, tables: &mut Tables, addr: Addr, class: u32) {
        let covering = self.image.prefixes.iter().filter(|p| covers(p.addr, p.len, addr));
        let network = covering.max_by_key(|p| p.len).map_or(0, |p| p.network);
        tables.prefixes.insert((addr, 128), PrefixEntry { class, network });
    }

    /// The link-local addresses that follow from MACs, where the image does not name them.
    fn link_local(&self, tables: &mut Tables, owners: &BTreeMap<(Addr, u32), Owner>) {
        for (key, owner) in owners.iter().filter(|((a, _), _)| a.is_link_local_v6()) {
            if tables.addresses.contains_key(key) {
                continue;
            }
            let class = match owner {
                Owner::Gateway(_) => self.image.host,
                Owner::Nic(index) => self.nic_class(tables, &self.image.nics[*index]),
                // The image names those of all shared addresses.
                Owner::Shared(_) => continue,
            };
            tables.addresses.insert(*key, self.owned(*owner, class));
        }
    }

    /// Class of a NIC's first address; that of the outside for one without any.
    pub(super) fn nic_class(&self, tables: &Tables, nic: &Nic) -> u32 {
        let first = nic.addrs.first().map(|a| (*a, scope(*a, nic.network)));
        first.and_then(|k| tables.addresses.get(&k)).map_or(self.image.world, |e| e.class)
    }
}

/// The keys of shared addresses, the link-local one that follows from their MAC among them.
fn addresses_of(shared: &Shared) -> impl Iterator<Item = (Addr, u32)> + '_ {
    let declared = shared.addrs.iter().map(|a| (*a, scope(*a, shared.network)));
    declared.chain([(Addr::link_local_of(shared.mac), shared.network)])
}

/// An address of the host by which no network of ours knows it: reached through the leg of the
/// network that a packet comes from.
fn host_entry(class: u32) -> AddressEntry {
    AddressEntry { mac: 0, class, port: 0, network: 0, kind: port_kind::HOST, flags: 0 }
}

/// The scope that an address of a network has: link-local ones mean something there only.
fn scope(addr: Addr, network: u32) -> u32 {
    if addr.is_link_local_v6() { network } else { 0 }
}

/// Does a prefix (its length that of the mapped form) cover an address?
pub fn covers(prefix: Addr, len: u8, addr: Addr) -> bool {
    let bits = |a: Addr| u128::from_be_bytes(a.octets());
    let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
    bits(prefix) & mask == bits(addr) & mask
}
