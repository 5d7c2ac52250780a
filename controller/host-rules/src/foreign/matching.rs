//! Does a rule of somebody else match? Yes, no, or that cannot be known.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::{
    packet::{Hook, Packet, Place, Side},
    ruleset::{Chain, Ruleset},
};

/// An answer that may be unknown. The order is that of `and`: the least of all counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tri {
    No,
    Maybe,
    Yes,
}

impl Tri {
    const fn of(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }

    const fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }
}

/// What the left side of a match is for a packet.
enum Left<'p> {
    Interface(&'p Side),
    Address(Place),
    Number(u64),
    /// One of the names that it may be written with.
    Word(&'static [&'static str]),
    /// A port that a client chose for itself (RFC 6335, section 6, and what Linux does).
    Client,
    /// What connection tracking has done with it.
    Translated {
        maybe: bool,
    },
    /// The packet has no such field.
    Nothing,
    Unknown,
}

/// A `match` statement.
pub fn matches(ruleset: &Ruleset, chain: &Chain, what: &Value, packet: &Packet) -> Tri {
    let hit = is_element(ruleset, chain, &what["left"], &what["right"], packet);
    match what["op"].as_str() {
        Some("==" | "in") => hit,
        Some("!=") if matches!(left(&what["left"], packet), Left::Nothing) => Tri::No,
        Some("!=") => hit.not(),
        _ => Tri::Maybe,
    }
}

/// Is what stands left one of what stands right?
pub fn is_element(
    ruleset: &Ruleset,
    chain: &Chain,
    key: &Value,
    right: &Value,
    packet: &Packet,
) -> Tri {
    one_of(ruleset, chain, &left(key, packet), right)
}

fn one_of(ruleset: &Ruleset, chain: &Chain, left: &Left<'_>, right: &Value) -> Tri {
    let any = |items: &[Value]| {
        let all = items.iter().map(|item| one_of(ruleset, chain, left, item));
        all.max().unwrap_or(Tri::No)
    };
    match (left, right) {
        (Left::Nothing, _) => Tri::No,
        (_, Value::String(name)) if name == "*" => Tri::Yes,
        (_, Value::String(name)) if name.starts_with('@') => {
            ruleset.elements(chain, name).map_or(Tri::Maybe, any)
        }
        (_, Value::Array(items)) => any(items),
        (_, Value::Object(object)) if object.contains_key("set") => {
            right["set"].as_array().map_or(Tri::Maybe, |items| any(items))
        }
        (_, Value::Object(object)) if object.contains_key("elem") => {
            one_of(ruleset, chain, left, &right["elem"]["val"])
        }
        (Left::Unknown, _) => Tri::Maybe,
        (Left::Interface(side), Value::String(name)) => interface(side, name),
        (Left::Address(place), _) => block(right).map_or(Tri::Maybe, |net| inside(*place, net)),
        (Left::Number(number), _) => is_number(*number, right),
        (Left::Client, _) => is_clients(right),
        (Left::Translated { maybe: false }, Value::String(what)) if what == "dnat" => Tri::No,
        (Left::Translated { .. }, _) => Tri::Maybe,
        (Left::Word(words), Value::String(word)) => Tri::of(words.contains(&word.as_str())),
        (Left::Word(_) | Left::Interface(_), _) => Tri::Maybe,
    }
}

fn left<'p>(what: &Value, packet: &'p Packet) -> Left<'p> {
    let Some((word, what)) = what.as_object().and_then(|o| o.iter().next()) else {
        return Left::Unknown;
    };
    match word.as_str() {
        "meta" => meta(what["key"].as_str().unwrap_or_default(), packet),
        "payload" => {
            let field = |name: &str| what[name].as_str().unwrap_or_default();
            payload(field("protocol"), field("field"), packet)
        }
        "ct" => match what["key"].as_str() {
            Some("state") if packet.answer => Left::Word(&["established"]),
            Some("state") => Left::Word(&["new"]),
            Some("status") => Left::Translated { maybe: packet.published },
            Some("direction") if packet.answer => Left::Word(&["reply", "1"]),
            Some("direction") => Left::Word(&["original", "0"]),
            _ => Left::Unknown,
        },
        "fib" if what["result"] == "type" && what["flags"] == serde_json::json!(["daddr"]) => {
            match packet.hook {
                Hook::Input => Left::Word(&["local"]),
                Hook::Forward => Left::Word(&["unicast"]),
                _ => Left::Unknown,
            }
        }
        _ => Left::Unknown,
    }
}

fn meta<'p>(key: &str, packet: &'p Packet) -> Left<'p> {
    match key {
        "iifname" | "iif" => Left::Interface(&packet.iif),
        "oifname" | "oif" => Left::Interface(&packet.oif),
        "nfproto" if packet.v6 => Left::Word(&["ipv6"]),
        "nfproto" => Left::Word(&["ipv4"]),
        "protocol" if packet.v6 => Left::Word(&["ip6"]),
        "protocol" => Left::Word(&["ip"]),
        "l4proto" => Left::Number(packet.protocol.into()),
        _ => Left::Unknown,
    }
}

