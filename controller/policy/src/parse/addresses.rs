//! Whose each address and MAC is: no two owners, none outside its network, and `auto`.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use portcullis_pipeline::addr::{Addr, Mac};

use super::{Builder, guests::NicDraft};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    hash,
    model::{Guest, Network, Nic},
    problem::Problem,
    source::Span,
};

/// Who has what.
#[derive(Default)]
pub struct Inventory {
    addrs: HashMap<IpAddr, (String, Span)>,
    macs: HashMap<Mac, (String, Span)>,
}

impl Inventory {
    /// Gives an address to an owner, unless it has one.
    pub fn take(&mut self, addr: IpAddr, owner: String, span: Span, diags: &mut Diagnostics) {
        if let Some((first, at)) = self.addrs.get(&addr) {
            let problem = Problem::AddressTaken { addr, owner: first.clone() };
            diags.push(Diagnostic::new(problem, span).label(*at, "there"));
            return;
        }
        self.addrs.insert(addr, (owner, span));
    }

    /// Gives a MAC to an owner, unless it has one.
    pub fn take_mac(&mut self, mac: Mac, owner: String, span: Span, diags: &mut Diagnostics) {
        if let Some((first, at)) = self.macs.get(&mac) {
            let problem = Problem::MacTaken { mac, owner: first.clone() };
            diags.push(Diagnostic::new(problem, span).label(*at, "there"));
            return;
        }
        self.macs.insert(mac, (owner, span));
    }

    /// A MAC that follows from names: the same on every host and at every start.
    fn auto_mac(&mut self, what: &str, owner: String, span: Span) -> Mac {
        let mut seed = hash::stable(what);
        loop {
            // Locally administered, unicast (IEEE 802, section 8.4.2).
            let mac = Mac(0x02 << 40 | seed & 0xff_ffff_ffff);
            if let std::collections::hash_map::Entry::Vacant(free) = self.macs.entry(mac) {
                free.insert((owner, span));
                return mac;
            }
            seed = seed.wrapping_add(1);
        }
    }

    /// A free address of a subnet that follows from names, `None` if all are taken.
    fn auto_addr(&self, what: &str, mac: Mac, subnet: IpNet) -> Option<IpAddr> {
        let host_bits = u32::from(subnet.max_prefix_len() - subnet.prefix_len());
        let size = 1u128.checked_shl(host_bits).unwrap_or(u128::MAX);
        // Where SLAAC would put it (RFC 4291, appendix A), else where the name says.
        let start = match subnet {
            IpNet::V6(_) if host_bits >= 64 => u128::from(Addr::link_local_of(mac).lo),
            _ => u128::from(hash::stable(what)) % size,
        };
        // Each taken address costs one step at most, and so do the reserved ones.
        let steps = size.min(self.addrs.len() as u128 + 3);
        let candidates = (0..steps).map(|i| nth(subnet, start.wrapping_add(i) % size));
        candidates
            .filter(|addr| reserved(*addr, subnet).is_none())
            .find(|addr| !self.addrs.contains_key(addr))
    }
}

/// The address of a subnet with this number, from 0.
fn nth(subnet: IpNet, n: u128) -> IpAddr {
    match subnet.network() {
        IpAddr::V4(base) => Ipv4Addr::from(u32::from(base).wrapping_add(n as u32)).into(),
        IpAddr::V6(base) => Ipv6Addr::from(u128::from(base).wrapping_add(n)).into(),
    }
}

/// The first address that a machine can have.
pub fn first_host(subnet: &IpNet) -> IpAddr {
    let first = nth(*subnet, 0);
    if reserved(first, *subnet).is_none() { first } else { nth(*subnet, 1) }
}

/// Why no machine can have this address of a subnet, if so. Subnets of one or two addresses
/// have no reserved ones (RFC 3021, RFC 6164).
pub fn reserved(addr: IpAddr, subnet: IpNet) -> Option<Problem> {
    if subnet.max_prefix_len() - subnet.prefix_len() < 2 {
        return None;
    }
    let role = match subnet {
        IpNet::V4(_) if addr == subnet.network() => "network",
        IpNet::V4(_) if addr == subnet.broadcast() => "broadcast",
        IpNet::V6(_) if addr == subnet.network() => "subnet-router anycast",
        _ => return None,
    };
    Some(Problem::AddressReserved { addr, role, subnet })
}

