//! The schema and the parser agree about the shape of a policy.

use std::{collections::BTreeSet, fs, path::PathBuf};

use jsonschema::Validator;
use serde_json::{Map, Value as Json};

use super::{schema, schema_text};
use crate::{
    Diagnostics, Sources, compile,
    parse::keys,
    yaml::{self, Node, Value},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).expect("a schema")
}

/// All `*.yaml` below a folder with their names.
fn files(folder: PathBuf) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![folder];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "yaml") {
                let text = fs::read_to_string(&path).expect("a file");
                found.push((path.display().to_string(), text));
            }
        }
    }
    found.sort();
    found
}

/// As an editor sees it (YAML 1.2, core schema). `None`: not even YAML of ours.
fn read(text: &str) -> Option<Json> {
    let sources = Sources::new([("x.yaml", text)]);
    let mut diags = Diagnostics::new(&sources);
    let node = yaml::parse(&sources, 0, &mut diags)?;
    (!diags.has_errors()).then(|| json(&node))
}

fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null | Value::Refused => Json::Null,
        Value::Scalar(text) => match (text.as_str(), text.parse::<i64>()) {
            ("true", _) => true.into(),
            ("false", _) => false.into(),
            // 010 is ten in one YAML and eight in another: no number here.
            (text, Ok(number)) if number.to_string() == text => number.into(),
            _ => text.as_str().into(),
        },
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => Json::Object(
            entries.iter().map(|(k, v)| (k.text.clone(), json(v))).collect::<Map<_, _>>(),
        ),
    }
}

#[test]
fn the_committed_file_is_the_schema() {
    let path = root().join("policies/schema.json");
    if std::env::var_os("PORTCULLIS_WRITE").is_some() {
        fs::write(&path, schema_text()).expect("the schema");
    }
    let committed = fs::read_to_string(path).expect("policies/schema.json");
    assert!(
        committed == schema_text(),
        "run `PORTCULLIS_WRITE=1 cargo test -p portcullis-policy schema` and commit the file"
    );
}

#[test]
fn every_example_fits() {
    let validator = validator();
    for (name, text) in files(root().join("policies")) {
        if name.contains("/cases/") {
            continue;
        }
        let json = read(&text).unwrap_or_else(|| panic!("{name}"));
        let errors: Vec<_> =
            validator.iter_errors(&json).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
    }
}

#[test]
fn random_policies_fit() {
    let validator = validator();
    for seed in 0..60 {
        let size = crate::generate::Size { networks: 3, guests: 8, rules: 12 };
        let text = crate::generate::policy(seed, size);
        assert!(validator.is_valid(&read(&text).expect("YAML")), "{text}");
    }
}

/// Codes of mistakes in the shape of a file: an editor shows them while one types.
const SHAPE: &[&str] = &[
    "PC0004", "PC0005", "PC0006", "PC0007", "PC0008", "PC0107", "PC0201", "PC0401", "PC0402",
    "PC0403", "PC0405", "PC1001", "PC1302",
];

#[test]
fn broken_shapes_do_not_fit() {
    let validator = validator();
    let mut seen = 0;
    for (name, text) in files(root().join("controller/policy/tests/bad")) {
        let sources = Sources::new([(name.as_str(), text.as_str())]);
        let diags = compile(&sources).err().expect("a broken file");
        let shape = diags.items().iter().any(|d| SHAPE.contains(&d.code()));
        if let (true, Some(json)) = (shape, read(&text)) {
            assert!(!validator.is_valid(&json), "{name} fits the schema\n{diags}");
            seen += 1;
        }
    }
    assert!(seen >= 120, "{seen}");
}

/// The keys of the schema are those of the parser: a key that it lacks is underlined in red, one
/// that the parser lacks is completed and then refused.
#[test]
fn keys_are_the_parsers() {
    let guest = "/properties/guests/additionalProperties/properties";
    let nic = format!("{guest}/nics/items/properties");
    let expected = [
        ("/properties", keys::POLICY),
        ("/properties/networks/additionalProperties/properties", keys::NETWORK),
        (guest, keys::GUEST),
        (&nic, keys::NIC),
        (&format!("{nic}/trunk/items/anyOf/1/properties"), keys::TAGGED),
        ("/properties/shared/additionalProperties/properties", keys::SHARED),
        (&format!("{guest}/limits/anyOf/1/properties"), keys::LIMITS),
        (
            "/properties/networks/additionalProperties/properties/limits/anyOf/1/properties",
            keys::LIMITS,
        ),
        ("/properties/host/properties", keys::HOST),
        ("/properties/sets/additionalProperties/anyOf/1/properties", keys::SET),
        ("/$defs/endpoint/anyOf/4/properties", keys::SELECTOR),
        ("/$defs/rule/properties", keys::RULE),
        ("/$defs/rule/properties/log/anyOf/1/properties", keys::LOG),
        ("/$defs/selection/properties", keys::SELECTION),
        ("/$defs/invariant/properties", keys::INVARIANT),
        ("/properties/publish/items/properties", keys::PUBLISH),
    ];
    let schema = schema();
    for (pointer, known) in expected {
        let object = schema.pointer(pointer).and_then(Json::as_object);
        let object = object.unwrap_or_else(|| panic!("{pointer}"));
        let keys: BTreeSet<&str> = object.keys().map(String::as_str).collect();
        assert_eq!(keys, known.iter().copied().collect(), "{pointer}");
    }
}
