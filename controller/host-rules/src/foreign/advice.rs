//! What to do about a rule of somebody else: how its owner wants to be told.

use portcullis_ports::host_leg;

use super::{Way, ruleset::Ruleset, walk::Culprit};

/// Who wrote a chain, as far as one can see.
enum Owner {
    Docker,
    Ufw,
    Firewalld,
    Libvirt,
    Somebody,
}

/// What to do so that these networks get through.
pub fn advice(ruleset: &Ruleset, culprit: &Culprit<'_>, ways: &[(String, Way)]) -> String {
    let mut legs: Vec<(String, Way)> =
        ways.iter().map(|(network, way)| (host_leg::host_name(network), *way)).collect();
    legs.sort();
    legs.dedup();
    let mut names: Vec<&str> = legs.iter().map(|(leg, _)| leg.as_str()).collect();
    names.dedup();
    match owner(ruleset, culprit) {
        Owner::Docker => {
            let tool = if culprit.chain.family == "ip6" { "ip6tables" } else { "iptables" };
            let each = |leg: &&str| {
                format!(
                    "{tool} -I DOCKER-USER -i {leg} -j ACCEPT; {tool} -I DOCKER-USER -o {leg} -j ACCEPT"
                )
            };
            let commands: Vec<String> = names.iter().map(each).collect();
            format!("Docker leaves its chain DOCKER-USER to you: {}", commands.join("; "))
        }
        Owner::Ufw => {
            let mut commands: Vec<String> =
                legs.iter().flat_map(|(leg, way)| ufw(leg, *way)).collect();
            commands.dedup();
            format!("tell ufw: {}", commands.join("; "))
        }
        Owner::Firewalld => {
            let each = |leg: &&str| {
                format!("firewall-cmd --permanent --zone=trusted --add-interface={leg}")
            };
            let commands: Vec<String> = names.iter().map(each).collect();
            let commands = commands.join("; ");
            format!("give the interface to a zone of firewalld: {commands}; firewall-cmd --reload")
        }
        Owner::Libvirt => {
            "libvirt guards a network of its own here: take the address range or the \
                           interface out of it (virsh net-edit), or detach one of the two"
                .to_owned()
        }
        Owner::Somebody => {
            let (family, table) = (&culprit.chain.family, &culprit.chain.table);
            let chain = &culprit.chain.name;
            let each = |leg: &&str| {
                format!(
                    "nft insert rule {family} {table} {chain} iifname {leg} accept; \
                     nft insert rule {family} {table} {chain} oifname {leg} accept"
                )
            };
            let commands: Vec<String> = names.iter().map(each).collect();
            format!("let it pass there: {}", commands.join("; "))
        }
    }
}

fn ufw(leg: &str, way: Way) -> Vec<String> {
    match way {
        Way::Out => vec![format!("ufw route allow in on {leg}")],
        Way::In => vec![format!("ufw route allow out on {leg}")],
        Way::ToHost => vec![format!("ufw allow in on {leg}")],
        Way::FromHost => vec![format!("ufw allow out on {leg}")],
    }
}

fn owner(ruleset: &Ruleset, culprit: &Culprit<'_>) -> Owner {
    let chain = culprit.chain;
    let named = |prefix: &str| chain.name.starts_with(prefix);
    let base = chain.base.as_ref().map_or("", |base| base.hook.as_str());
    let beside = |prefix: &str| !base.is_empty() && ruleset.has_chain(chain, prefix);
    if chain.table == "firewalld" {
        Owner::Firewalld
    } else if named("ufw") {
        Owner::Ufw
    } else if named("LIBVIRT") || chain.table.starts_with("libvirt") {
        Owner::Libvirt
    } else if named("DOCKER") || (base == "forward" && beside("DOCKER-USER")) {
        Owner::Docker
    } else if beside("ufw") {
        Owner::Ufw
    } else {
        Owner::Somebody
    }
}
