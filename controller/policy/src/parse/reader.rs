//! Reads typed values out of YAML nodes, and reports what does not fit.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use portcullis_pipeline::addr::Mac;

use crate::{
    diagnostic::{Diagnostic, Diagnostics, Edit},
    foreign,
    near::did_you_mean,
    problem::Problem,
    service,
    source::Span,
    yaml::{Key, Node, Value},
};

/// A mapping whose keys were checked.
pub struct Table<'n> {
    entries: &'n [(Key, Node)],
    of: &'static str,
    /// What unknown keys were likely meant to be: these are not missed once more.
    meant: Vec<&'static str>,
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
        if found.is_none() && !self.may_mean(key) {
            let problem = Problem::MissingKey { key, of: self.of };
            diags.push(Diagnostic::new(problem, at).maybe_help(example(key)));
        }
        found
    }

    /// Was this key likely meant by one that is unknown?
    pub fn may_mean(&self, key: &str) -> bool {
        self.meant.contains(&key)
    }
}

/// How a key that is missing could look.
fn example(key: &str) -> Option<&'static str> {
    Some(match key {
        "vlan" => "give it a VLAN id that no other network has, as in `vlan: 10`",
        "subnets" => "give it its addresses, as in `subnets: [10.10.0.0/24]`",
        "network" => "say where it is plugged in, as in `network: lan`",
        "from" => "say who opens the connection; `from: any` is everybody",
        "to" => "say to whom; `to: any` is everybody",
        "for" => "say what for, as in `for: [http, https]`; `for: any` is everything",
        "at" => "say at which address of the host, as in `at: 192.0.2.1`, or `at: host`",
        "members" => "say what is in it before what is not, as in `members: [any]`",
        _ => return None,
    })
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
    keys: &'static [&'static str],
    diags: &mut Diagnostics,
) -> Option<Table<'n>> {
    let Value::Map(entries) = &node.value else {
        wrong_type(of, "a mapping", &node.value, node.span, diags);
        return None;
    };
    let mut table = Table { entries, of, meant: Vec::new() };
    for (key, _) in entries.iter().filter(|(k, _)| !keys.contains(&k.text.as_str())) {
        let meant = foreign::key(&key.text, keys);
        let problem = Problem::UnknownKey { key: key.text.clone(), of };
        let diagnostic = Diagnostic::new(problem, key.span);
        diags.push(match meant {
            Some("for") => diagnostic.help(match key.text.trim_start_matches('-') {
                "sport" | "source_port" | "source-port" => {
                    "source ports stand in `for`: `for: tcp/2049 from 600-1023`"
                }
                _ => "ports and protocols stand in `for`: `for: tcp/443`",
            }),
            Some(meant) => diagnostic.meant(Some(meant)),
            None => diagnostic.help(elsewhere(&key.text, of, keys)),
        });
        table.meant.extend(meant);
    }
    Some(table)
}

