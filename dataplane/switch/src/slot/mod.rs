//! The tables of one generation as plain data: an image, and where its NICs are plugged in. Pure.

mod addresses;
mod ports;

use std::{collections::BTreeMap, net::IpAddr};

use portcullis_image::{Image, Network, Rule};
use portcullis_pipeline::{
    addr::{Addr, Mac},
    layout::{
        AddressEntry, GenerationEntry, HolderKey, Members, NetworkEntry, NoticeEntry, PortEntry,
        PrefixEntry, RuleEntry, generation_flag, network_flag,
    },
    shared::is_shared,
};

pub use self::addresses::covers;
use crate::{
    notices,
    numbers::Numbers,
    place::{Leg, Place},
};

/// A port that is to be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPort {
    /// Its interface index.
    pub ifindex: u32,
    /// Largest L3 packet of the interface, bytes.
    pub mtu: u32,
    /// What it stands for.
    pub place: Place,
    /// May VLAN tags be hidden from an XDP program in front of it?
    pub hides_tags: bool,
}

/// Everything that depends on ports, as it is to stand in one slot. What does not (services,
/// rows, cells) is written from the image itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// By index within the slot.
    pub ports: BTreeMap<u32, PortEntry>,
    /// By network id, from 1.
    pub networks: BTreeMap<u32, NetworkEntry>,
    /// Numbers of subports by interface index of the trunk and VLAN id.
    pub subports: Numbers,
    /// Network id by VLAN id: those that an uplink carries with their tag.
    pub vlans: BTreeMap<u16, u32>,
    /// Interface indexes by network id, numbers of subports last.
    pub members: BTreeMap<u32, Vec<u32>>,
    /// By address and scope, see [`AddressKey`](portcullis_pipeline::layout::AddressKey).
    pub addresses: BTreeMap<(Addr, u32), AddressEntry>,
    /// By kind, network id and interface index.
    pub notices: BTreeMap<(u32, u32, u32), NoticeEntry>,
    /// By address and prefix length (of the mapped form).
    pub prefixes: BTreeMap<(Addr, u8), PrefixEntry>,
}

/// Shape of the dense tables of an image; `denied`: the bank of its denied sets.
pub fn shape(image: &Image, generation: u32, denied: u32) -> GenerationEntry {
    GenerationEntry {
        generation,
        classes: image.classes,
        services: image.services,
        world: image.world,
        sources: image.sources,
        shadows: match image.shadows.is_empty() {
            true => 0,
            false => GenerationEntry::shadows_behind(image.cells.len() as u32),
        },
        flags: match image.logs() {
            true => generation_flag::LOGS,
            false => 0,
        },
        denied,
    }
}

/// What holds about the rules, by id; the default, which comes first, never ends. `tick_of`: the
/// tick of a moment in Unix time.
pub fn rules(image: &Image, tick_of: impl Fn(u64) -> u64) -> Vec<RuleEntry> {
    let default = RuleEntry { end: 0, log_per_s: image.log_denied_per_s, reserved: 0 };
    let entry = |rule: &Rule| RuleEntry {
        end: tick_of(rule.until_unix_s),
        log_per_s: rule.log_per_s,
        reserved: 0,
    };
    std::iter::once(default).chain(image.rules.iter().map(entry)).collect()
}

/// When the first rule ends, in ticks; 0: none ends.
pub fn first_end(rules: &[RuleEntry]) -> u64 {
    rules.iter().map(|rule| rule.end).filter(|end| *end > 0).min().unwrap_or(0)
}

/// Builds the tables. `host_addrs`: addresses that the host owns, whatever the policy says.
pub fn build(image: &Image, legs: &[Leg], ports: &[OpenPort], host_addrs: &[IpAddr]) -> Tables {
    let mut tables = Tables::default();
    let builder = Builder { image, legs, ports };
    builder.networks(&mut tables);
    builder.prefixes(&mut tables);
    builder.addresses(&mut tables, host_addrs);
    builder.ports(&mut tables);
    tables
}

impl Tables {
    /// What shared addresses have one holder, each maybe several times.
    pub fn shared(&self) -> impl Iterator<Item = HolderKey> + '_ {
        let shared = self.addresses.values().filter(|entry| is_shared(entry));
        shared.map(|entry| HolderKey { mac: entry.mac, network: entry.network, reserved: 0 })
    }
}

/// Members as the table holds them.
pub fn members(ports: &[u32]) -> Members {
    let mut entry = Members::EMPTY;
    entry.count = ports.len() as u32;
    entry.port[..ports.len()].copy_from_slice(ports);
    entry
}

struct Builder<'a> {
    image: &'a Image,
    legs: &'a [Leg],
    ports: &'a [OpenPort],
}

