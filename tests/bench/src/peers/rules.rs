//! nftables rules for the peers: one of them lets the measured traffic pass, the others are
//! about somebody else, as in a real ruleset.

use std::fmt::Write;

use crate::frame::{End, FIRST_SERVER_PORT, SERVER_PORTS};

/// How a ruleset looks for the rule that speaks about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One rule after the other; the one that matches stands last.
    Linear,
    /// One look-up in a verdict map.
    Set,
}

/// An address and a TCP port that no measured packet has.
fn somebody_else(i: u32) -> (String, u32) {
    (format!("10.{}.{}.{}", 128 + i / 65_536, i / 256 % 256, i % 256), 1000 + i % 6000)
}

/// The last server port.
fn last_port() -> u16 {
    FIRST_SERVER_PORT + SERVER_PORTS as u16 - 1
}

/// Rules for the body of a chain, without its default: `rules` of them, the last one for what
/// `client` sends.
pub fn linear(rules: u32, client: End) -> String {
    let mut text = String::new();
    for i in 0..rules.saturating_sub(1) {
        let (address, port) = somebody_else(i);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "ip saddr {address} tcp dport {port} accept");
    }
    let (first, last) = (FIRST_SERVER_PORT, last_port());
    text + &format!(
        "ip saddr {} meta l4proto {{ tcp, udp }} th dport {first}-{last} accept\n",
        client.ip
    )
}

/// A verdict map over source, protocol and port with about `rules` elements, which hold every
/// port that `client` uses.
pub fn verdict_map(rules: u32, client: End) -> String {
    let mut elements: Vec<String> = (FIRST_SERVER_PORT..=last_port())
        .flat_map(|port| ["tcp", "udp"].map(|p| format!("{} . {p} . {port} : accept", client.ip)))
        .collect();
    for i in 0..rules.saturating_sub(elements.len() as u32) {
        let (address, port) = somebody_else(i);
        elements.push(format!("{address} . tcp . {port} : accept"));
    }
    format!(
        "map allow {{\ntype ipv4_addr . inet_proto . inet_service : verdict\nelements = {{ {} }}\n}}\n",
        elements.join(",\n")
    )
}

/// The rule that asks the verdict map.
pub const ASK_MAP: &str = "ip saddr . meta l4proto . th dport vmap @allow\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Ends;

    #[test]
    fn a_linear_list_has_as_many_rules_as_asked_and_ours_is_the_last() {
        let client = Ends::switched().client;
        let text = linear(1000, client);
        assert_eq!(text.lines().count(), 1000);
        assert!(text.lines().last().unwrap().contains("ip saddr 10.77.0.2 "));
    }

    #[test]
    fn a_map_holds_every_port_once() {
        let client = Ends::switched().client;
        let text = verdict_map(1000, client);
        assert_eq!(text.matches(": accept").count(), 1000);
        assert_eq!(text.matches("10.77.0.2 . udp . 8063 : accept").count(), 1);
    }

    #[test]
    fn somebody_else_is_never_us() {
        for i in [0, 999, 99_999] {
            assert!(!somebody_else(i).0.starts_with("10.77."));
        }
    }
}
