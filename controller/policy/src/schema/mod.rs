//! A JSON Schema of the language (draft 2020-12): what editors complete, show and check while
//! somebody types. It knows the shape of a policy; what names mean only the compiler knows.

mod places;
mod rules;
#[cfg(test)]
mod tests;
mod words;

use serde_json::{Value, json};

/// The schema of a policy file.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Portcullis policy",
        "description": "Who may talk to whom. Everything that no rule allows is denied, in every \
                        direction, for the host too. The order of rules does not matter.",
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": {
            "include": words::one_or_any(
                json!({ "type": "string", "minLength": 1, "examples": ["common.yaml", "rules/", "guests/*.yaml"] }),
                "Further files of this policy, from this file's folder: a file, a folder (its \
                 *.yaml) or a glob. All of them share one namespace; each file counts once.",
            ),
            "networks": section("Isolated broadcast domains, by name.", words::name(), places::network()),
            "guests": section("Machines that the policy knows, by name.", words::name(), places::guest()),
            "shared": section(
                "Addresses that several guests may have, one of them at a time, by name.",
                words::name(),
                places::shared(),
            ),
            "labels": section(
                "Labels with what they stand for. A label that is declared here may be named by \
                 rules while nobody wears it, as for a quarantine.",
                words::name(),
                json!({ "type": ["string", "null"], "description": "What the label stands for." }),
            ),
            "host": places::host(),
            "denied": section(
                "Denied sets: whoever is outside with one of these addresses is heard by nobody \
                 and reached by nobody, before any rule.",
                words::name(),
                places::denied(),
            ),
            "sets": section("Endpoints under a name.", words::name(), words::set()),
            "services": section(
                "Services of your own: built-in services and literals under a name.",
                words::name(),
                words::services("What it is made of."),
            ),
            "rules": list("What connections may be. Answers are implied.", json!({ "$ref": "#/$defs/rule" })),
            "log-denied": {
                "description": "How often connections are logged that no rule allows and none \
                                denies, on each CPU; none (as without this key): not at all.",
                "anyOf": [
                    { "const": "none" },
                    { "type": "string", "pattern": "^[1-9][0-9]{0,5} */ *s$", "examples": ["10/s"] },
                ],
            },
            "never": list(
                "What must not be possible whatever the rules say; proved before anything is applied.",
                json!({ "$ref": "#/$defs/invariant" }),
            ),
            "always": list(
                "What must be possible whatever the rules say; proved before anything is applied.",
                json!({ "$ref": "#/$defs/invariant" }),
            ),
            "publish": list(
                "Guests' services that are reachable at addresses of the host (IPv4 port forwarding).",
                places::publish(),
            ),
        },
        "$defs": {
            "endpoint": words::endpoint(),
            "endpoints": words::endpoints(),
            "service": words::service(),
            "selection": rules::selection(),
            "rule": rules::rule(),
            "invariant": rules::invariant(),
        },
    })
}

/// As [`schema`], as it stands in a file.
pub fn schema_text() -> String {
    // Values with string keys always have a text.
    format!("{:#}\n", schema())
}

/// A mapping from names of your choice.
fn section(description: &str, names: Value, values: Value) -> Value {
    json!({
        "description": description,
        "type": ["object", "null"],
        "propertyNames": names,
        "additionalProperties": values,
    })
}

fn list(description: &str, items: Value) -> Value {
    json!({ "description": description, "type": ["array", "null"], "items": items })
}

/// A mapping with these keys and no other.
fn object(description: &str, properties: Value, required: &[&str]) -> Value {
    json!({
        "description": description,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}
