//! Putting the image together.

use portcullis_image::{AddressClass, Image, Network, Nic, Offer, PrefixClass, Rule, Shared};
use portcullis_pipeline::addr::Addr;

use super::{
    block::{Block, addr, number},
    classes::Classes,
    rowset::Rows,
    services::ServiceClasses,
    space::Space,
};
use crate::{
    model::{self, Action, Kind, Model},
    source::Sources,
};

/// The image of a compiled policy.
pub fn assemble(
    model: &Model,
    rules: &[model::Rule],
    space: &Space,
    classes: &Classes,
    services: &ServiceClasses,
    rows: Rows,
) -> Image {
    let mut image = Image {
        networks: model.networks.iter().map(network).collect(),
        nics: model.guests.iter().flat_map(nics).collect(),
        shared: model.shared().flat_map(|(i, guest, _)| shared(model, i, guest)).collect(),
        host_addresses: model.host.iter().map(|h| h.addr.into()).collect(),
        rules: rules.iter().map(|r| rule(r, &model.sources)).collect(),
        log_denied_per_s: model.log_denied.map_or(0, |log| log.events_per_s),
        ..Image::closed()
    };
    set_classes(&mut image, model, space, classes);
    set_services(&mut image, services);
    set_rows(&mut image, rows);
    image
}

/// Writes identity classes into an image.
pub fn set_classes(image: &mut Image, model: &Model, space: &Space, classes: &Classes) {
    (image.prefixes, image.world) = prefixes(space, classes);
    image.addresses = addresses(model, space, classes);
    image.host = classes.of_atom(space.host_atom());
    image.classes = classes.len() as u32;
}

/// Writes service classes into an image.
pub fn set_services(image: &mut Image, services: &ServiceClasses) {
    image.services = services.len() as u32;
    image.sources = services.source_classes() as u32;
    image.service_tables = services.tables();
    image.source_tables = services.source_tables();
}

/// Writes the verdict table into an image.
pub fn set_rows(image: &mut Image, rows: Rows) {
    (image.rows, image.cells, image.shadows) = (rows.rows, rows.cells, rows.shadows);
}

fn network(n: &model::Network) -> Network {
    let block = |s: &ipnet::IpNet| {
        let b = Block::of(*s);
        (addr(b.first), b.len)
    };
    Network {
        name: n.name.clone(),
        vlan: n.vlan,
        subnets: n.subnets.iter().map(block).collect(),
        gateway: n.gateway.iter().map(|&(a, s)| (Addr::from(a), s.prefix_len())).collect(),
        gateway_mac: n.gateway_mac,
        external: n.kind == Kind::External,
        mtu: n.mtu,
        offer: Offer {
            dhcp: n.offer.dhcp,
            dns: n.offer.dns.iter().map(|&a| Addr::from(a)).collect(),
            domain: n.offer.domain.clone().unwrap_or_default(),
            lease_s: n.offer.lease_s,
        },
        ethertypes: n.ethertypes.clone(),
        uplink_limits: n.uplink_limits,
        host_limits: n.host_limits,
    }
}

fn nics(guest: &model::Guest) -> impl Iterator<Item = Nic> + '_ {
    let nics = guest.nics.iter().filter(|_| guest.sharing.is_none());
    nics.map(|nic| Nic {
        guest: guest.name.clone(),
        network: nic.network as u32 + 1,
        mac: nic.mac,
        addrs: nic.addrs.iter().map(|&a| Addr::from(a)).collect(),
        limits: nic.limits,
        trunk: nic.trunk,
    })
}

/// A shared address: of guests' NICs, which are numbered in the order of the guests.
fn shared<'m>(
    model: &'m Model,
    index: usize,
    guest: &'m model::Guest,
) -> impl Iterator<Item = Shared> + 'm {
    let number = |(guest, nic): (usize, usize)| {
        model.guests[..guest].iter().map(|g| g.nics.len()).sum::<usize>() + nic
    };
    guest.nics.iter().map(move |nic| Shared {
        name: guest.name.clone(),
        network: nic.network as u32 + 1,
        mac: nic.mac,
        addrs: nic.addrs.iter().map(|&a| Addr::from(a)).collect(),
        by: model.sharers(index).map(number).collect(),
    })
}

/// A rule as cells name it.
pub fn rule(rule: &model::Rule, sources: &Sources) -> Rule {
    let at = sources.position(rule.span);
    Rule {
        name: rule.name.clone(),
        file: at.file,
        line: at.line,
        column: at.column,
        allow: rule.action == Action::Allow,
        observe: rule.observe,
        log_per_s: rule.log.map_or(0, |l| l.events_per_s),
        until_unix_s: rule.until.as_ref().map_or(0, |u| u.at_unix_s),
    }
}

/// Declared addresses, and the link-local ones that follow from MACs: these count as the first
/// address of their NIC or gateway.
fn addresses(model: &Model, space: &Space, classes: &Classes) -> Vec<AddressClass> {
    let declared = space.points().map(|i| AddressClass {
        addr: addr(space.atoms()[i].example),
        scope: 0,
        class: classes.of_atom(i),
    });
    let mut all: Vec<AddressClass> = declared.collect();
    let class_of = |first: std::net::IpAddr| {
        let atoms = &space.atoms()[space.points()];
        let found = atoms.binary_search_by_key(&number(first), |a| a.example);
        found.ok().map(|i| classes.of_atom(i))
    };
    let nics = model.guests.iter().flat_map(|g| &g.nics);
    let nics = nics.filter_map(|n| Some((n.network, n.mac, *n.addrs.first()?)));
    let gateways = model.networks.iter().enumerate();
    let gateways = gateways.filter_map(|(i, n)| Some((i, n.gateway_mac, n.gateway.first()?.0)));
    let link_local = nics.chain(gateways).filter_map(|(network, mac, first)| {
        let scope = network as u32 + 1;
        Some(AddressClass { addr: Addr::link_local_of(mac), scope, class: class_of(first)? })
    });
    all.extend(link_local);
    all.sort_unstable();
    all
}

/// Regions as longest prefixes, without those that say what the next shorter one says; and the
/// class of everything else.
fn prefixes(space: &Space, classes: &Classes) -> (Vec<PrefixClass>, u32) {
    let mut world = None;
    let mut prefixes: Vec<PrefixClass> = Vec::new();
    // The prefixes around the one at hand, as numbers: IPv4 stands inside IPv6.
    let mut around: Vec<(Block, u32, u32)> = Vec::new();
    for (block, atom) in space.regions() {
        let class = classes.of_atom(atom);
        let network = space.atoms()[atom].network.map_or(0, |n| n as u32 + 1);
        if block == Block::ALL {
            world = Some(class);
            continue;
        }
        while around.pop_if(|(b, ..)| b.last() < block.first).is_some() {}
        let above = around.last().map(|&(_, class, network)| (class, network));
        let above = above.or(world.map(|class| (class, 0)));
        if above != Some((class, network)) {
            prefixes.push(PrefixClass { addr: addr(block.first), len: block.len, class, network });
            around.push((block, class, network));
        }
    }
    // Without a region for "everything else" no address is looked up there.
    (prefixes, world.unwrap_or_else(|| classes.of_atom(space.host_atom())))
}