/// The guest or shared address, as the owner of something.
fn owner(guest: &Guest) -> String {
    let what = if guest.sharing.is_some() { "shared address" } else { "guest" };
    format!("{what} `{}`", guest.name)
}

/// The MAC of a virtual router (RFC 9568, section 7.3).
pub fn virtual_mac(router: u8, v6: bool) -> Mac {
    Mac(0x5e00_0100 + (u64::from(v6) << 8) + u64::from(router))
}

impl NicDraft {
    /// The subnets that are to give it an address of their own.
    fn open<'n>(&self, network: &'n Network) -> impl Iterator<Item = &'n IpNet> {
        let written: Vec<IpAddr> = self.addrs.iter().map(|&(addr, _)| addr).collect();
        let auto = self.auto;
        network.subnets.iter().filter(move |s| auto && !written.iter().any(|a| s.contains(a)))
    }

    /// Is its first address IPv6?
    pub fn is_v6(&self, network: &Network) -> bool {
        let written = self.addrs.first().map(|(addr, _)| addr.is_ipv6());
        let auto = || self.open(network).next().map(|s| s.addr().is_ipv6());
        written.or_else(auto).unwrap_or(false)
    }

    /// Has it, or will it have, addresses of both families?
    pub fn is_mixed(&self, network: &Network) -> bool {
        let v6 = self.is_v6(network);
        self.addrs.iter().any(|(addr, _)| addr.is_ipv6() != v6)
            || self.open(network).any(|s| s.addr().is_ipv6() != v6)
    }
}

