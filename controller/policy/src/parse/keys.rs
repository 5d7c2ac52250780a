//! The keys of each mapping; the schema has the same (a test compares them).

pub const POLICY: &[&str] = &[
    "include", "networks", "guests", "labels", "host", "sets", "services", "rules", "never",
    "always",
];
pub const NETWORK: &[&str] = &[
    "vlan",
    "subnets",
    "gateway",
    "kind",
    "mtu",
    "mac",
    "dhcp",
    "dns",
    "domain",
    "lease",
    "ethertypes",
];
pub const GUEST: &[&str] = &["network", "ip", "mac", "labels", "nics", "forwards"];
pub const NIC: &[&str] = &["network", "ip", "mac"];
pub const HOST: &[&str] = &["addresses"];
pub const SET: &[&str] = &["members", "except"];
pub const SELECTOR: &[&str] = &["all of", "any of", "not"];
pub const RULE: &[&str] =
    &["name", "allow", "deny", "pass", "tier", "mode", "until", "log", "owner", "ticket"];
pub const LOG: &[&str] = &["rate"];
pub const SELECTION: &[&str] = &["from", "to", "for"];
pub const INVARIANT: &[&str] = &["name", "from", "to", "for", "owner", "ticket"];