/// Where a key that means nothing here belongs.
fn elsewhere(key: &str, of: &str, keys: &[&str]) -> String {
    match (key, of) {
        ("from" | "to" | "for", "a rule") => {
            format!("`{key}` stands inside `allow`, `deny` or `pass`")
        }
        ("action", _) => {
            "the action is the key: `allow: { from: ..., to: ..., for: ... }`, `deny` or `pass`"
                .to_owned()
        }
        ("description" | "comment" | "note", _) => {
            "remarks for people are comments: `# like this`".to_owned()
        }
        ("enabled" | "enable" | "disabled" | "disable", "a rule") => {
            "a rule that is not to count is left out, or has `mode: observe`".to_owned()
        }
        ("allow" | "deny" | "pass", "an invariant") => {
            "`never` and `always` say it already: `from`, `to` and `for` stand here".to_owned()
        }
        ("network" | "guest" | "label" | "set" | "ip" | "host" | "group", "a selector") => {
            "an endpoint is named without saying what it is: `lan`, `web1`, `10.10.0.5`".to_owned()
        }
        ("vars" | "variables" | "defaults", _) => {
            "there are no variables: give endpoints a name under `sets`, ports under `services`"
                .to_owned()
        }
        _ => format!("known here: {}", keys.join(", ")),
    }
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

/// Reports a list without anything in it, where something is needed.
pub fn refuse_empty(node: &Node, what: &'static str, diags: &mut Diagnostics) {
    if matches!(&node.value, Value::List(items) if items.is_empty()) {
        let problem = Problem::EmptySelector { what: what.into() };
        diags.push(Diagnostic::new(problem, node.span).help("name at least one"));
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
    let problem = Problem::BadValue { got: got.to_owned(), expected: "`true` or `false`" };
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
        diags.push(Diagnostic::new(problem, span).maybe_help(address_help(text)));
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

fn address_help(text: &str) -> Option<&'static str> {
    let numbers: Vec<&str> = text.split('.').collect();
    let has_port = |(addr, _): (&str, &str)| addr.parse::<Ipv4Addr>().is_ok();
    if text.is_empty() {
        Some("an address looks like `10.10.0.5` or `fd00:10::5`")
    } else if text.split_once(':').is_some_and(has_port) {
        Some("the address stands alone here; ports stand in `for`")
    } else if text.contains('%') {
        Some("write it without `%` and what follows")
    } else if text.contains(":::") || text.matches("::").count() > 1 {
        Some("an IPv6 address has one `::` at most")
    } else if text.contains('/') {
        Some("one address is wanted here, without `/LENGTH`")
    } else if text.split(':').count() == 6 && text.len() == 17 {
        Some("this looks like a MAC; rules name guests, and guests have MACs")
    } else if text.contains('-') {
        Some("there are no ranges of addresses: write prefixes, as in `10.10.0.0/28`")
    } else if text.contains('*') {
        Some("write a prefix, as in `10.10.0.0/24`")
    } else if numbers.len() == 4 && numbers.iter().any(|n| n.len() > 1 && n.starts_with('0')) {
        Some("numbers in an address have no leading zeros")
    } else if numbers.len() == 4 {
        Some("each of the four numbers goes from 0 to 255")
    } else if numbers.len() == 3 && !text.contains(':') {
        Some("an IPv4 address has four numbers, as in `10.10.0.5`")
    } else {
        None
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
        diags.push(Diagnostic::new(problem, span).help(prefix_help(text)));
        return None;
    };
    if net.trunc() != net {
        let text = net.trunc().to_string();
        let edit = Edit { title: format!("write `{text}`"), span, text };
        diags.push(Diagnostic::new(Problem::HostBits { got: net }, span).edit(edit));
        return None;
    }
    Some(net)
}

fn prefix_help(text: &str) -> String {
    let example = "a prefix looks like `10.10.0.0/24` or `fd00:10::/64`".to_owned();
    let (addr, len) = text.split_once('/').unwrap_or((text, ""));
    match (addr.parse::<IpAddr>(), len.parse::<IpAddr>()) {
        (Ok(addr), Ok(mask)) => match ipnet::ip_mask_to_prefix(mask) {
            Ok(len) => format!("write the length, not the mask: `{addr}/{len}`"),
            Err(_) => example,
        },
        (Ok(IpAddr::V4(_)), _) if len.is_empty() => format!("add its length, as in `{addr}/24`"),
        (Ok(IpAddr::V6(_)), _) if len.is_empty() => format!("add its length, as in `{addr}/64`"),
        (Ok(IpAddr::V4(_)), _) => "the length of an IPv4 prefix goes from 0 to 32".to_owned(),
        (Ok(IpAddr::V6(_)), _) => "the length of an IPv6 prefix goes from 0 to 128".to_owned(),
        (Err(_), _) if service::literal(text).is_ok() => {
            "this is a service; services stand in `for`".to_owned()
        }
        (Err(_), _) => example,
    }
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
        let help = "the first byte of a NIC's MAC is even, as in `02:00:5e:10:00:01`";
        diags.push(Diagnostic::new(Problem::GroupMac { mac }, span).help(help));
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
        let problem = Problem::WrongType { what, expected, got: got.kind() };
        diags.push(Diagnostic::new(problem, span).maybe_help(shape(what)));
    }
}

/// How something is written that people tend to write as a list, or as a mapping.
fn shape(what: &str) -> Option<&'static str> {
    Some(match what {
        "`networks`" => "each network stands under its name: `lan: { vlan: 10, subnets: [...] }`",
        "`guests`" => "each guest stands under its name: `web1: { network: dmz }`",
        "`labels`" => "each label stands under its name: `quarantine: what it stands for`",
        "`sets`" => "each set stands under its name: `office: [192.0.2.0/24]`",
        "`services`" => "each service stands under its name: `game: [udp/27015]`",
        "`publish`" => "each is an item: `- { at: host, for: https, to: web1 }`",
        "`rules`" => "each rule is an item: `- { name: web, allow: { ... } }`",
        "`never`" | "`always`" => "each invariant is an item: `- { from: dmz, to: lan }`",
        "`host`" => "the host has addresses: `host: { addresses: [192.0.2.1] }`",
        "a policy" => "a policy has sections: `networks:`, `guests:`, `rules:`, ...",
        "a rule's `allow`, `deny` or `pass`" => "write `{ from: ..., to: ..., for: ... }`",
        "a rule" => "write `{ name: web, allow: { from: world, to: web, for: https } }`",
        "a network" => "write `{ vlan: 10, subnets: [10.10.0.0/24] }`",
        "a guest" => "write `{ network: lan }`",
        "`log`" => "write `log: true` or `log: { rate: 50/s }`",
        "`nics`" => "each NIC is an item: `- { network: lan }`",
        _ => return None,
    })
}
