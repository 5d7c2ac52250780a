//! Rules and invariants.

use serde_json::{Value, json};

use super::{object, words};

fn sides() -> Value {
    json!({
        "from": words::list_of("endpoints", "Who opens the connection: any of these."),
        "to": words::list_of("endpoints", "To whom: any of these."),
        "for": words::services("For what: any of these."),
    })
}

/// What a rule speaks about.
pub fn selection() -> Value {
    object("Connections: who opens them, to whom, for what.", sides(), &["from", "to", "for"])
}

fn remarks(properties: &mut Value) {
    properties["name"] = words::own_name();
    properties["owner"] =
        json!({ "description": "Who answers for it.", "type": ["string", "number"] });
    properties["ticket"] =
        json!({ "description": "Why it is there.", "type": ["string", "number"] });
}

pub fn invariant() -> Value {
    let mut properties = sides();
    remarks(&mut properties);
    object("Connections that must never, or must always, be possible.", properties, &["from", "to"])
}

pub fn rule() -> Value {
    let says = |what: &str| json!({ "description": what, "$ref": "#/$defs/selection" });
    let mut properties = json!({
        "allow": says("These connections may be."),
        "deny": says("These connections may not be. In one tier deny beats allow."),
        "pass": says("The tenant tier decides about these connections; platform tier only."),
        "tier": {
            "description": "platform stands above tenant: its deny cannot be undone below. tenant \
                            without this key.",
            "enum": ["platform", "tenant"],
        },
        "mode": {
            "description": "observe: the rule decides nothing; it counts and logs what it would \
                            do. enforce without this key.",
            "enum": ["enforce", "observe"],
        },
        "until": until(),
        "log": log(),
    });
    remarks(&mut properties);
    let mut rule = object("A rule about connections.", properties, &[]);
    rule["oneOf"] = ["allow", "deny", "pass"].map(|word| json!({ "required": [word] })).into();
    rule["dependentSchemas"] = json!({
        "pass": { "required": ["tier"], "properties": { "tier": { "const": "platform" } } },
    });
    rule
}

fn until() -> Value {
    json!({
        "description": "When the rule ends: a date (the beginning of that day, UTC), a date and \
                        time with Z or an offset, or a duration (s, m, h, d, w) that counts from \
                        the moment the rule was first applied. Its connections are cut then.",
        "type": "string",
        "anyOf": [
            { "pattern": r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$" },
            { "pattern": r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$" },
            { "pattern": "^[0-9]+[smhdw]$" },
        ],
        "examples": ["2026-12-01", "2026-12-01T18:00Z", "2026-12-01T18:00:00+01:00", "8h", "7d"],
    })
}

fn log() -> Value {
    let rate = json!({
        "description": "Most events a second on each CPU; more are counted, not logged.",
        "type": "string", "pattern": "^[1-9][0-9]{0,5}/s$", "examples": ["50/s"],
    });
    json!({
        "description": "Are its connections logged? true: 10 a second at most on each CPU.",
        "anyOf": [{ "type": "boolean" }, object("How.", json!({ "rate": rate }), &[])],
    })
}
