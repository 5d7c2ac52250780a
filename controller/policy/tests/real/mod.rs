//! Which addresses a packet could carry, and whose they are.

use std::net::IpAddr;

use portcullis_policy::Model;

/// Could a packet carry it? Not the addresses of networks, broadcasts, loopback, multicast.
pub fn is_real(model: &Model, addr: IpAddr) -> bool {
    let mut subnets = model.networks.iter().flat_map(|n| &n.subnets);
    let edge = |s: &&ipnet::IpNet| {
        let narrow = s.prefix_len() + 1 >= s.max_prefix_len();
        !narrow && (s.network() == addr || addr.is_ipv4() && s.broadcast() == addr)
    };
    let declared = nic_with(model, addr).is_some() || host_has(model, addr);
    let odd = match addr {
        IpAddr::V4(a) => a.octets()[0] == 0 || a.octets()[0] == 127 || a.octets()[0] >= 224,
        IpAddr::V6(a) => {
            let first = a.segments()[0];
            u128::from(a) >> 48 == 0 || first >= 0xff00 || first & 0xffc0 == 0xfe80
        }
    };
    declared || subnets.find(edge).is_none() && !odd
}

/// Guest and NIC with an address.
pub fn nic_with(model: &Model, addr: IpAddr) -> Option<(usize, usize)> {
    model.guests.iter().enumerate().find_map(|(g, guest)| {
        guest.nics.iter().position(|n| n.addrs.contains(&addr)).map(|n| (g, n))
    })
}

/// Does the policy give the hypervisor this address?
pub fn host_has(model: &Model, addr: IpAddr) -> bool {
    let gateway = model.networks.iter().flat_map(|n| &n.gateway).any(|g| g.0 == addr);
    gateway || model.host.iter().any(|h| h.addr == addr)
}