impl Builder<'_> {
    /// Gives every NIC and the host their addresses: what is written out first, then `auto` in
    /// the order of the names, so that the order of the text does not matter.
    pub fn assign_addresses(&mut self, mut drafts: Vec<NicDraft>) {
        self.host_addresses();
        for draft in &mut drafts {
            self.explicit(draft);
        }
        for i in 0..self.model.networks.len() {
            self.auto_gateway_mac(i);
        }
        let key = |d: &NicDraft| {
            let name = &self.model.networks[d.network].name;
            let follows = d.trunk.is_some() && !d.leads;
            (self.model.guests[d.guest].name.clone(), follows, name.clone())
        };
        let mut order: Vec<usize> = (0..drafts.len()).collect();
        order.sort_by_cached_key(|&i| key(&drafts[i]));
        let mut nics: Vec<Option<Nic>> = drafts.iter().map(|_| None).collect();
        let mut macs: HashMap<(usize, u32), Mac> = HashMap::new();
        for i in order {
            let trunk = drafts[i].trunk.map(|trunk| (drafts[i].guest, trunk.number));
            let shared = trunk.and_then(|trunk| macs.get(&trunk)).copied();
            let nic = self.finish(&drafts[i], shared);
            let leads = drafts[i].leads || drafts[i].mac.is_none();
            if let Some(trunk) = trunk.filter(|_| leads) {
                macs.entry(trunk).or_insert(nic.mac);
            }
            nics[i] = Some(nic);
        }
        for (draft, nic) in drafts.iter().zip(nics) {
            self.model.guests[draft.guest].nics.extend(nic);
        }
    }

    fn host_addresses(&mut self) {
        let host = std::mem::take(&mut self.model.host);
        for h in &host {
            let subnet = self.network_of(h.addr).map(|(_, subnet)| subnet);
            if let Some(problem) = subnet.and_then(|s| reserved(h.addr, s)) {
                self.diags.report(problem, h.span);
            }
            self.inventory.take(h.addr, "the host".into(), h.span, self.diags);
        }
        self.model.host = host;
    }

    /// Checks the addresses and the MAC that are written out; those that do not fit are dropped.
    fn explicit(&mut self, draft: &mut NicDraft) {
        let owner = owner(&self.model.guests[draft.guest]);
        let network = &self.model.networks[draft.network];
        for &(addr, span) in &draft.addrs {
            let Some(&subnet) = network.subnets.iter().find(|s| s.contains(&addr)) else {
                let problem = Problem::OutsideNetwork { addr, network: network.name.clone() };
                let subnets: Vec<_> = network.subnets.iter().map(IpNet::to_string).collect();
                let help = format!("`{}` has {}", network.name, subnets.join(", "));
                self.diags.push(
                    Diagnostic::new(problem, span).label(network.span, "its network").help(help),
                );
                continue;
            };
            match reserved(addr, subnet) {
                Some(problem) => self.diags.report(problem, span),
                None => self.inventory.take(addr, owner.clone(), span, self.diags),
            }
        }
        if let Some((mac, span)) = draft.mac {
            self.inventory.take_mac(mac, owner, span, self.diags);
        }
    }

    fn auto_gateway_mac(&mut self, network: usize) {
        let network = &mut self.model.networks[network];
        if network.gateway_mac == Mac::default() {
            let owner = format!("the gateway of network `{}`", network.name);
            let what = format!("gateway {}", network.name);
            network.gateway_mac = self.inventory.auto_mac(&what, owner, network.span);
        }
    }

    /// `shared`: the MAC of the interface that carries it, where another NIC has brought that.
    fn finish(&mut self, draft: &NicDraft, shared: Option<Mac>) -> Nic {
        let guest = &self.model.guests[draft.guest];
        let network = &self.model.networks[draft.network];
        let what = format!("guest {} {}", guest.name, network.name);
        let owner = owner(guest);
        let mac = match (draft.mac, draft.router) {
            (Some((mac, _)), _) => mac,
            (None, Some((router, _))) => virtual_mac(router, draft.is_v6(network)),
            (None, None) if shared.is_some() => shared.unwrap_or_default(),
            (None, None) => self.inventory.auto_mac(&what, owner.clone(), draft.span),
        };
        let mut addrs: Vec<IpAddr> = draft.addrs.iter().map(|&(addr, _)| addr).collect();
        let subnets: Vec<IpNet> = draft.open(network).copied().collect();
        for subnet in subnets {
            match self.inventory.auto_addr(&what, mac, subnet) {
                Some(addr) => {
                    self.inventory.take(addr, owner.clone(), draft.span, self.diags);
                    addrs.push(addr);
                }
                None => self.diags.report(Problem::SubnetFull { subnet }, draft.span),
            }
        }
        let limits = draft.limits.over(self.model.networks[draft.network].limits);
        Nic { network: draft.network, mac, addrs, limits, trunk: draft.trunk }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_never_moves() {
        // These values are in people's DHCP leases and neighbour caches: a change here is a
        // change of every installation.
        let mut inventory = Inventory::default();
        let mac = inventory.auto_mac("guest web1 dmz", "x".into(), Span::default());
        assert_eq!(mac.to_string(), "02:16:dc:4b:61:ff");
        let v4 = inventory.auto_addr("guest web1 dmz", mac, "10.0.0.0/24".parse().unwrap());
        let v6 = inventory.auto_addr("guest web1 dmz", mac, "fd00::/64".parse().unwrap());
        assert_eq!(v4, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(v6, Some("fd00::16:dcff:fe4b:61ff".parse().unwrap()));
    }

    #[test]
    fn auto_fills_a_subnet_and_no_more() {
        let subnet: IpNet = "10.0.0.0/29".parse().unwrap();
        let mut inventory = Inventory::default();
        let mut diags = Diagnostics::default();
        for i in 0..6 {
            let addr = inventory.auto_addr(&format!("g{i}"), Mac(2), subnet).unwrap();
            assert!(reserved(addr, subnet).is_none());
            inventory.take(addr, "x".into(), Span::default(), &mut diags);
        }
        assert!(diags.is_empty());
        assert_eq!(inventory.auto_addr("g7", Mac(2), subnet), None);
    }
}
