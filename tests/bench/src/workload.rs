//! Policies of any size for Portcullis: one rule is about the measured traffic, all others about
//! other guests, address sets and ports, as in a policy that has grown.

use std::fmt::Write;

use crate::{
    frame::{End, FIRST_SERVER_PORT, SERVER_PORTS},
    world::{Ends, Topology, mac_text},
};

/// Address sets that rules name as sources, each of four prefixes.
const SETS: u32 = 25;
/// Guests that rules name as destinations.
const GUESTS: u32 = 400;
/// Rules between one set and one guest.
const RULES_A_PAIR: u32 = 10;
/// Ports that these rules are about.
const PORTS: u32 = 64;
/// Name of the client in the policy.
pub const CLIENT: &str = "client";
/// Name of the server.
pub const SERVER: &str = "server";

/// A policy of exactly `rules` rules.
pub fn policy(rules: u32, ends: &Ends, topology: Topology) -> String {
    body(rules, ends, topology) + &allow("measured", "", CLIENT, SERVER)
}

/// The same, and connections of the measured rule are logged.
pub fn logged(rules: u32, ends: &Ends, topology: Topology) -> String {
    body(rules, ends, topology) + &allow("measured", "log: true, ", CLIENT, SERVER)
}

/// Everything but the rule that lets the measured traffic pass.
fn body(rules: u32, ends: &Ends, topology: Topology) -> String {
    let mut text = String::with_capacity(120 * rules as usize + 40_000);
    text += &networks(topology);
    text += "guests:\n";
    let server_network = if topology == Topology::Routed { "back" } else { "front" };
    text += &guest(CLIENT, "front", ends.client);
    text += &guest(SERVER, server_network, ends.server);
    let others = rules - 1;
    let pairs = others.div_ceil(RULES_A_PAIR);
    for i in 0..pairs.min(GUESTS) {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  guest{i}: {{ network: others, ip: 10.100.{}.{} }}",
            1 + i / 200,
            1 + i % 200
        );
    }
    text += "sets:\n";
    for set in 0..SETS {
        let prefixes: Vec<_> =
            (0..4).map(|k| format!("198.{}.{}.0/24", 18 + k / 2, set * 2 + k % 2)).collect();
        let _ = writeln!(text, "  office{set}: [{}]", prefixes.join(", "));
    }
    text += "rules:\n";
    for i in 0..others {
        text += &rule(i);
    }
    text
}

fn networks(topology: Topology) -> String {
    let back = match topology {
        Topology::Switched => "",
        Topology::Routed => {
            "  back: { vlan: 78, subnets: [10.78.0.0/24, \"fd00:78::/64\"], gateway: true, limits: none }\n"
        }
    };
    let gateway = topology == Topology::Routed;
    // Connections are opened as fast as the programs can, which is what is measured.
    format!(
        "networks:\n  front: {{ vlan: 77, subnets: [10.77.0.0/24, \"fd00:77::/64\"], gateway: {gateway}, limits: none }}\n\
         {back}  others: {{ vlan: 100, subnets: [10.100.0.0/16] }}\n"
    )
}

/// The line of a guest.
pub fn guest(name: &str, network: &str, end: End) -> String {
    let mac = mac_text(end.mac);
    format!(
        "  {name}: {{ network: {network}, ip: [{}, \"{}\"], mac: \"{mac}\" }}\n",
        end.ip, end.ip6
    )
}

/// A rule that no measured packet meets. One in ten denies, one in five is about UDP.
fn rule(i: u32) -> String {
    let pair = i / RULES_A_PAIR;
    let (set, guest) = (pair / GUESTS % SETS, pair % GUESTS);
    let action = if i % 10 == 9 { "deny" } else { "allow" };
    let protocol = if i % 5 == 4 { "udp" } else { "tcp" };
    let port = 9000 + (pair * 7 + i % RULES_A_PAIR) % PORTS;
    format!(
        "  - {{ name: r{i}, {action}: {{ from: office{set}, to: guest{guest}, for: {protocol}/{port} }} }}\n"
    )
}

/// A rule that lets connections of the generator pass. `more` comes before its action.
pub fn allow(name: &str, more: &str, from: &str, to: &str) -> String {
    let last = u32::from(FIRST_SERVER_PORT) + SERVER_PORTS - 1;
    format!(
        "  - {{ name: {name}, {more}allow: {{ from: {from}, to: {to}, for: [tcp/{FIRST_SERVER_PORT}-{last}, udp/{FIRST_SERVER_PORT}-{last}] }} }}\n"
    )
}

#[cfg(test)]
mod tests {
    use portcullis_policy::{Sources, compile};

    use super::*;

    #[test]
    fn a_policy_compiles_and_has_as_many_rules_as_asked() {
        for (rules, topology) in
            [(10, Topology::Switched), (1000, Topology::Switched), (1000, Topology::Routed)]
        {
            let ends = Ends::switched();
            let ends = if topology == Topology::Routed { Ends::routed(ends_macs()) } else { ends };
            let text = policy(rules, &ends, topology);
            let compiled = compile(&Sources::new([("bench.yaml", text)]))
                .unwrap_or_else(|d| panic!("{}", d.render(false)));
            assert_eq!(compiled.image.rules.len(), rules as usize);
            assert_eq!(compiled.model.rules.len(), rules as usize);
        }
    }

    fn ends_macs() -> [crate::frame::Mac; 2] {
        [[2, 0, 0, 0, 0, 8], [2, 0, 0, 0, 0, 9]]
    }

    #[test]
    fn no_two_rules_say_the_same() {
        let body = |i| rule(i).split_once(',').map(|(_, rest)| rest.to_owned());
        let all: std::collections::HashSet<_> = (0..100_000).map(body).collect();
        assert_eq!(all.len(), 100_000);
    }
}
