//! The host's tables, as far as packets of ours meet them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::packet::Hook;

/// All chains of tables that are not ours.
#[derive(Debug, Default)]
pub struct Ruleset {
    pub chains: BTreeMap<ChainKey, Chain>,
    /// Elements of named sets and maps.
    sets: BTreeMap<ChainKey, Vec<Value>>,
}

/// Family, table and name.
pub type ChainKey = (String, String, String);

/// A chain with its rules.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain {
    pub family: String,
    pub table: String,
    pub name: String,
    pub base: Option<Base>,
    pub rules: Vec<Rule>,
}

/// Where a chain begins by itself.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Base {
    pub hook: String,
    pub drops: bool,
    /// Of a netdev chain: its devices.
    pub devices: Vec<String>,
}

/// A rule: its statements stay as they are told.
#[derive(Debug)]
pub struct Rule {
    pub handle: Option<u64>,
    pub statements: Vec<Value>,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.handle == other.handle
    }
}

impl Eq for Rule {}

impl PartialOrd for Rule {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rule {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.handle.cmp(&other.handle)
    }
}

impl Ruleset {
    /// From `nft -j list ruleset`, without the table of ours.
    pub fn read(listed: &Value, own: &str) -> Self {
        let mut ruleset = Self::default();
        let objects = listed["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
        for object in objects {
            let Some((kind, object)) = object.as_object().and_then(|o| o.iter().next()) else {
                continue;
            };
            if object["family"] == "inet" && object["table"] == own {
                continue;
            }
            match kind.as_str() {
                "chain" => ruleset.add_chain(object),
                "rule" => ruleset.add_rule(object),
                "set" | "map" => {
                    let elements = object["elem"].as_array().cloned().unwrap_or_default();
                    ruleset.sets.insert(key(object, "name"), elements);
                }
                _ => {}
            }
        }
        ruleset
    }

    /// Are there no chains of others?
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// A chain of the same table.
    pub fn sibling(&self, of: &Chain, name: &str) -> Option<&Chain> {
        self.chains.get(&(of.family.clone(), of.table.clone(), name.to_owned()))
    }

    /// Elements of a set or map of the same table, named `@NAME`.
    pub fn elements(&self, of: &Chain, name: &str) -> Option<&[Value]> {
        let name = name.strip_prefix('@')?.to_owned();
        self.sets.get(&(of.family.clone(), of.table.clone(), name)).map(Vec::as_slice)
    }

    /// Has this table a chain whose name begins so?
    pub fn has_chain(&self, of: &Chain, prefix: &str) -> bool {
        let same = |c: &&Chain| c.family == of.family && c.table == of.table;
        self.chains.values().filter(same).any(|c| c.name.starts_with(prefix))
    }

    fn add_chain(&mut self, object: &Value) {
        let devices = match &object["dev"] {
            Value::String(one) => vec![one.clone()],
            Value::Array(several) => several.iter().map(text).collect(),
            _ => Vec::new(),
        };
        let base = object["hook"].as_str().map(|hook| Base {
            hook: hook.to_owned(),
            drops: object["policy"] == "drop",
            devices,
        });
        let key = key(object, "name");
        let (family, table, name) = key.clone();
        self.chains.insert(key, Chain { family, table, name, base, rules: Vec::new() });
    }

    fn add_rule(&mut self, object: &Value) {
        if let Some(chain) = self.chains.get_mut(&key(object, "chain")) {
            let statements = object["expr"].as_array().cloned().unwrap_or_default();
            chain.rules.push(Rule { handle: object["handle"].as_u64(), statements });
        }
    }
}

impl Base {
    /// Its hook, where packets of ours pass it.
    pub fn hook(&self) -> Option<Hook> {
        Hook::of(&self.hook)
    }
}

fn key(object: &Value, name: &str) -> ChainKey {
    (text(&object["family"]), text(&object["table"]), text(&object[name]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
