//! Networks, guests and the host.

use serde_json::{Value, json};

use super::{object, words};
use crate::model::Kind;

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
    let properties = json!({
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

pub fn guest() -> Value {
    let mut properties = nic_properties();
    let nic = object("A NIC.", nic_properties(), &["network"]);
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
    let mut guest = object("A machine.", properties, &[]);
    let not = |keys: &[&str]| {
        let each: Vec<Value> = keys.iter().map(|key| json!({ "required": [key] })).collect();
        json!({ "anyOf": each })
    };
    guest["oneOf"] = json!([
        { "required": ["network"], "not": { "required": ["nics"] } },
        { "required": ["nics"], "not": not(&["network", "ip", "mac"]) },
    ]);
    guest
}

pub fn host() -> Value {
    let addresses =
        words::one_or_any(words::address(), "Addresses of the hypervisor, besides the gateways.");
    let mut host = object("The hypervisor.", json!({ "addresses": addresses }), &[]);
    host["type"] = json!(["object", "null"]);
    host
}
