//! Words of other firewalls and of other tools, and what they are called here.

use crate::near::nearest;

/// What somebody may have meant by a key, where these are known.
pub fn key(theirs: &str, known: &[&'static str]) -> Option<&'static str> {
    let ours = |list: Option<&'static [&'static str]>| {
        list.into_iter().flatten().copied().find(|word| known.contains(word))
    };
    let near = || nearest(theirs, known.iter().copied());
    let near = || near().and_then(|word| known.iter().copied().find(|k| *k == word));
    ours(exact(KEYS, theirs)).or_else(near).or_else(|| ours(slip(KEYS, theirs)))
}

/// What a word stands for among endpoints.
pub fn endpoint(theirs: &str) -> Option<&'static str> {
    first(ENDPOINTS, theirs)
}

/// What a word stands for among modes of a rule.
pub fn mode(theirs: &str) -> Option<&'static str> {
    first(MODES, theirs)
}

/// What a word stands for among kinds of networks.
pub fn kind(theirs: &str) -> Option<&'static str> {
    first(KINDS, theirs)
}

/// What a word stands for among ways to the outside.
pub fn outside(theirs: &str) -> Option<&'static str> {
    first(OUTSIDES, theirs)
}

type Table = &'static [(&'static [&'static str], &'static [&'static str])];

fn first(table: Table, theirs: &str) -> Option<&'static str> {
    exact(table, theirs).and_then(|ours| ours.first().copied())
}

fn fold(theirs: &str) -> String {
    theirs.trim_start_matches('-').to_ascii_lowercase().replace('-', "_")
}

fn exact(table: Table, theirs: &str) -> Option<&'static [&'static str]> {
    let folded = fold(theirs);
    table.iter().find(|(words, _)| words.contains(&folded.as_str())).map(|(_, ours)| *ours)
}

/// As [`exact`], for a word that is written with a slip.
fn slip(table: Table, theirs: &str) -> Option<&'static [&'static str]> {
    let words = table.iter().flat_map(|(words, _)| words.iter().copied());
    exact(table, nearest(&fold(theirs), words.filter(|w| w.len() > 4))?)
}

/// Their words, and ours: the first that the mapping in question has.
const KEYS: Table = &[
    (&["accept", "permit", "pass_in", "allowed"], &["allow"]),
    (&["drop", "reject", "block", "discard", "denied", "forbid"], &["deny"]),
    (&["src", "source", "sources", "ingress", "client", "clients", "s"], &["from"]),
    (&["dst", "dest", "destination", "destinations", "egress", "server", "target", "d"], &["to"]),
    (
        &[
            "port",
            "ports",
            "dport",
            "dports",
            "protocol",
            "protocols",
            "proto",
            "service",
            "services",
            "sport",
            "application",
            "app",
            "macro",
            "l4",
            "tcp",
            "udp",
            "icmp",
            "p",
        ],
        &["for", "services"],
    ),
    (&["priority", "order", "level", "prio"], &["tier"]),
    (&["expires", "expire", "expiry", "timeout", "ttl", "valid_until", "end", "ends"], &["until"]),
    (&["enforcement", "audit", "dry_run"], &["mode"]),
    (&["logging", "nflog", "log_level", "logged"], &["log"]),
    (&["responsible", "contact", "team", "author"], &["owner"]),
    (&["issue", "reason", "case", "reference", "ref"], &["ticket"]),
    (&["id", "title", "rule", "label"], &["name"]),
    (&["vlan_id", "vlanid", "tag", "vid"], &["vlan"]),
    (&["subnet", "cidr", "cidrs", "range", "prefix", "prefixes", "ip_range"], &["subnets"]),
    (&["gw", "router", "routers", "gateways", "default_gateway"], &["gateway"]),
    (&["type", "zone", "class", "role"], &["kind", "labels"]),
    (&["mtu_bytes", "max_packet"], &["mtu"]),
    (&["net", "net0", "bridge", "switch", "lan", "network_name", "vnet"], &["network"]),
    (
        &["address", "addr", "addresses", "ips", "ipaddr", "ipv4", "ipv6", "ip_address"],
        &["ip", "addresses", "subnets"],
    ),
    (&["hwaddr", "hwaddress", "macaddr", "mac_address", "ether", "ethernet"], &["mac"]),
    (&["tags", "groups", "group", "roles", "security_groups"], &["labels", "sets"]),
    (
        &["interfaces", "interface", "nic", "networks", "iface", "ifaces", "devices"],
        &["nics", "networks"],
    ),
    (&["forward", "forwarding", "routes", "routing", "ip_forward"], &["forwards"]),
    (
        &["vm", "vms", "machines", "machine", "instances", "hosts", "nodes", "containers"],
        &["guests"],
    ),
    (&["aliases", "alias", "ipset", "ipsets", "objects", "address_groups"], &["sets"]),
    (&["vlans", "segments", "bridges", "zones", "subnets"], &["networks"]),
    (
        &["policy", "policies", "firewall", "acl", "acls", "chains", "filter", "security_policy"],
        &["rules"],
    ),
    (&["invariants", "invariant", "assert", "asserts", "forbidden"], &["never"]),
    (&["imports", "import", "includes", "files"], &["include"]),
    (&["hypervisor", "localhost"], &["host"]),
    (&["exclude", "excluding", "without", "exceptions", "minus"], &["except"]),
    (&["entries", "items", "elements", "content", "list"], &["members"]),
    (&["and", "all", "intersection", "all_of", "allof"], &["all of"]),
    (&["or", "any", "union", "any_of", "anyof", "one_of"], &["any of"]),
    (&["none of", "none_of", "except", "exclude", "!"], &["not"]),
    (&["limit", "burst", "per_second"], &["rate"]),
];

const ENDPOINTS: Table = &[
    (&["all", "everyone", "everything", "everybody", "*", "0/0", "anyone", "anywhere"], &["any"]),
    (&["internet", "outside", "external", "public", "extern", "inet"], &["world"]),
    (&["hypervisor", "localhost", "self", "node", "dom0", "this", "local"], &["host"]),
];

const MODES: Table = &[
    (&["audit", "monitor", "dry_run", "log", "test", "permissive", "count", "watch"], &["observe"]),
    (&["on", "active", "enabled", "strict", "block"], &["enforce"]),
];

const KINDS: Table = &[
    (&["internal", "private", "trusted", "bridge", "office"], &["lan"]),
    (&["perimeter", "screened"], &["dmz"]),
    (&["isolate", "closed", "untrusted", "quarantine"], &["isolated"]),
    (&["wan", "internet", "public", "uplink", "world", "outside"], &["external"]),
];

const OUTSIDES: Table = &[
    (&["nat", "snat", "masq", "masqueraded", "pat", "hidden"], &["masquerade"]),
    (&["route", "router", "direct", "forward", "true", "yes"], &["routed"]),
    (&["no", "false", "never", "isolated", "deny"], &["none"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_fits_is_meant() {
        assert_eq!(key("src", &["from", "to"]), Some("from"));
        assert_eq!(key("DROP", &["allow", "deny"]), Some("deny"));
        assert_eq!(key("addresses", &["subnets"]), Some("subnets"));
        assert_eq!(key("--dport", &["from", "to", "for"]), Some("for"));
        assert_eq!(key("addresses", &["from"]), None);
        assert_eq!(endpoint("ALL"), Some("any"));
        assert_eq!(mode("dry-run"), Some("observe"));
    }
}
