//! Packets of a connection at the hooks of the host's stack.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use portcullis_ports::host_leg;

use super::{Crossing, Way};

/// Where a packet is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Ingress,
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

impl Hook {
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "ingress" => Self::Ingress,
            "prerouting" => Self::Prerouting,
            "input" => Self::Input,
            "forward" => Self::Forward,
            "output" => Self::Output,
            "postrouting" => Self::Postrouting,
            _ => return None,
        })
    }
}

/// An interface that a packet comes in by or leaves by.
#[derive(Clone, Debug)]
pub enum Side {
    /// None, at this hook.
    Absent,
    /// Our leg.
    Leg(String),
    /// One that leads outside: one of these, or who knows which if there is none.
    Uplink(Vec<String>),
}

/// An address of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// This one.
    Exactly(IpAddr),
    /// One of these.
    Within(IpNet),
    /// Anybody's.
    Anybody,
}

/// One packet at one hook.
#[derive(Clone, Debug)]
pub struct Packet {
    pub hook: Hook,
    pub iif: Side,
    pub oif: Side,
    pub v6: bool,
    pub protocol: u8,
    pub src: Place,
    pub dst: Place,
    /// Destination port or ICMP type of the connection's first packet.
    pub number: u16,
    /// May it have been sent on from one of the host's addresses?
    pub published: bool,
    /// Is it an answer? Then the connection is known, and the ports have changed sides.
    pub answer: bool,
}

/// All packets of a connection.
pub fn of(crossing: &Crossing, uplinks: &BTreeSet<String>) -> Vec<Packet> {
    let leg = || Side::Leg(host_leg::host_name(&crossing.network));
    let uplink = || Side::Uplink(uplinks.iter().cloned().collect());
    let absent = || Side::Absent;
    let member = Place::Exactly(crossing.member);
    let other = match (crossing.way, crossing.peer, crossing.gateway) {
        (Way::ToHost | Way::FromHost, _, Some(gateway)) => Place::Exactly(gateway),
        (_, Some(peer), _) => Place::Within(peer),
        _ => Place::Anybody,
    };
    let packet = |hook, iif, oif, src, dst, answer| Packet {
        hook,
        iif,
        oif,
        v6: crossing.member.is_ipv6(),
        protocol: crossing.protocol,
        src,
        dst,
        number: crossing.number,
        published: crossing.way == Way::In,
        answer,
    };
    // From the member to the other side, and back; which of them is the answer depends.
    let outward = matches!(crossing.way, Way::Out | Way::ToHost);
    let (there, back) = (!outward, outward);
    match crossing.way {
        Way::Out | Way::In => vec![
            packet(Hook::Prerouting, leg(), absent(), member, other, there),
            packet(Hook::Forward, leg(), uplink(), member, other, there),
            packet(Hook::Postrouting, leg(), uplink(), member, other, there),
            // Under the host's address still, where it is translated.
            packet(Hook::Ingress, uplink(), absent(), other, Place::Anybody, back),
            packet(Hook::Prerouting, uplink(), absent(), other, Place::Anybody, back),
            packet(Hook::Forward, uplink(), leg(), other, member, back),
            packet(Hook::Postrouting, uplink(), leg(), other, member, back),
        ],
        Way::ToHost | Way::FromHost => vec![
            packet(Hook::Prerouting, leg(), absent(), member, other, there),
            packet(Hook::Input, leg(), absent(), member, other, there),
            packet(Hook::Output, absent(), leg(), other, member, back),
            packet(Hook::Postrouting, absent(), leg(), other, member, back),
        ],
    }
}
