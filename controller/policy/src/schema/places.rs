//! Networks, guests and the host.

use portcullis_image::Limits;
use serde_json::{Value, json};

use super::{object, words};
use crate::{
    model::{Kind, Outside},
    parse::limits::{GUEST, HOST, UPLINK},
};

pub fn network() -> Value {
    let kind = json!({
        "description": "What holds among its members without a rule. lan: they may reach each \
                        other. dmz: nobody on this box is reached from it unless a rule names \
                        both sides. isolated: as dmz, for the outside too, in both directions. \
                        external: who is not declared in it belongs to the world.",
        "enum": Kind::NAMES,
    });
    let gateway = json!({
        "description": "Where the switch routes for it: true takes the first address of each \
                        subnet, false (as without this key) is no gateway.",
        "anyOf": [
            { "type": "boolean" },
            words::address(),
            { "type": "array", "items": words::address() },
        ],
    });
    let mut properties = json!({
        "vlan": {
            "description": "VLAN id; each belongs to one network.",
            "type": "integer", "minimum": 1, "maximum": 4094,
        },
        "subnets": words::one_or_list(
            words::prefix(),
            "Its subnets, IPv4 and IPv6, not overlapping with any other.",
        ),
        "gateway": gateway,
        "kind": kind,
        "mtu": {
            "description": "Largest packet in bytes, without the Ethernet header; 1500 without this key.",
            "type": "integer", "minimum": 576, "maximum": 65_521,
        },
        "limits": limits("What the port of a guest may take that says nothing about it itself.", &GUEST),
        "uplink-limits": limits(
            "What its uplink may take; one of several networks, the most that one of them says. in \
             is what leaves by it, out what comes from there.",
            &UPLINK,
        ),
        "host-limits": limits("What the host's leg may take: the host itself, and whoever it forwards for.", &HOST),
        "mac": words::mac("MAC of the gateway; auto (as without this key) follows from the network's name."),
        "ethertypes": words::one_or_any(
            json!({ "anyOf": [
                { "type": "integer", "minimum": 0x600, "maximum": 0xffff },
                { "type": "string", "pattern": "^0x[0-9A-Fa-f]{3,4}$" },
            ], "examples": [0x88b5] }),
            "EtherTypes, in hexadecimal, that its guests may use among themselves besides ARP and IP.",
        ),
        "dhcp": {
            "description": "Does the switch tell guests their addresses, by DHCP and DHCPv6? true without this key.",
            "type": "boolean",
        },
        "dns": words::one_or_any(words::address(), "Name servers that guests are told, at most three of each family."),
        "domain": {
            "description": "Domain that guests are told.",
            "type": "string", "minLength": 1, "maxLength": 120, "examples": ["lan.example"],
        },
        "lease": {
            "description": "How long guests may use an address before they ask again: 2m to 30d; 12h without this key.",
            "type": "string", "pattern": "^\\d+[smhdw]$", "examples": ["12h", "1d"],
        },
    });
    properties["outside"] = json!({
        "description": "How it reaches what is outside of all networks, behind its gateway. routed: \
                        under its own addresses. masquerade: under the host's address (IPv4, and \
                        unique local IPv6). none: not at all, whatever the rules say. Without this \
                        key: as the host routes anyway.",
        "enum": Outside::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>(),
    });
    object("An isolated broadcast domain.", properties, &["vlan", "subnets"])
}

/// What a NIC is, in a guest with one or in the list of one with several.
fn nic_properties() -> Value {
    let auto = json!({ "const": "auto" });
    let addr = json!({ "anyOf": [auto, words::address()] });
    json!({
        "network": words::named("The network that it is plugged into."),
        "ip": words::one_or_list(
            addr,
            "Its addresses. auto (as without this key): one in each subnet that has none yet, \
             which follows from its name and stays.",
        ),
        "mac": words::mac("Its MAC; auto (as without this key) follows from its name."),
    })
}

/// What a NIC is that may carry tagged networks, too.
fn port_properties() -> Value {
    let mut properties = nic_properties();
    let tagged = object("A tagged network.", nic_properties(), &["network"]);
    let tagged = json!({ "anyOf": [words::named("A network."), tagged] });
    properties["trunk"] = json!({
        "description": "Networks whose frames carry their VLAN tag here, besides the untagged one \
                        or without one: each a name, or what a NIC is. Their MAC is that of the \
                        NIC, unless they have one of their own.",
        "type": "array", "minItems": 1, "items": tagged,
    });
    properties
}

