//! Linux as a router with nftables and connection tracking.

use super::{
    Peer,
    rules::{ASK_MAP, verdict_map},
};
use crate::{
    error::Error,
    netns::Namespace,
    world::{Ends, Medium, PORTS, ROUTER_MACS, World, gateway_of, mac_text, plain_ports},
};

/// A stateful router whose new connections ask one verdict map.
pub struct Router {
    /// How many elements the map has.
    pub rules: u32,
}

impl Router {
    /// Its row.
    pub const NAME: &'static str = "route-nft-ct-set";
}

impl Peer for Router {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn rules(&self) -> u32 {
        self.rules
    }

    fn build(&self, medium: Medium) -> Result<World, Error> {
        let ends = Ends::routed(ROUTER_MACS);
        let (namespace, attached) = plain_ports(medium, &ends)?;
        route(&namespace, &ends)?;
        namespace.nft(&ruleset(self.rules, &ends))?;
        // The generator's super-packets repeat one sequence number.
        namespace.sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", "1")?;
        Ok(World { attached, ends, _keep: Box::new(()), namespace })
    }
}

/// Addresses, neighbours and forwarding.
fn route(namespace: &Namespace, ends: &Ends) -> Result<(), Error> {
    let mut script = String::new();
    for ((port, end), mac) in PORTS.into_iter().zip(ends.both()).zip(ROUTER_MACS) {
        script += &format!(
            "link set {port} address {}\naddress add {}/24 dev {port}\n\
             neighbour add {} lladdr {} dev {port} nud permanent\n",
            mac_text(mac),
            gateway_of(end),
            end.ip,
            mac_text(end.mac)
        );
    }
    namespace.ip(&script)?;
    for (name, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/all/send_redirects", "0"),
    ] {
        namespace.sysctl(name, value)?;
    }
    Ok(())
}

fn ruleset(rules: u32, ends: &Ends) -> String {
    let map = verdict_map(rules, ends.client);
    let chain = format!(
        "type filter hook forward priority 0\npolicy drop\n\
         ct state established,related accept\nct state invalid drop\n{ASK_MAP}"
    );
    format!("table ip bench {{\n{map}chain forward_all {{\n{chain}}}\n}}\n")
}
