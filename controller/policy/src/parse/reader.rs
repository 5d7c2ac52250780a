//! Reads typed values out of YAML nodes, and reports what does not fit.

use std::net::IpAddr;

use ipnet::IpNet;
use portcullis_pipeline::addr::Mac;

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    near::did_you_mean,
    problem::Problem,
    source::Span,
    yaml::{Key, Node, Value},
};

/// A mapping whose keys were checked.
pub struct Table<'n> {
    entries: &'n [(Key, Node)],
    of: &'static str,
}

impl<'n> Table<'n> {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(k, _)| k.text == key).map(|(_, node)| node)
    }

    /// The key itself, for its place.
    pub fn key(&self, key: &str) -> Option<&'n Key> {
        self.entries.iter().find(|(k, _)| k.text == key).map(|(k, _)| k)
    }

    /// The value of a key that must be there. `at` is where its absence is shown.
    pub fn need(&self, key: &'static str, at: Span, diags: &mut Diagnostics) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            diags.report(Problem::MissingKey { key, of: self.of }, at);
        }
        found
    }
}

/// Any mapping, whatever its keys. Nothing (`guests:` without a value) is an empty one.
pub fn map<'n>(node: &'n Node, what: &'static str, diags: &mut Diagnostics) -> &'n [(Key, Node)] {
    match &node.value {
        Value::Map(entries) => entries,
        Value::Null => &[],
        other => {
            wrong_type(what, "a mapping", other, node.span, diags);
            &[]
        }
    }
}

/// A mapping with these keys and no other.
pub fn table<'n>(
    node: &'n Node,
    of: &'static str,
    keys: &[&str],
    diags: &mut Diagnostics,
) -> Option<Table<'n>> {
    let Value::Map(entries) = &node.value else {
        wrong_type(of, "a mapping", &node.value, node.span, diags);
        return None;
    };
    for (key, _) in entries.iter().filter(|(k, _)| !keys.contains(&k.text.as_str())) {
        let problem = Problem::UnknownKey { key: key.text.clone(), of };
        let help = did_you_mean(&key.text, keys.iter().copied())
            .unwrap_or_else(|| format!("known here: {}", keys.join(", ")));
        diags.push(Diagnostic::new(problem, key.span).help(help));
    }
    Some(Table { entries, of })
}

/// A single value as text.
pub fn text<'n>(node: &'n Node, what: &'static str, diags: &mut Diagnostics) -> Option<&'n str> {
    match &node.value {
        Value::Scalar(text) => Some(text),
        other => {
            wrong_type(what, "a single value", other, node.span, diags);
            None
        }
    }
}

/// A list, or a single value as a list of one.
pub fn list<'n>(node: &'n Node, what: &'static str, diags: &mut Diagnostics) -> &'n [Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Scalar(_) => std::slice::from_ref(node),
        other => {
            wrong_type(what, "a value or a list", other, node.span, diags);
            &[]
        }
    }
}

/// A list and nothing else.
pub fn strict_list<'n>(node: &'n Node, what: &'static str, diags: &mut Diagnostics) -> &'n [Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Null => &[],
        other => {
            wrong_type(what, "a list", other, node.span, diags);
            &[]
        }
    }
}

/// `true` or `false`; not YAML 1.1's yes, no, on, off.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A value that is `true` or `false`.
pub fn truth(node: &Node, what: &'static str, diags: &mut Diagnostics) -> Option<bool> {
    let got = text(node, what, diags)?;
    let value = boolean(got);
    if value.is_none() {
        diags.push(not_boolean(got, node.span));
    }
    value
}

/// What is neither `true` nor `false`, with the word that was meant.
pub fn not_boolean(got: &str, span: Span) -> Diagnostic {
    let help = match got.to_ascii_lowercase().as_str() {
        "yes" | "on" | "y" | "1" => Some("write `true`".to_owned()),
        "no" | "off" | "n" | "0" => Some("write `false`".to_owned()),
        word => did_you_mean(word, ["true", "false"].into_iter()),
    };
    let problem = Problem::BadValue { got: got.to_owned(), expected: "true or false" };
    Diagnostic::new(problem, span).maybe_help(help)
}