/// What a port may take.
fn limits(description: &str, default: &Limits) -> Value {
    let (count_of, rate_of) = (
        |n: Option<u32>| n.map_or("no limit".to_owned(), |n| n.to_string()),
        |n: Option<u32>| n.map_or("no limit".to_owned(), |n| format!("{n}/s")),
    );
    let limit = |pattern: &str, example: &str, description: &str| {
        let value = json!({ "type": "string", "pattern": pattern, "examples": [example] });
        json!({ "description": description, "anyOf": [{ "const": "none" }, value] })
    };
    let count = |description: &str| {
        let value = json!({ "type": "integer", "minimum": 1, "maximum": 100_000_000 });
        json!({ "description": description, "anyOf": [{ "const": "none" }, value] })
    };
    let rate = |description: &str| limit("^[1-9][0-9]{0,7} */ *s$", "100/s", description);
    let bits = |description: &str| limit("^[1-9][0-9]* *[kMG]?bit/s$", "100Mbit/s", description);
    let properties = json!({
        "flows": count(&format!("Connections that it has opened, at a time; {} without this key.", count_of(default.flows))),
        "half-open": count(&format!("Of them, TCP connections not established yet; {} without this key.", count_of(default.half_open))),
        "new": rate(&format!("Packets that want to open a connection; {} without this key.", rate_of(default.new_per_s))),
        "broadcast": rate(&format!("Broadcasts and multicasts that it sends; {} without this key.", rate_of(default.broadcast_per_s))),
        "neighbours": rate(&format!("ARP and neighbour discovery that it sends; {} without this key.", rate_of(default.neighbours_per_s))),
        "in": bits("Bandwidth of what it receives; no limit without this key."),
        "out": bits("Bandwidth of what it sends; no limit without this key."),
    });
    json!({
        "description": description,
        "anyOf": [{ "const": "none" }, object("By what is limited; none: no limit.", properties, &[])],
    })
}

pub fn guest() -> Value {
    let mut properties = port_properties();
    let mut nic = object("A NIC.", port_properties(), &[]);
    let without_own = json!({ "not": { "anyOf": [
        { "required": ["network"] }, { "required": ["ip"] },
    ] } });
    let placed = json!([
        { "required": ["network"] },
        { "required": ["trunk"], "allOf": [without_own] },
    ]);
    nic["anyOf"] = placed.clone();
    properties["labels"] = words::one_or_any(
        words::named("A label."),
        "What rules can call it, together with others.",
    );
    properties["nics"] = json!({
        "description": "Its NICs where it has several, one on each network.",
        "type": "array", "minItems": 1, "items": nic,
    });
    properties["forwards"] = json!({
        "description": "Might it pass on what reaches it on one NIC through another? true without \
                        this key: proofs then count it as a way between its networks.",
        "type": "boolean",
    });
    properties["limits"] = limits("What its port, or each of them, may take.", &GUEST);
    let mut guest = object("A machine.", properties, &[]);
    let not = |keys: &[&str]| {
        let each: Vec<Value> = keys.iter().map(|key| json!({ "required": [key] })).collect();
        json!({ "anyOf": each })
    };
    guest["oneOf"] = json!([
        { "anyOf": placed, "not": { "required": ["nics"] } },
        { "required": ["nics"], "not": not(&["network", "ip", "mac", "trunk"]) },
    ]);
    guest
}

pub fn shared() -> Value {
    let mut properties = nic_properties();
    if let Some(properties) = properties.as_object_mut() {
        properties.remove("mac");
    }
    properties["network"] = words::named("The network that they are on.");
    properties["by"] = words::one_or_list(
        words::named("A guest or a label."),
        "The guests that may have them, each with a NIC on the network: whoever announced them \
         last holds them.",
    );
    properties["vrrp"] = json!({
        "description": "Number of the guests' virtual router (RFC 9568), which the MAC of the \
                        addresses follows from; without this key the MAC follows from the name.",
        "type": "integer", "minimum": 1, "maximum": 255,
    });
    properties["labels"] = words::one_or_any(
        words::named("A label."),
        "What rules can call the addresses, together with others.",
    );
    object(
        "Addresses that several guests may have. To rules they are an endpoint of their own.",
        properties,
        &["network", "by"],
    )
}

pub fn host() -> Value {
    let addresses =
        words::one_or_any(words::address(), "Addresses of the hypervisor, besides the gateways.");
    let mut host = object("The hypervisor.", json!({ "addresses": addresses }), &[]);
    host["type"] = json!(["object", "null"]);
    host
}

pub fn denied() -> Value {
    let list = json!({
        "type": "string",
        "pattern": r"\.(txt|list|zone|netset|ipset)$",
        "examples": ["bogons.txt"],
    });
    let one = json!({ "type": "string", "examples": ["192.0.2.0/24", "2001:db8::7"] });
    let properties = json!({
        "file": words::one_or_any(
            list,
            "Lists from this file's folder: a prefix or an address on each line; what stands \
             behind # or ; is a comment.",
        ),
        "addresses": words::one_or_any(one, "Prefixes and addresses."),
    });
    let mut set = object("Prefixes, from files and from here.", properties, &[]);
    set["anyOf"] = ["file", "addresses"].map(|key| json!({ "required": [key] })).into();
    set
}

pub fn publish() -> Value {
    let mut properties = json!({
        "at": {
            "description": "An IPv4 address of the host, or host for all of them.",
            "anyOf": [{ "const": "host" }, words::address()],
        },
        "for": words::services("The ports there: services of tcp, udp and sctp."),
        "to": {
            "description": "The guest that answers, or one of its IPv4 addresses.",
            "type": "string",
        },
        "port": {
            "description": "The guest's own port; without this key the one that was asked for.",
            "type": "integer", "minimum": 1, "maximum": 65_535,
        },
    });
    properties["name"] = words::own_name();
    object(
        "A guest's service, reachable at an address of the host. Rules still decide who reaches it.",
        properties,
        &["at", "for", "to"],
    )
}