impl Builder<'_> {
    fn networks(&self, tables: &mut Tables) {
        for (network, id) in self.image.networks.iter().zip(1..) {
            let mut entry = network_entry(network);
            if let Some(leg) = self.legs.iter().find(|l| l.network == id) {
                entry.host_port = leg.ifindex;
            }
            for port in self.ports {
                let Place::Uplink { tagged, untagged } = &port.place else { continue };
                if tagged.contains(&id) {
                    entry.uplink_port = port.ifindex;
                    entry.flags |= network_flag::UPLINK_TAGGED;
                    tables.vlans.insert(network.vlan, id);
                } else if *untagged == id {
                    entry.uplink_port = port.ifindex;
                }
            }
            tables.networks.insert(id, entry);
            notices::of_network(tables, network, id);
        }
    }

    fn prefixes(&self, tables: &mut Tables) {
        for p in &self.image.prefixes {
            let entry = PrefixEntry { class: p.class, network: p.network };
            tables.prefixes.insert((p.addr, p.len), entry);
        }
    }
}

fn network_entry(network: &Network) -> NetworkEntry {
    let gateway = |v4: bool| {
        let found = network.gateway.iter().find(|(a, _)| a.is_v4() == v4);
        found.map_or(Addr::UNSPECIFIED, |(a, _)| *a)
    };
    let mut flags = 0;
    if !network.gateway.is_empty() {
        flags |= network_flag::GATEWAY;
    }
    if network.external {
        flags |= network_flag::EXTERNAL;
    }
    NetworkEntry {
        gateway_v4: gateway(true),
        gateway_v6: gateway(false),
        gateway_mac: if network.gateway.is_empty() { Mac(0).0 } else { network.gateway_mac.0 },
        host_port: 0,
        uplink_port: 0,
        vlan: network.vlan.into(),
        flags,
        mtu: network.mtu,
        reserved: 0,
        ethertypes: std::array::from_fn(|i| network.ethertypes.get(i).copied().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_image::{Limits, Shared};
    use portcullis_pipeline::layout::{
        PortLimits, address_flag, port_flag, port_kind, sharer_scope,
    };
    use proptest::prelude::*;

    use super::{ports::port_limits, *};
    use crate::{place::Subport, testing};

    fn v4(text: &str) -> Addr {
        Addr::from(text.parse::<IpAddr>().unwrap())
    }

    fn nic_port(nic: usize, ifindex: u32) -> OpenPort {
        OpenPort { ifindex, mtu: 1500, place: Place::Nic(nic), hides_tags: false }
    }

    const LEGS: &[Leg] = &[Leg { network: 1, ifindex: 21 }, Leg { network: 2, ifindex: 22 }];

    #[test]
    fn a_guest_that_is_plugged_in_is_a_destination() {
        let image = testing::image();
        let tables = build(&image, LEGS, &[nic_port(0, 31)], &[]);
        let entry = tables.addresses[&(v4("10.10.0.11"), 0)];
        assert_eq!((entry.port, entry.kind, entry.network), (31, port_kind::GUEST, 1));
        let port = tables.ports[&31];
        assert_eq!(
            (port.kind, port.mac, port.ifindex),
            (port_kind::GUEST, image.nics[0].mac.0, 31)
        );
        assert_eq!((port.addrs[0], port.class), (v4("10.10.0.11"), entry.class));
        assert_eq!(tables.members[&1], [31, 21]);
        let link_local = tables.addresses[&(Addr::link_local_of(image.nics[0].mac), 1)];
        assert_eq!((link_local.port, link_local.class), (31, entry.class));
    }

    #[test]
    fn a_guest_that_is_not_plugged_in_is_known_but_nowhere() {
        let tables = build(&testing::image(), LEGS, &[], &[]);
        let entry = tables.addresses[&(v4("10.10.0.11"), 0)];
        assert_eq!((entry.port, entry.kind), (0, port_kind::CLOSED));
        assert!(tables.ports.values().all(|p| p.kind == port_kind::HOST));
    }

    #[test]
    fn the_host_is_behind_its_legs() {
        let image = testing::image();
        let tables = build(&image, LEGS, &[], &["192.0.2.9".parse().unwrap()]);
        let gateway = tables.addresses[&(v4("10.10.0.1"), 0)];
        assert_eq!((gateway.port, gateway.kind, gateway.network), (21, port_kind::HOST, 1));
        let own = tables.addresses[&(v4("192.0.2.9"), 0)];
        assert_eq!((own.port, own.kind, own.class), (0, port_kind::HOST, image.host));
        assert_eq!(tables.networks[&1].host_port, 21);
        assert_eq!(tables.ports[&21].mac, image.networks[0].gateway_mac.0);
    }

    #[test]
    fn an_uplink_may_take_the_most_that_a_network_says_and_a_leg_what_its_own_does() {
        let mut image = testing::image();
        let said = |flows, out_bit_per_s| Limits { flows, out_bit_per_s, ..Limits::default() };
        image.networks[0].uplink_limits = said(Some(70), Some(8_000_000));
        image.networks[1].uplink_limits = said(Some(900), None);
        image.networks[1].host_limits = said(Some(5), Some(8_000_000));
        let port = |tagged: &[u32]| {
            let place = Place::Uplink { tagged: tagged.to_vec(), untagged: 1 };
            let uplink = OpenPort { ifindex: 31, mtu: 1500, place, hides_tags: false };
            let tables = build(&image, LEGS, &[uplink], &[]);
            [tables.ports[&31], tables.ports[&21], tables.ports[&22]]
        };
        let [one, plain, limited] = port(&[]);
        assert_eq!((one.limits.flows, one.flags), (70, port_flag::LIMIT_OUT));
        assert_eq!((plain.limits, plain.flags), (PortLimits::NONE, 0));
        assert_eq!((limited.limits.flows, limited.flags), (5, port_flag::LIMIT_OUT));
        let [both, ..] = port(&[2]);
        assert_eq!((both.limits, both.flags), (port_limits(&said(Some(900), None)), 0));
    }

    #[test]
    fn the_gateway_stays_the_gateway_where_the_host_owns_it() {
        let gateway: IpAddr = "10.10.0.1".parse().unwrap();
        let tables = build(&testing::image(), LEGS, &[], &[gateway]);
        assert_eq!(tables.addresses[&(gateway.into(), 0)].port, 21);
    }

    #[test]
    fn a_single_address_of_a_set_is_a_prefix() {
        let tables = build(&testing::image(), LEGS, &[], &[]);
        let addr = v4("203.0.113.7");
        assert!(!tables.addresses.contains_key(&(addr, 0)));
        let entry = tables.prefixes[&(addr, 128)];
        assert_eq!((entry.class, entry.network), (5, 3));
        // The same address is the host's where the host owns it, whatever class it has.
        let tables = build(&testing::image(), LEGS, &[], &["203.0.113.7".parse().unwrap()]);
        assert_eq!(tables.addresses[&(addr, 0)].kind, port_kind::HOST);
    }

    #[test]
    fn an_uplink_carries_tags_and_one_bare_network() {
        let place = Place::Uplink { tagged: vec![1, 2], untagged: 3 };
        let port = OpenPort { ifindex: 40, mtu: 9000, place, hides_tags: true };
        let tables = build(&testing::image(), &[], &[port], &[]);
        assert_eq!(tables.vlans, BTreeMap::from([(10, 1), (20, 2)]));
        assert_eq!(
            tables.networks[&1].flags & network_flag::UPLINK_TAGGED,
            network_flag::UPLINK_TAGGED
        );
        assert_eq!(tables.networks[&3].flags & network_flag::UPLINK_TAGGED, 0);
        assert_eq!(tables.networks[&3].uplink_port, 40);
        assert_eq!((tables.ports[&40].network, tables.ports[&40].mtu), (3, 9000));
    }

    #[test]
    fn five_addresses_are_more_than_a_port_holds() {
        let mut image = testing::image();
        image.nics[0].addrs = (1..=5).map(|i| Addr::v4([10, 10, 0, 100 + i])).collect();
        let port = build(&image, &[], &[nic_port(0, 31)], &[]).ports[&31];
        assert_eq!(port.flags, port_flag::MORE_ADDRESSES);
        assert_eq!(port.addrs[3], Addr::v4([10, 10, 0, 104]));
    }

    #[test]
    fn a_shared_address_is_of_those_that_are_plugged_in() {
        let mut image = testing::image();
        let addr = v4("10.10.0.100");
        let mac = Mac(0x5e00_0107);
        let local = Addr::link_local_of(mac);
        image.shared.push(Shared {
            name: "front".into(),
            network: 1,
            mac,
            addrs: vec![addr],
            by: vec![0, 1],
        });
        let class = |addr, scope| portcullis_image::AddressClass { addr, scope, class: 4 };
        image.addresses.extend([class(addr, 0), class(local, 1)]);
        image.addresses.sort();
        let state = |ports: &[OpenPort]| {
            let tables = build(&image, LEGS, ports, &[]);
            let entry = tables.addresses[&(addr, 0)];
            assert_eq!((entry.mac, entry.class, entry.port), (mac.0, 4, 0));
            assert_eq!(tables.shared().count(), 2);
            (entry.kind, entry.flags, tables)
        };
        let (kind, flags, _) = state(&[]);
        assert_eq!((kind, flags), (port_kind::CLOSED, address_flag::SHARED | address_flag::AWAY));
        let (kind, flags, tables) = state(&[nic_port(1, 31), nic_port(2, 32)]);
        assert_eq!((kind, flags), (port_kind::GUEST, address_flag::SHARED | address_flag::AWAY));
        let own = tables.addresses[&(addr, sharer_scope(31))];
        assert_eq!((own.mac, own.port, own.class), (image.nics[1].mac.0, 31, 4));
        assert!(tables.addresses.contains_key(&(local, sharer_scope(31))));
        assert!(!tables.addresses.contains_key(&(addr, sharer_scope(32))));
        assert_eq!(tables.ports[&31].flags & port_flag::SHARES, port_flag::SHARES);
        assert_eq!(tables.ports[&32].flags & port_flag::SHARES, 0);
        let (_, flags, _) = state(&[nic_port(0, 30), nic_port(1, 31)]);
        assert_eq!(flags, address_flag::SHARED);
    }

    #[test]
    fn a_trunk_is_one_interface_and_several_ports() {
        let mut image = testing::image();
        for (nic, tagged) in [(2, false), (3, true)] {
            image.nics[nic].trunk = Some(portcullis_image::Trunk { number: 0, tagged });
        }
        let number = portcullis_pipeline::subport::number(9);
        let tagged = vec![Subport { nic: 3, number }];
        let both = Place::Trunk { untagged: Some(2), tagged: tagged.clone() };
        let port = |place| OpenPort { ifindex: 31, mtu: 1500, place, hides_tags: false };
        let tables = build(&image, LEGS, &[port(both), nic_port(1, 32)], &[]);
        let (bare, own) = (tables.ports[&31], tables.ports[&9]);
        assert_eq!((bare.flags, bare.network), (port_flag::TRUNK, image.nics[2].network));
        assert_eq!((own.ifindex, own.device, own.flags), (number, 31, 0));
        assert_eq!((own.kind, own.network), (port_kind::GUEST, image.nics[3].network));
        let vlan = image.network(own.network).unwrap().vlan;
        assert_eq!(tables.subports, BTreeMap::from([((31, vlan), number)]));
        assert_eq!(tables.members[&own.network].last(), Some(&number), "tagged ones come last");
        let entry = tables.addresses[&(image.nics[3].addrs[0], 0)];
        assert_eq!((entry.port, entry.kind), (number, port_kind::GUEST));
        // Without an untagged network the interface itself is no port of anybody.
        let tables = build(&image, LEGS, &[port(Place::Trunk { untagged: None, tagged })], &[]);
        let bare = tables.ports[&31];
        assert_eq!((bare.flags, bare.network, bare.mac), (port_flag::TRUNK, 0, 0));
        assert!(tables.members.values().flatten().all(|p| *p != 31));
    }

    #[test]
    fn rules_carry_their_end_and_their_rate() {
        let rule = |until_unix_s, log_per_s| Rule {
            name: "r".into(),
            file: "p.yaml".into(),
            line: 1,
            column: 1,
            allow: true,
            observe: false,
            log_per_s,
            until_unix_s,
        };
        let mut image = testing::image();
        assert_eq!((shape(&image, 1, 0).flags, first_end(&rules(&image, |s| s))), (0, 0));
        image.rules = vec![rule(0, 0), rule(90, 7), rule(80, 0)];
        image.shadows = image.cells.clone();
        let entries = rules(&image, |s| s * 10);
        let got: Vec<_> = entries.iter().map(|r| (r.end, r.log_per_s)).collect();
        assert_eq!(got, [(0, 0), (0, 0), (900, 7), (800, 0)]);
        assert_eq!(first_end(&entries), 800);
        let shape = shape(&image, 1, 2);
        assert_eq!((shape.flags, shape.shadows), (generation_flag::LOGS, 4096));
        assert_eq!(shape.denied, 2);
    }

    proptest! {
        /// Whatever is plugged in, only declared NICs have ports, every port of an address is an
        /// open port of that address's network, and unplugging all of it leaves the bare tables.
        #[test]
        fn ports_and_addresses_agree(plugged in proptest::collection::btree_map(0usize..4, 100u32..200, 0..4)) {
            let image = testing::image();
            let mut used = std::collections::BTreeSet::new();
            let ports: Vec<_> = plugged
                .into_iter()
                .filter(|(_, ifindex)| used.insert(*ifindex))
                .map(|(nic, ifindex)| nic_port(nic, ifindex))
                .collect();
            let tables = build(&image, LEGS, &ports, &[]);
            for entry in tables.addresses.values() {
                if entry.kind == port_kind::GUEST {
                    let port = tables.ports[&entry.port];
                    prop_assert_eq!((port.mac, port.network), (entry.mac, entry.network));
                    prop_assert!(tables.members[&entry.network].contains(&entry.port));
                } else {
                    prop_assert!(entry.port == 0 || LEGS.iter().any(|l| l.ifindex == entry.port));
                }
            }
            prop_assert_eq!(tables.ports.len(), ports.len() + LEGS.len());
        }
    }
}
