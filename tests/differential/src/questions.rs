//! Questions that the switch answers itself: DHCP, DHCPv6 and router solicitations, in every
//! form that a client might choose.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_policy::generate::Random;

use crate::{
    frames::{Frame, checksum, icmp, udp},
    world::{Kind, Policy, Port, World},
};

/// A question, and the index of the port that it comes from.
pub fn question(r: &mut Random, world: &World) -> (usize, Vec<u8>) {
    let guests: Vec<usize> =
        (0..world.ports.len()).filter(|p| world.ports[*p].kind == Kind::Guest).collect();
    let at = *r.pick(&guests);
    let port = world.ports[at].clone();
    let gateway = world.network(port.network).map_or([2; 6], |n| n.gateway_mac.octets());
    let bytes = match r.below(5) {
        0 | 1 => dhcp(r, world, &port, gateway),
        2 | 3 => dhcp6(r, world, &port, gateway),
        _ => solicitation(r, &port),
    };
    (at, bytes)
}

fn frame(port: &Port, dst_mac: [u8; 6], src: IpAddr, dst: IpAddr) -> Frame {
    Frame {
        dst_mac,
        src_mac: port.mac.octets(),
        tags: Vec::new(),
        src,
        dst,
        ttl: 255,
        options: Vec::new(),
        extensions: Vec::new(),
        fragment: None,
        keep_whole: false,
        protocol: 17,
        payload: Vec::new(),
    }
}

/// A UDP datagram with this payload.
fn datagram(sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = udp(sport, dport, payload.len());
    bytes[8..].copy_from_slice(payload);
    bytes
}

