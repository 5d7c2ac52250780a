//! What a policy wants of the host's own stack, in the words of the crate that does it.

use std::net::IpAddr;

use portcullis_host_rules::{Network, Plan, Protocol, Publish, Way, foreign::Crossing};
use portcullis_image::Image;
use portcullis_policy::{model, outside};

/// What the host's stack is to do.
pub fn plan(model: &model::Model) -> Plan {
    let routed = model.networks.iter().filter(|n| !n.gateway.is_empty());
    Plan {
        networks: routed.map(network).collect(),
        publish: model.publish.iter().flat_map(published).collect(),
    }
}

/// Connections that cross the host's stack: examples of all that a policy allows.
pub fn crossings(image: &Image) -> Vec<Crossing> {
    outside::crossings(image).iter().map(|c| crossing(image, c)).collect()
}

fn network(n: &model::Network) -> Network {
    Network {
        name: n.name.clone(),
        subnets: n.gateway.iter().map(|(_, subnet)| *subnet).collect(),
        way: match n.outside {
            Some(model::Outside::Routed) => Way::Routed,
            Some(model::Outside::Masquerade) => Way::Masquerade,
            // That nothing may go out is a matter of the policy, which proves it.
            Some(model::Outside::None) | None => Way::Unsaid,
        },
        external: n.kind == model::Kind::External,
    }
}

fn published(p: &model::Publish) -> Vec<Publish> {
    let each = |ports: &model::Ports| {
        Some(Publish {
            name: p.name.clone(),
            at: p.at,
            protocol: match ports.protocol {
                model::Protocol::Tcp => Protocol::Tcp,
                model::Protocol::Udp => Protocol::Udp,
                model::Protocol::Sctp => Protocol::Sctp,
                _ => return None,
            },
            first: ports.first,
            last: ports.last,
            to: p.addr,
            port: p.port,
        })
    };
    p.ports().filter_map(each).collect()
}

fn crossing(image: &Image, c: &outside::Crossing) -> Crossing {
    let network = &image.networks[c.network];
    let gateways = network.gateway.iter().map(|(addr, _)| IpAddr::from(*addr));
    let gateway = { gateways }.find(|addr| addr.is_ipv6() == c.member.is_ipv6());
    let (protocol, number) = match c.purpose.protocol {
        model::Protocol::Tcp => (6, c.purpose.number),
        model::Protocol::Udp => (17, c.purpose.number),
        model::Protocol::Sctp => (132, c.purpose.number),
        model::Protocol::Icmp => (1, c.purpose.number >> 8),
        model::Protocol::Icmpv6 => (58, c.purpose.number >> 8),
        model::Protocol::Proto => ((c.purpose.number & 0xff) as u8, 0),
    };
    Crossing {
        network: network.name.clone(),
        way: match c.way {
            outside::Way::Out => portcullis_host_rules::foreign::Way::Out,
            outside::Way::In => portcullis_host_rules::foreign::Way::In,
            outside::Way::ToHost => portcullis_host_rules::foreign::Way::ToHost,
            outside::Way::FromHost => portcullis_host_rules::foreign::Way::FromHost,
        },
        member: c.member,
        peer: c.peer,
        gateway,
        protocol,
        number,
    }
}
