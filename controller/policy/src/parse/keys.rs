//! The keys of each mapping; the schema has the same (a test compares them).

pub const POLICY: &[&str] = &[
    "include",
    "networks",
    "guests",
    "shared",
    "labels",
    "host",
    "denied",
    "sets",
    "services",
    "rules",
    "never",
    "always",
    "publish",
    "log-denied",
];
pub const NETWORK: &[&str] = &[
    "vlan",
    "subnets",
    "gateway",
    "kind",
    "mtu",
    "mac",
    "outside",
    "dhcp",
    "dns",
    "domain",
    "lease",
    "ethertypes",
    "limits",
    "uplink-limits",
    "host-limits",
];
pub const GUEST: &[&str] =
    &["network", "ip", "mac", "trunk", "labels", "nics", "forwards", "limits"];
pub const NIC: &[&str] = &["network", "ip", "mac", "trunk"];
pub const TAGGED: &[&str] = &["network", "ip", "mac"];
pub const SHARED: &[&str] = &["network", "ip", "by", "vrrp", "labels"];
pub const LIMITS: &[&str] = &["flows", "half-open", "new", "broadcast", "neighbours", "in", "out"];
pub const HOST: &[&str] = &["addresses"];
pub const DENIED: &[&str] = &["file", "addresses"];
pub const SET: &[&str] = &["members", "except"];
pub const SELECTOR: &[&str] = &["all of", "any of", "not"];
pub const RULE: &[&str] =
    &["name", "allow", "deny", "pass", "tier", "mode", "until", "log", "owner", "ticket"];
pub const LOG: &[&str] = &["rate"];
pub const SELECTION: &[&str] = &["from", "to", "for"];
pub const INVARIANT: &[&str] = &["name", "from", "to", "for", "owner", "ticket"];
pub const PUBLISH: &[&str] = &["name", "at", "for", "to", "port"];