fn own_v4(r: &mut Random, port: &Port) -> Ipv4Addr {
    let own = port.addrs.iter().find_map(|a| match a {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    match own {
        Some(own) if !r.once_in(5) => own,
        _ => Ipv4Addr::new(10, 1, 0, 1 + r.below(250) as u8),
    }
}

fn dhcp(r: &mut Random, world: &World, port: &Port, gateway: [u8; 6]) -> Vec<u8> {
    let own = own_v4(r, port);
    let used = if r.once_in(3) { own } else { Ipv4Addr::UNSPECIFIED };
    let mut b = vec![1, 1, 6, 0];
    b.extend((r.next() as u32).to_be_bytes());
    b.extend([0, 7, if r.once_in(2) { 0x80 } else { 0 }, 0]);
    b.extend(used.octets());
    // What only servers and relays fill in.
    b.extend([0; 8]);
    b.extend(if r.once_in(8) { [10, 9, 9, 9] } else { [0; 4] });
    b.extend(if r.once_in(12) { [2, 7, 7, 7, 7, 7] } else { port.mac.octets() });
    b.resize(236, 0);
    b.extend([99, 130, 83, 99]);
    let server = world
        .network(port.network)
        .and_then(|n| n.gateway.iter().map(|(a, _)| IpAddr::from(*a)).find(IpAddr::is_ipv4));
    let server = server.unwrap_or(IpAddr::V4(Ipv4Addr::new(169, 254, 0, 1)));
    for _ in 0..1 + r.below(6) {
        dhcp_option(r, &mut b, own, server);
    }
    b.extend([53, 1, *r.pick(&[1, 1, 3, 3, 3, 3, 8, 4, 7, 2, 5, 13])]);
    b.push(if r.once_in(10) { 0 } else { 255 });
    if r.once_in(2) {
        b.resize(b.len().max(300), 0);
    }
    let unicast = used != Ipv4Addr::UNSPECIFIED && r.once_in(2);
    let (mac, dst) = if unicast { (gateway, server) } else { ([0xff; 6], [0xff; 4].into()) };
    let payload = datagram(68, 67, &b);
    Frame { payload, ..frame(port, mac, used.into(), dst) }.bytes()
}

fn dhcp_option(r: &mut Random, b: &mut Vec<u8>, own: Ipv4Addr, server: IpAddr) {
    match r.below(8) {
        0 => {
            b.extend([50, 4]);
            b.extend(own.octets());
        }
        1 => {
            if let IpAddr::V4(server) = server {
                b.extend([54, 4]);
                b.extend(if r.once_in(6) { [10, 0, 0, 9] } else { server.octets() });
            }
        }
        2 => {
            let len = *r.pick(&[7, 7, 19, 1, 62, 63, 255]);
            b.extend([61, len]);
            b.extend((0..len).map(|i| i ^ 0x5a));
        }
        3 => b.extend([0; 3]),
        4 => b.extend([55, 6, 1, 3, 6, 15, 26, 28]),
        5 => b.extend([57, 2, 5, 0xdc]),
        6 => b.extend([12, 4, b'h', b'o', b's', b't']),
        _ => b.extend([*r.pick(&[50, 54, 53]), *r.pick(&[0, 2, 200]), 1, 2]),
    }
}

fn dhcp6(r: &mut Random, world: &World, port: &Port, gateway: [u8; 6]) -> Vec<u8> {
    let mut b = vec![*r.pick(&[1, 1, 3, 3, 4, 5, 6, 8, 9, 11, 11, 2, 7, 12])];
    b.extend([7, 8, r.below(256) as u8]);
    let option = |b: &mut Vec<u8>, code: u16, value: &[u8]| {
        b.extend(code.to_be_bytes());
        b.extend((value.len() as u16).to_be_bytes());
        b.extend(value);
    };
    if !r.once_in(6) {
        let len = *r.pick(&[10, 14, 18, 3, 2, 60, 61, 130]);
        option(&mut b, 1, &vec![0xd1; len]);
    }
    for _ in 0..r.below(4) {
        match r.below(6) {
            0 => {
                let mac = if r.once_in(4) { [9; 6] } else { gateway };
                option(&mut b, 2, &[&[0, 3, 0, 1][..], &mac].concat());
            }
            1 => option(&mut b, 14, &[]),
            2 => option(&mut b, 6, &[0, 23, 0, 24]),
            3 => option(&mut b, 8, &[0, 0]),
            _ => {
                let mut association = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
                if r.once_in(2) {
                    let own = port.addrs.iter().find_map(|a| match a {
                        IpAddr::V6(v6) if !r.once_in(4) => Some(v6.octets()),
                        _ => None,
                    });
                    let value = [&own.unwrap_or([0xfd; 16])[..], &[0; 8]].concat();
                    option(&mut association, 5, &value);
                }
                association.truncate(if r.once_in(10) { 11 } else { 100 });
                option(&mut b, 3, &association);
            }
        }
    }
    let servers: Ipv6Addr = "ff02::1:2".parse().unwrap_or(Ipv6Addr::UNSPECIFIED);
    let dst = match world.guest_of(port.addrs[0]) {
        Some(_) if !r.once_in(8) => IpAddr::V6(servers),
        _ => Policy::link_local(port),
    };
    let payload = datagram(546, 547, &b);
    let mac = [0x33, 0x33, 0, 1, 0, 2];
    Frame { payload, ..frame(port, mac, Policy::link_local(port), dst) }.bytes()
}

fn solicitation(r: &mut Random, port: &Port) -> Vec<u8> {
    let IpAddr::V6(local) = Policy::link_local(port) else { return Vec::new() };
    let src = if r.once_in(3) { Ipv6Addr::UNSPECIFIED } else { local };
    let routers: Ipv6Addr = "ff02::2".parse().unwrap_or(Ipv6Addr::UNSPECIFIED);
    let mut link = vec![1, 1];
    link.extend(port.mac.octets());
    let mut payload = icmp(133, 0, [0; 4], if src == local { &link } else { &[] });
    let pseudo = src.octets().into_iter().chain(routers.octets()).collect::<Vec<u8>>();
    let start = u32::from(!checksum(&pseudo, 58 + payload.len() as u32));
    let sum = checksum(&payload, start).to_be_bytes();
    payload[2..4].copy_from_slice(&sum);
    let mac = [0x33, 0x33, 0, 0, 0, 2];
    Frame { payload, protocol: 58, ..frame(port, mac, src.into(), routers.into()) }.bytes()
}
