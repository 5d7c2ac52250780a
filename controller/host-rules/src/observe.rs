//! What is missing on the host at this moment for a plan to do what it says.

use std::net::IpAddr;

use portcullis_ports::{address, link};

use crate::{
    error::Result,
    forwarding,
    plan::{Network, Plan, Way},
};

/// What is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// Nothing leads outside.
    #[error(
        "the host has no {family} default route (or its interface is down): {} reaches nothing \
         outside until it is back",
        networks.join(", ")
    )]
    NoRoute {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// Networks that go out by it.
        networks: Vec<String>,
    },
    /// The host does not forward IPv6.
    #[error(
        "the host does not forward IPv6, so that of {} stays inside. It is one switch for the \
         whole host: sysctl net.ipv6.conf.all.forwarding=1 (and before it accept_ra=2 on an \
         interface whose default route comes by router advertisements)",
        networks.join(", ")
    )]
    NoForwarding {
        /// Networks that are said to go out.
        networks: Vec<String>,
    },
    /// Nobody can reach what is published there.
    #[error("{name} is published at {at}, which is no address of this host now")]
    NoAddress {
        /// What is published.
        name: String,
        /// Where.
        at: IpAddr,
    },
}

/// Everything that is missing.
///
/// # Errors
/// The kernel did not tell.
pub fn lacks(plan: &Plan) -> Result<Vec<Lack>> {
    let mut found = Vec::new();
    let names = |has: fn(&Network) -> bool| -> Vec<String> {
        let said = plan.networks.iter().filter(|n| n.way != Way::Unsaid && has(n));
        said.map(|n| n.name.clone()).collect()
    };
    let (v4, v6) = (names(Network::has_v4), names(Network::has_v6));
    let up = |name: &String| link::find(name).ok().flatten().is_some_and(|l| l.up);
    if !v4.is_empty() && !forwarding::default_routes_v4()?.iter().any(up) {
        found.push(Lack::NoRoute { family: "IPv4", networks: v4 });
    }
    let out_v6 = forwarding::default_routes_v6()?.iter().any(up);
    if !v6.is_empty() && out_v6 && !forwarding::everywhere_v6() {
        found.push(Lack::NoForwarding { networks: v6 });
    }
    if plan.publish.iter().any(|p| p.at.is_some()) {
        let own: Vec<IpAddr> = address::list()?.into_iter().map(|o| o.address.addr).collect();
        for publish in &plan.publish {
            let Some(at) = publish.at.map(IpAddr::V4).filter(|at| !own.contains(at)) else {
                continue;
            };
            let lack = Lack::NoAddress { name: publish.name.clone(), at };
            if !found.contains(&lack) {
                found.push(lack);
            }
        }
    }
    Ok(found)
}
