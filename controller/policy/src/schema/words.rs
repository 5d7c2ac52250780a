//! Names, addresses, endpoints and services.

use serde_json::{Value, json};

use crate::{catalogue, model::Protocol};

/// Names begin with a letter, so none looks like an address or a service literal.
pub const NAME: &str = "^[A-Za-z][A-Za-z0-9._-]{0,62}$";
const ADDRESS: &str = r"^((\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)$";
const PREFIX: &str = r"^((\d{1,3}\.){3}\d{1,3}/\d{1,2}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*/\d{1,3})$";
const MAC: &str = "^(auto|[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5})$";
/// Numbers of each protocol, and source ports where there are ports.
const LITERAL: &str = r"^((tcp|udp|sctp)/\d{1,5}(-\d{1,5})?( +from +\d{1,5}(-\d{1,5})?)?|icmp(v6)?/\d{1,3}(/\d{1,3})?|proto/\d{1,3})$";
/// A name from source ports.
const NAMED_FROM: &str = r"^[A-Za-z][A-Za-z0-9._-]{0,62} +from +\d{1,5}(-\d{1,5})?$";

/// Names that are not taken by the language.
pub fn name() -> Value {
    json!({ "pattern": NAME, "not": { "enum": ["any", "host", "world", "auto"] } })
}

/// The name of something that is defined elsewhere.
pub fn named(description: &str) -> Value {
    json!({ "description": description, "type": "string", "pattern": NAME })
}

/// The name of a rule, an invariant or a published service.
pub fn own_name() -> Value {
    json!({
        "description": "What messages, counters and logs call it; each name once. Without one it \
                        is called after its line.",
        "type": "string", "pattern": NAME,
    })
}

pub fn address() -> Value {
    json!({ "type": "string", "pattern": ADDRESS, "examples": ["10.10.0.5", "fd00:10::5"] })
}

pub fn prefix() -> Value {
    json!({ "type": "string", "pattern": PREFIX, "examples": ["10.10.0.0/24", "fd00:10::/64"] })
}

pub fn mac(description: &str) -> Value {
    json!({ "description": description, "type": "string", "pattern": MAC, "examples": ["auto", "02:00:5e:10:00:01"] })
}

/// One, or a list that is not empty.
pub fn one_or_list(item: Value, description: &str) -> Value {
    let mut either = one_or_any(item, description);
    either["anyOf"][1]["minItems"] = 1.into();
    either
}

/// One, or a list.
pub fn one_or_any(item: Value, description: &str) -> Value {
    json!({ "description": description, "anyOf": [item, { "type": "array", "items": item }] })
}

/// A use of one of `$defs`, with a description of its own.
pub fn list_of(def: &str, description: &str) -> Value {
    json!({ "description": description, "$ref": format!("#/$defs/{def}") })
}

pub fn endpoints() -> Value {
    one_or_list(json!({ "$ref": "#/$defs/endpoint" }), "Endpoints: all of them together.")
}

pub fn endpoint() -> Value {
    let combine = |description: &str| list_of("endpoints", description);
    json!({
        "description": "A guest, a label, a network, a set, an address, a prefix, or a selector.",
        "anyOf": [
            {
                "enum": ["host", "world", "any"],
                "description": "host: the hypervisor. world: everything outside. any: every address.",
            },
            { "type": "string", "pattern": NAME },
            { "type": "string", "pattern": ADDRESS },
            { "type": "string", "pattern": PREFIX },
            {
                "description": "A selector.",
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": false,
                "properties": {
                    "all of": combine("Who is in every one of these."),
                    "any of": combine("Who is in one of these."),
                    "not": combine("Every address that is in none of these."),
                },
            },
        ],
    })
}

pub fn set() -> Value {
    let parts = json!({
        "members": list_of("endpoints", "What is in it."),
        "except": list_of("endpoints", "What is taken out again."),
    });
    json!({
        "description": "Endpoints, or members with exceptions.",
        "anyOf": [
            { "$ref": "#/$defs/endpoints" },
            super::object("Members with exceptions.", parts, &["members"]),
        ],
    })
}

pub fn services(description: &str) -> Value {
    one_or_list(json!({ "$ref": "#/$defs/service" }), description)
}

pub fn service() -> Value {
    let mut names: Vec<&str> = catalogue::names().chain(["any"]).collect();
    names.sort_unstable();
    let protocols: Vec<&str> = Protocol::ALL.into_iter().map(Protocol::name).collect();
    json!({
        "description": format!(
            "A built-in service, one of `services`, any, or a literal: {} with numbers; what has \
             ports can say from which source ports.",
            protocols.join(", "),
        ),
        "type": "string",
        "anyOf": [
            { "enum": names },
            { "pattern": LITERAL },
            { "pattern": NAME },
            { "pattern": NAMED_FROM },
        ],
        "examples": ["tcp/8080", "tcp/8080-8089", "icmp/3/4", "icmpv6/128", "proto/47", "tcp/2049 from 600-1023"],
    })
}
