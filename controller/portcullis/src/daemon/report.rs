//! The status, from what the switch observes and what the policy declares.

use portcullis_host_rules::{Plan, Publish, Way};
use portcullis_image::Image;
use portcullis_switch::{Closed, PortSpec, PortStatus, SwitchStatus};

use super::waiting::Waiting;
use crate::api::{
    self, Drops, Flows, Info, Network, Nic, Policy, Program, Published, RuleHits, Status,
};

/// Everything that there is to tell.
pub fn status(
    daemon: Info,
    observed: SwitchStatus,
    policy: Option<Policy>,
    image: Option<&Image>,
    mut problems: Vec<String>,
) -> Status {
    problems.extend(overbooked(&observed.ports, observed.flows.capacity));
    Status {
        daemon,
        generation: observed.generation,
        policy,
        pending: None,
        ends: Vec::new(),
        hook: api::word(observed.hook),
        guests: image.map_or_else(Vec::new, |image| guests(image, &observed.ports)),
        networks: observed.networks.into_iter().map(Into::into).collect(),
        shared: observed.shared,
        ports: observed.ports.into_iter().map(Into::into).collect(),
        traffic: observed.traffic.into(),
        drops: observed.drops.into_iter().map(Into::into).collect(),
        rules: observed.rules.into_iter().map(Into::into).collect(),
        events: observed.events.into(),
        flows: Flows { used: observed.flows.used, capacity: observed.flows.capacity },
        programs: observed.programs.into_iter().map(Into::into).collect(),
        published: Vec::new(),
        foreign: Vec::new(),
        problems,
    }
}

/// Limits that let the open ports fill the flow table together: then the last ones to come find it
/// full, whatever their own limits say.
fn overbooked(ports: &[PortStatus], capacity: u32) -> Option<String> {
    let open = ports.iter().filter(|port| port.open);
    let most: u64 = open.filter_map(|p| p.connections?.flows_max).map(u64::from).sum();
    (most > u64::from(capacity)).then(|| {
        format!(
            "the open ports may have {most} connections together (`limits: {{ flows }}`), and the \
             flow table holds {capacity}: lower the limits, or `up --flows` with more"
        )
    })
}

/// Adds what the host's own stack does.
pub fn add_outside(status: &mut Status, plan: &Plan) {
    for network in &mut status.networks {
        let planned = plan.networks.iter().find(|n| n.name == network.name);
        network.outside = match planned.map(|n| n.way) {
            Some(Way::Routed) => Some("routed".to_owned()),
            Some(Way::Masquerade) => Some("masquerade".to_owned()),
            Some(Way::Unsaid) | None => None,
        };
    }
    let published = |p: &Publish| Published {
        name: p.name.clone(),
        at: p.at.map(Into::into),
        protocol: p.protocol.name().to_owned(),
        first: p.first,
        last: p.last,
        to: p.to.into(),
        port: p.port,
    };
    status.published = plan.publish.iter().map(published).collect();
}

/// Adds the ports that the switch does not know because their interface could not be had.
pub fn add_waiting(ports: &mut Vec<api::Port>, specs: &[PortSpec], waiting: &Waiting) {
    for spec in specs {
        let Some(why) = waiting.why(&spec.name) else { continue };
        if ports.iter().any(|port| port.name == spec.name) {
            continue;
        }
        let closed = Closed::Failed { error: why.to_owned() };
        ports.push(api::Port::from(PortStatus {
            name: spec.name.clone(),
            kind: spec.kind.word(),
            guest: spec.guest.clone(),
            networks: spec.network.iter().cloned().collect(),
            mac: None,
            addresses: Vec::new(),
            ifindex: 0,
            open: false,
            closed: Some(closed),
            lane: false,
            gate: None,
            vhost: None,
            traffic: None,
            past: None,
            connections: None,
        }));
    }
}

/// Every declared NIC, with the open port that carries it.
fn guests(image: &Image, ports: &[PortStatus]) -> Vec<Nic> {
    image
        .nics
        .iter()
        .map(|nic| {
            let mac = nic.mac.to_string();
            let network = image.network(nic.network).map_or_else(String::new, |n| n.name.clone());
            let carries = |p: &&PortStatus| {
                p.open && p.guest.as_deref() == Some(&nic.guest) && p.networks.contains(&network)
            };
            Nic {
                guest: nic.guest.clone(),
                network: network.clone(),
                port: ports.iter().find(carries).map(|p| p.name.clone()),
                mac,
                addresses: nic.addrs.iter().map(|addr| (*addr).into()).collect(),
            }
        })
        .collect()
}

impl From<portcullis_switch::NetworkStatus> for Network {
    fn from(n: portcullis_switch::NetworkStatus) -> Self {
        Self {
            name: n.name,
            vlan: n.vlan,
            host_leg: n.host_leg,
            uplink: n.uplink,
            subnets: n.subnets,
            gateway: n.gateway,
            ports: n.ports,
            outside: None,
        }
    }
}

impl From<portcullis_switch::Drops> for Drops {
    fn from(d: portcullis_switch::Drops) -> Self {
        let explanation = d.explanation.to_owned();
        Self { reason: d.reason.to_owned(), explanation, packets: d.packets }
    }
}

impl From<portcullis_switch::RuleHits> for RuleHits {
    fn from(r: portcullis_switch::RuleHits) -> Self {
        let (allow, observe, hits) = (r.allow, r.observe, r.hits);
        Self { rule: r.rule, file: r.file, line: r.line, allow, observe, hits }
    }
}

impl From<portcullis_switch::ProgramStatus> for Program {
    fn from(p: portcullis_switch::ProgramStatus) -> Self {
        Self {
            name: p.name.to_owned(),
            id: p.id,
            tag: p.tag,
            verified_instructions: p.verified_instructions,
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_switch::{PortConnections, PortKind};

    use super::*;

    #[test]
    fn limits_that_fill_the_table_are_told() {
        let port = |flows_max| PortStatus {
            name: "p".into(),
            kind: PortKind::Tap { queues: 1 }.word(),
            guest: None,
            networks: Vec::new(),
            mac: None,
            addresses: Vec::new(),
            ifindex: 1,
            open: true,
            closed: None,
            lane: false,
            gate: None,
            vhost: None,
            traffic: None,
            past: None,
            connections: Some(PortConnections { flows_max, ..PortConnections::default() }),
        };
        assert_eq!(overbooked(&[port(Some(500)), port(Some(524)), port(None)], 1024), None);
        let told = overbooked(&[port(Some(500)), port(Some(525))], 1024).unwrap();
        assert!(told.contains("1025") && told.contains("1024"), "{told}");
    }
}
