//! What neighbours say to each other: announcements, ARP, discovery, broadcasts.

use std::net::IpAddr;

use super::Traffic;
use crate::{
    fact::Sent,
    frames::{self, Frame},
    world::{Kind, Policy, Port},
};

impl Traffic<'_> {
    /// Somebody takes a shared address, mostly who may.
    pub(super) fn announce(&mut self) -> Sent {
        let shared = self.r.pick(&self.world.shared).clone();
        let at = if self.r.once_in(10) { self.port() } else { *self.r.pick(&shared.ports) };
        let port = self.world.ports[at].clone();
        let may = shared.ports.contains(&at);
        // A claim from outside is another story, of guests who are not here.
        if port.kind != Kind::Guest {
            return self.arp();
        }
        let by_its_mac = may && self.r.once_in(2);
        let mac = if by_its_mac { shared.mac } else { port.mac }.octets();
        let bytes = match shared.addr {
            IpAddr::V4(addr) => {
                let op = *self.r.pick(&[1, 2]);
                let claim = (mac, addr.octets());
                frames::arp([0xff; 6], mac, op, claim, claim, &[])
            }
            IpAddr::V6(addr) => {
                let mut rest = addr.octets().to_vec();
                rest.extend([2, 1]);
                rest.extend(mac);
                // keepalived sends it from the address itself.
                let own = if self.r.once_in(2) { Policy::link_local(&port) } else { addr.into() };
                let frame = Frame {
                    dst_mac: [0x33, 0x33, 0, 0, 0, 1],
                    src_mac: mac,
                    tags: Vec::new(),
                    src: own,
                    dst: IpAddr::V6([0xff02, 0, 0, 0, 0, 0, 0, 1].into()),
                    ttl: 255,
                    options: Vec::new(),
                    extensions: Vec::new(),
                    fragment: None,
                    keep_whole: true,
                    protocol: 58,
                    payload: frames::icmp(136, 0, [0x20, 0, 0, 0], &rest),
                };
                frame.bytes()
            }
        };
        Sent { bytes, port: at, fact: None, announced: Some(shared.addr), damaged: false }
    }

    pub(super) fn arp(&mut self) -> Sent {
        let at = self.port();
        let port = self.world.ports[at].clone();
        let network = self.network_of(&port);
        let claimed = self.v4(&port);
        let wanted = match self.destination(IpAddr::V4(claimed.into()), network) {
            IpAddr::V4(a) if !self.r.once_in(10) => a.octets(),
            _ => claimed,
        };
        let (mac, tags) = self.link(&port, network, IpAddr::V4(wanted.into()));
        let op = *self.r.pick(&[1, 1, 1, 2, 2, 3]);
        let dst = if op == 1 { [0xff; 6] } else { mac };
        let own = port.mac.octets();
        let said = if self.r.once_in(10) { [2, 7, 7, 7, 7, 7] } else { own };
        let bytes = frames::arp(dst, own, op, (said, claimed), (mac, wanted), &tags);
        Sent { bytes, port: at, fact: None, announced: None, damaged: false }
    }

    pub(super) fn v4(&mut self, port: &Port) -> [u8; 4] {
        if self.r.once_in(10) {
            return [0; 4];
        }
        for _ in 0..20 {
            if let IpAddr::V4(a) = self.source(port) {
                return a.octets();
            }
        }
        [10, 1, 0, 200]
    }

    pub(super) fn discovery(&mut self) -> Sent {
        let at = self.port();
        let port = self.world.ports[at].clone();
        let network = self.network_of(&port);
        let src = if self.r.once_in(8) {
            IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)
        } else if self.r.once_in(3) {
            Policy::link_local(&port)
        } else {
            self.source(&port)
        };
        let src = if src.is_ipv6() { src } else { Policy::link_local(&port) };
        let target = self.destination(src, network);
        let IpAddr::V6(wanted) = target else { return self.open() };
        let kind = *self.r.pick(&[135, 135, 135, 136, 136, 133, 134, 137, 143]);
        let mut rest = wanted.octets().to_vec();
        let own = port.mac.octets();
        let said = if self.r.once_in(10) { [2, 7, 7, 7, 7, 7] } else { own };
        match self.r.below(5) {
            0 => {}
            1 => rest.extend([14, 1, 1, 2, 3, 4, 5, 6]),
            _ => {
                rest.extend([if kind == 135 { 1 } else { 2 }, 1]);
                rest.extend(said);
            }
        }
        let mut group = [0; 16];
        group[..2].copy_from_slice(&[0xff, 2]);
        group[11..14].copy_from_slice(&[1, 0xff, wanted.octets()[13]]);
        let multicast = self.r.once_in(2);
        let dst = if multicast { IpAddr::V6(group.into()) } else { target };
        let (mac, tags) = self.link(&port, network, target);
        let dst_mac = if multicast { [0x33, 0x33, 0xff, 0, 0, 1] } else { mac };
        let frame = Frame {
            dst_mac,
            src_mac: own,
            tags,
            src,
            dst,
            ttl: if self.r.once_in(12) { 64 } else { 255 },
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            keep_whole: true,
            protocol: 58,
            payload: frames::icmp(kind, 0, [0; 4], &rest),
        };
        Sent { bytes: frame.bytes(), port: at, fact: None, announced: None, damaged: false }
    }

    pub(super) fn broadcast(&mut self) -> Sent {
        let at = self.port();
        let port = self.world.ports[at].clone();
        let network = self.network_of(&port);
        let src = self.source(&port);
        let groups: &[&str] = if src.is_ipv4() {
            &["255.255.255.255", "224.0.0.251", "10.1.0.255", "10.2.0.255", "10.1.0.7"]
        } else {
            &["ff02::1", "ff02::fb", "ff05::1:3"]
        };
        let Ok(dst) = self.r.pick(groups).parse::<IpAddr>() else { return self.open() };
        let (_, tags) = self.link(&port, network, dst);
        let asked = self.connections.next_connection().service;
        let dport = asked.1;
        let frame = Frame {
            dst_mac: *self.r.pick(&[[0xff; 6], [1, 0, 0x5e, 0, 0, 0xfb], [0x33, 0x33, 0, 0, 0, 1]]),
            src_mac: port.mac.octets(),
            tags,
            src,
            dst,
            ttl: 1,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            keep_whole: false,
            protocol: 17,
            payload: frames::udp(*self.r.pick(&[68, 5353, 4000]), dport, 40),
        };
        Sent { bytes: frame.bytes(), port: at, fact: None, announced: None, damaged: false }
    }
}