/// A decimal number. YAML 1.1's octal (`010`) and sexagesimal numbers are refused, not guessed.
pub fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if digits && !padded { text.parse().ok() } else { None }
}

/// An address that a machine can have and a rule can name.
pub fn address(text: &str, span: Span, diags: &mut Diagnostics) -> Option<IpAddr> {
    let Ok(addr) = text.parse::<IpAddr>() else {
        let problem = Problem::BadAddress { got: text.to_owned() };
        let help = text.contains('/').then_some("one address is wanted here, without `/LENGTH`");
        diags.push(Diagnostic::new(problem, span).maybe_help(help));
        return None;
    };
    match unusable(addr) {
        Some(why) => {
            diags.report(Problem::UnusableAddress { addr, why }, span);
            None
        }
        None => Some(addr),
    }
}

/// Why an address can be nobody's, if so.
fn unusable(addr: IpAddr) -> Option<&'static str> {
    match addr {
        IpAddr::V4(a) if a.is_broadcast() => Some("it is the broadcast address"),
        _ => unusable_block(IpNet::from(addr)),
    }
}

/// Why no machine has an address of this prefix, if so.
pub fn unusable_block(net: IpNet) -> Option<&'static str> {
    let within = |block: &str| block.parse::<IpNet>().is_ok_and(|b| b.contains(&net));
    match net {
        _ if within("127.0.0.0/8") || within("::1/128") => Some("it is loopback"),
        _ if within("224.0.0.0/4") || within("ff00::/8") => Some("it is multicast"),
        _ if within("0.0.0.0/8") || within("::/128") => Some("it means \"this network\""),
        _ if within("240.0.0.0/4") => Some("it is reserved (RFC 1112, section 4)"),
        _ if within("::ffff:0:0/96") => Some("write IPv4 addresses as IPv4"),
        _ if within("::/96") => {
            Some("IPv4-compatible IPv6 addresses are no longer used (RFC 4291)")
        }
        _ if within("fe80::/10") => Some(
            "link-local addresses follow from the MAC; they count as the first address of their NIC",
        ),
        _ => None,
    }
}

/// A prefix without host bits.
pub fn prefix(text: &str, span: Span, diags: &mut Diagnostics) -> Option<IpNet> {
    let Ok(net) = text.parse::<IpNet>() else {
        let problem = Problem::BadPrefix { got: text.to_owned() };
        let help = match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => Some(format!("add its length, as in `{text}/24`")),
            Ok(IpAddr::V6(_)) => Some(format!("add its length, as in `{text}/64`")),
            Err(_) => Some("a prefix looks like `10.10.0.0/24` or `fd00:10::/64`".to_owned()),
        };
        diags.push(Diagnostic::new(problem, span).maybe_help(help));
        return None;
    };
    if net.trunc() != net {
        let help = format!("write `{}`", net.trunc());
        diags.push(Diagnostic::new(Problem::HostBits { got: net }, span).help(help));
        return None;
    }
    Some(net)
}

/// A MAC that one NIC can have.
pub fn mac(text: &str, span: Span, diags: &mut Diagnostics) -> Option<Mac> {
    let mut bytes = [0u8; 6];
    let mut parts = text.split([':', '-']);
    let mut ok = true;
    for byte in &mut bytes {
        let part = parts.next().unwrap_or("");
        ok &= part.len() == 2;
        match u8::from_str_radix(part, 16) {
            Ok(value) => *byte = value,
            Err(_) => ok = false,
        }
    }
    let mac = Mac::new(bytes);
    if !ok || parts.next().is_some() || mac == Mac::default() || text.contains('+') {
        let problem = Problem::BadMac { got: text.to_owned() };
        diags.push(Diagnostic::new(problem, span).help("a MAC looks like `02:00:5e:10:00:01`"));
        return None;
    }
    if mac.is_group() {
        diags.report(Problem::GroupMac { mac }, span);
        return None;
    }
    Some(mac)
}

fn wrong_type(
    what: &'static str,
    expected: &'static str,
    got: &Value,
    span: Span,
    diags: &mut Diagnostics,
) {
    if !matches!(got, Value::Refused) {
        diags.report(Problem::WrongType { what, expected, got: got.kind() }, span);
    }
}
