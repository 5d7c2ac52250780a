//! The Linux bridge, bare and with nftables' bridge family.

use super::{
    Peer,
    rules::{ASK_MAP, Shape, linear, verdict_map},
};
use crate::{
    error::Error,
    frame::End,
    netns::Namespace,
    world::{Ends, Medium, PORTS, World, mac_text, plain_ports},
};

/// The bare bridge: the yardstick of every ratio.
pub struct Bridge;

impl Peer for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn build(&self, medium: Medium) -> Result<World, Error> {
        bridged(medium)
    }
}

/// The bridge with rules. This kernel has no connection tracking in the bridge family, so they
/// are stateless, which makes them cheaper than what they stand for.
pub struct FilteredBridge {
    /// How many rules.
    pub rules: u32,
    /// Of which shape.
    pub shape: Shape,
}

impl Peer for FilteredBridge {
    fn name(&self) -> &'static str {
        match self.shape {
            Shape::Linear => "bridge-nft-linear",
            Shape::Set => "bridge-nft-set",
        }
    }

    fn rules(&self) -> u32 {
        self.rules
    }

    fn build(&self, medium: Medium) -> Result<World, Error> {
        let world = bridged(medium)?;
        world.namespace.nft(&self.ruleset(&world.ends))?;
        Ok(world)
    }
}

impl FilteredBridge {
    fn ruleset(&self, ends: &Ends) -> String {
        let (map, rules) = match self.shape {
            Shape::Linear => (String::new(), linear(self.rules, ends.client)),
            Shape::Set => (verdict_map(self.rules, ends.client), ASK_MAP.to_owned()),
        };
        // Without connection tracking replies need a rule; it comes last, as replies do not count.
        let replies = format!("ip saddr {} accept\n", ends.server.ip);
        let chain = format!("type filter hook forward priority 0\npolicy drop\n{rules}{replies}");
        format!("table bridge bench {{\n{map}chain forward_all {{\n{chain}}}\n}}\n")
    }
}

/// Two ports on a bridge that knows both ends and floods nothing.
fn bridged(medium: Medium) -> Result<World, Error> {
    let ends = Ends::switched();
    let (namespace, attached) = plain_ports(medium, &ends)?;
    namespace.ip(&format!(
        "link add br0 type bridge stp_state 0 mcast_snooping 0 nf_call_iptables 0\n\
         link set {} master br0\nlink set {} master br0\nlink set br0 up\n",
        PORTS[0], PORTS[1]
    ))?;
    for (port, end) in PORTS.into_iter().zip(ends.both()) {
        declare(&namespace, port, end)?;
    }
    Ok(World { attached, ends, _keep: Box::new(()), namespace })
}

/// Enters an end into the forwarding table, so that no frame is flooded.
fn declare(namespace: &Namespace, port: &str, end: End) -> Result<(), Error> {
    let mac = mac_text(end.mac);
    namespace.run(|| {
        let args = ["fdb", "replace", &mac, "dev", port, "master", "static"];
        crate::command::run("bridge", &args, "").map(drop)
    })
}
