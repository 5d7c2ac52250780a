//! An image for this crate's unit tests: three networks, three guests, one of them in two
//! networks, and a set with a single outside address.

use portcullis_image::{AddressClass, Image, Network, Nic, Offer, PrefixClass};
use portcullis_pipeline::addr::{Addr, Mac};

fn network(name: &str, vlan: u16, third: u8, external: bool) -> Network {
    Network {
        name: name.into(),
        vlan,
        subnets: vec![(Addr::v4([10, third, 0, 0]), 120)],
        gateway: vec![(Addr::v4([10, third, 0, 1]), 24)],
        gateway_mac: Mac(0x0200_0000_0000 + u64::from(vlan)),
        external,
        mtu: 1500,
        offer: Offer { dhcp: true, lease_s: 3600, ..Offer::default() },
        ethertypes: vec![],
        uplink_limits: Default::default(),
        host_limits: Default::default(),
    }
}

fn nic(guest: &str, network: u32, third: u8, last: u8) -> Nic {
    Nic {
        guest: guest.into(),
        network,
        mac: Mac(0x0200_0000_0100 + u64::from(third) * 256 + u64::from(last)),
        addrs: vec![Addr::v4([10, third, 0, last])],
        trunk: None,
        limits: portcullis_image::Limits::default(),
    }
}

/// The image.
pub fn image() -> Image {
    let mut wan = network("wan", 30, 30, true);
    wan.subnets = vec![(Addr::v4([203, 0, 113, 0]), 120)];
    wan.gateway = Vec::new();
    let networks = vec![network("lan", 10, 10, false), network("dmz", 20, 20, false), wan];
    let nics = vec![
        nic("pc1", 1, 10, 11),
        nic("pc2", 1, 10, 12),
        nic("router", 1, 10, 13),
        nic("router", 2, 20, 13),
    ];
    let class = |addr, class| AddressClass { addr, scope: 0, class };
    let mut addresses: Vec<_> = nics.iter().zip(2..).map(|(n, c)| class(n.addrs[0], c)).collect();
    addresses.push(class(Addr::v4([10, 10, 0, 1]), 1));
    addresses.push(class(Addr::v4([10, 20, 0, 1]), 1));
    addresses.push(class(Addr::v4([203, 0, 113, 7]), 5));
    addresses.sort();
    let prefix = |addr, network| PrefixClass { addr, len: 120, class: 0, network };
    Image {
        networks,
        nics,
        addresses,
        prefixes: vec![
            prefix(Addr::v4([10, 10, 0, 0]), 1),
            prefix(Addr::v4([10, 20, 0, 0]), 2),
            prefix(Addr::v4([203, 0, 113, 0]), 3),
        ],
        world: 0,
        host: 1,
        classes: 6,
        services: 1,
        rows: vec![0; 36],
        cells: vec![0],
        ..Image::closed()
    }
}