fn payload<'p>(protocol: &str, field: &str, packet: &Packet) -> Left<'p> {
    let own = match protocol {
        "ip" => !packet.v6,
        "ip6" => packet.v6,
        "th" => matches!(packet.protocol, 6 | 17 | 132),
        name => protocol_number(name) == Some(packet.protocol.into()),
    };
    if !own {
        return Left::Nothing;
    }
    match (protocol, field) {
        ("ip" | "ip6", "saddr") => Left::Address(packet.src),
        ("ip" | "ip6", "daddr") => Left::Address(packet.dst),
        ("ip", "protocol") | ("ip6", "nexthdr") => Left::Number(packet.protocol.into()),
        ("tcp" | "udp" | "sctp" | "th", "dport") if !packet.answer => {
            Left::Number(packet.number.into())
        }
        ("tcp" | "udp" | "sctp" | "th", "sport") if packet.answer => {
            Left::Number(packet.number.into())
        }
        ("tcp" | "udp" | "sctp" | "th", "sport" | "dport") => Left::Client,
        ("icmp" | "icmpv6", "type") if !packet.answer => Left::Number(packet.number.into()),
        _ => Left::Unknown,
    }
}

/// `eth0`, or `virbr*` for all whose name begins so.
fn interface(side: &Side, name: &str) -> Tri {
    let fits = |own: &str| match name.strip_suffix('*') {
        Some(prefix) => own.starts_with(prefix),
        None => own == name,
    };
    match side {
        Side::Absent => Tri::No,
        Side::Leg(leg) => Tri::of(fits(leg)),
        Side::Uplink(names) if names.is_empty() => Tri::Maybe,
        Side::Uplink(names) if names.iter().all(|own| fits(own)) => Tri::Yes,
        Side::Uplink(names) if names.iter().any(|own| fits(own)) => Tri::Maybe,
        Side::Uplink(_) => Tri::No,
    }
}

/// An address or a prefix.
fn block(right: &Value) -> Option<IpNet> {
    if let Some(text) = right.as_str() {
        return text.parse::<IpAddr>().map(IpNet::from).ok();
    }
    let addr: IpAddr = right["prefix"]["addr"].as_str()?.parse().ok()?;
    let len = u8::try_from(right["prefix"]["len"].as_u64()?).ok()?;
    IpNet::new(addr, len).ok()
}

fn inside(place: Place, net: IpNet) -> Tri {
    match place {
        Place::Exactly(addr) => Tri::of(net.contains(&addr)),
        Place::Within(own) if net.contains(&own) => Tri::Yes,
        Place::Within(own) if own.contains(&net) => Tri::Maybe,
        Place::Within(_) => Tri::No,
        Place::Anybody if net.prefix_len() == 0 => Tri::Yes,
        Place::Anybody if is_local(net) => Tri::No,
        Place::Anybody => Tri::Maybe,
    }
}

/// Ranges that nobody outside has: private ones (RFC 1918, RFC 4193) and those of one link or host.
fn is_local(net: IpNet) -> bool {
    match net.addr() {
        IpAddr::V4(a) => {
            a.is_private()
                || a.is_loopback()
                || a.is_link_local()
                || a.is_multicast()
                || a.is_broadcast()
        }
        IpAddr::V6(a) => {
            a.is_unique_local() || a.is_loopback() || a.is_unicast_link_local() || a.is_multicast()
        }
    }
}

/// Smallest port that Linux gives to a client (net.ipv4.ip_local_port_range).
const CLIENT_MIN: u64 = 32_768;

fn is_clients(right: &Value) -> Tri {
    let (first, last) = match right["range"].as_array() {
        Some(range) => {
            (range.first().and_then(Value::as_u64), range.get(1).and_then(Value::as_u64))
        }
        None => (right.as_u64(), right.as_u64()),
    };
    match (first, last) {
        (_, Some(last)) if last < CLIENT_MIN => Tri::No,
        (Some(first), Some(last)) if first <= CLIENT_MIN && last >= u16::MAX.into() => Tri::Yes,
        _ => Tri::Maybe,
    }
}

fn is_number(number: u64, right: &Value) -> Tri {
    // One number in each family, and none that the other family uses.
    if right == "echo-request" {
        return Tri::of(number == 8 || number == 128);
    }
    if let Some(range) = right["range"].as_array() {
        let end = |i: usize| range.get(i).and_then(Value::as_u64);
        return match (end(0), end(1)) {
            (Some(first), Some(last)) => Tri::of((first..=last).contains(&number)),
            _ => Tri::Maybe,
        };
    }
    let named = |name: &str| {
        protocol_number(name).or_else(|| icmp_type(name)).or_else(|| name.parse().ok())
    };
    let other = right.as_u64().or_else(|| right.as_str().and_then(named));
    other.map_or(Tri::Maybe, |other| Tri::of(other == number))
}

/// Names of IP protocols as nft writes them.
fn protocol_number(name: &str) -> Option<u64> {
    Some(match name {
        "icmp" => 1,
        "igmp" => 2,
        "tcp" => 6,
        "udp" => 17,
        "dccp" => 33,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "icmpv6" | "ipv6-icmp" => 58,
        "sctp" => 132,
        "udplite" => 136,
        _ => return None,
    })
}

/// Types that have one number in a family where the other one has not: enough to tell a ping.
fn icmp_type(name: &str) -> Option<u64> {
    Some(match name {
        "destination-unreachable" => 3,
        "time-exceeded" => 11,
        "parameter-problem" => 12,
        "redirect" => 5,
        "nd-router-solicit" => 133,
        "nd-router-advert" => 134,
        "nd-neighbor-solicit" => 135,
        "nd-neighbor-advert" => 136,
        _ => return None,
    })
}
