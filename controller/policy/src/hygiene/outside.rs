//! Ways to the outside that lead nowhere.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    Compiled,
    diagnostic::{Diagnostic, Diagnostics},
    model::{Outside, Publish, Purpose},
    outside,
    problem::Problem,
};

/// Warns of published services that no rule lets anybody reach, and of networks that are to be
/// masqueraded and have nothing that could be.
pub fn check(compiled: &Compiled, diags: &mut Diagnostics) {
    for publish in compiled.model.publish.iter().filter(|p| !is_reached(compiled, p)) {
        let guest = compiled.model.guests[publish.guest].name.clone();
        let ports: Vec<String> = publish.inside().map(|p| p.to_string()).collect();
        let help = format!(
            "add a rule: `{{ name: {}, allow: {{ from: world, to: {guest}, for: {} }} }}`",
            rule_name(compiled, publish),
            in_yaml(&ports)
        );
        let (name, ports) = (publish.name.clone(), ports.join(", "));
        let problem = Problem::PublishedInVain { name, guest, ports };
        diags.push(Diagnostic::new(problem, publish.span).help(help));
    }
    for network in &compiled.model.networks {
        let hidden = network.gateway.iter().any(|(_, subnet)| is_masqueraded(subnet));
        if network.outside == Some(Outside::Masquerade) && !hidden {
            let problem = Problem::NothingToMasquerade { network: network.name.clone() };
            diags.push(
                Diagnostic::new(problem, network.outside_span).help("write `outside: routed`"),
            );
        }
    }
}

/// IPv4 is, and of IPv6 unique local addresses (RFC 4193): global ones need no translation.
fn is_masqueraded(subnet: &IpNet) -> bool {
    match subnet {
        IpNet::V4(_) => true,
        IpNet::V6(v6) => v6.addr().is_unique_local(),
    }
}

/// Is some port of it open to somebody outside?
fn is_reached(compiled: &Compiled, publish: &Publish) -> bool {
    let purposes = publish.inside().flat_map(|ports| {
        (ports.first..=ports.last).map(move |number| Purpose::new(ports.protocol, number))
    });
    outside::is_reached(compiled, IpAddr::V4(publish.addr), purposes)
}

/// A name for the rule that no other rule has.
fn rule_name(compiled: &Compiled, publish: &Publish) -> String {
    let taken = |name: &str| compiled.model.rules.iter().any(|r| r.name == name);
    if taken(&publish.name) { format!("to-{}", publish.name) } else { publish.name.clone() }
}

fn in_yaml(ports: &[String]) -> String {
    match ports {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}
