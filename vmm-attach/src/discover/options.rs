//! Options of monitors: `key=value,key=value`, or JSON.

use std::collections::BTreeMap;

use serde_json::Value;

/// An option's parts by key. What stands first without a key has the key that is given for it.
pub type Options = BTreeMap<String, String>;

/// Reads an option as QEMU does (`qemu_opts_parse`: a doubled comma is one of the value; JSON where it
/// begins so), and cloud-hypervisor.
pub fn read(text: &str, first: &str) -> Options {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) => {
            object.into_iter().filter_map(|(key, value)| Some((key, plain(value)?))).collect()
        }
        _ => pairs(text, first),
    }
}

/// Scalars as they would be written in the other form.
fn plain(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Bool(true) => Some("on".into()),
        Value::Bool(false) => Some("off".into()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn pairs(text: &str, first: &str) -> Options {
    let mut options = Options::new();
    for (number, part) in split(text).into_iter().enumerate() {
        match part.split_once('=') {
            Some((key, value)) => drop(options.insert(key.to_owned(), value.to_owned())),
            None if number == 0 => drop(options.insert(first.to_owned(), part)),
            None => drop(options.insert(part, "on".to_owned())),
        }
    }
    options
}

/// At single commas.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == ',' && rest.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_are_read() {
        let plain = read("tap,id=n0,ifname=web1,vhost=on", "type");
        let json = read(r#"{"type":"tap","id":"n0","ifname":"web1","vhost":true}"#, "type");
        assert_eq!(plain, json);
        assert_eq!(plain["type"], "tap");
        assert_eq!(read("guest=a,,b,debug-threads=on", "guest")["guest"], "a,b");
        assert_eq!(read("server", "type")["type"], "server");
    }

    proptest! {
        #[test]
        fn anything_is_read(text in "[a-z=,{}\":]{0,40}") {
            read(&text, "type");
        }

        #[test]
        fn commas_in_values_survive(value in "[a-z,]{0,12}") {
            let text = format!("x,key={}", value.replace(',', ",,"));
            prop_assert_eq!(&read(&text, "type")["key"], &value);
        }
    }
}
