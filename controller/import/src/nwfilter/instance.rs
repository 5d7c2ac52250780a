//! Filters for one NIC: references followed, variables filled in, rules in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::filter::{
    Attribute, Chain, Direction, Filter, Instance, Item, Ready, Reference, Rule, Test, What,
};
use crate::{
    finding::{Finding, Remark, did_you_mean},
    protocols,
};

/// Deeper references are a circle.
const DEPTH_MAX: usize = 16;
/// More rules than lists of variables that people write.
const RULES_MAX: usize = 10_000;

/// Values of variables.
pub type Variables = BTreeMap<String, Vec<String>>;

/// Fills in filters.
pub struct Maker<'m> {
    /// All filters.
    pub filters: &'m [Filter],
    /// The NIC's MAC.
    pub mac: Option<String>,
    /// What there is to say.
    pub findings: &'m mut Vec<Finding>,
    /// What comes of it.
    pub instance: Instance,
    rules: usize,
}

impl<'m> Maker<'m> {
    /// For a NIC.
    pub fn new(
        filters: &'m [Filter],
        mac: Option<String>,
        findings: &'m mut Vec<Finding>,
        instance: Instance,
    ) -> Self {
        Self { filters, mac, findings, instance, rules: 0 }
    }

    /// Follows a reference.
    pub fn reference(&mut self, reference: &Reference, outer: &Variables, depth: usize) {
        if depth > DEPTH_MAX {
            let what = format!("filters that refer to each other more than {DEPTH_MAX} deep");
            let remark = Remark::TooLarge { what };
            self.findings.push(Finding::new(remark, &reference.place, &reference.text));
            return;
        }
        let filters = self.filters;
        let Some(filter) = filters.iter().find(|f| f.name == reference.filter) else {
            let remark = Remark::UnknownName { what: "filter", name: reference.filter.clone() };
            let near = did_you_mean(&reference.filter, filters.iter().map(|f| f.name.as_str()));
            let give = format!("give its file too: `virsh nwfilter-dumpxml {}`", reference.filter);
            let finding = Finding::new(remark, &reference.place, &reference.text);
            self.findings
                .push(finding.help(near.map_or(give.clone(), |near| format!("{near}, or {give}"))));
            return;
        };
        let mut variables = outer.clone();
        for (name, _) in &reference.variables {
            variables.remove(name);
        }
        for (name, value) in &reference.variables {
            variables.entry(name.clone()).or_default().push(value.clone());
        }
        for item in &filter.items {
            match item {
                Item::Ref(inner) => self.reference(inner, &variables, depth + 1),
                Item::Rule(rule) => self.rule(filter, rule, &variables),
            }
        }
    }

    fn rule(&mut self, filter: &Filter, rule: &Rule, variables: &Variables) {
        let base = filter.chain.split('-').next().unwrap_or("root");
        if matches!(base, "arp" | "rarp" | "stp" | "vlan")
            || matches!(rule.protocol.as_str(), "arp" | "rarp" | "stp" | "vlan")
        {
            let what = "ARP, RARP, spanning tree and tags: the switch answers for what is \
                        declared and takes nothing else from a guest"
                .to_owned();
            self.findings.push(Finding::new(Remark::ByItself { what }, &rule.place, &rule.text));
            return;
        }
        for values in self.combinations(rule, variables) {
            self.rules += 1;
            if self.rules > RULES_MAX {
                let what = format!("more than {RULES_MAX} rules when every variable is filled in");
                let remark = Remark::TooLarge { what };
                self.findings.push(Finding::new(remark, &rule.place, &rule.text));
                return;
            }
            if let Some(tests) = self.tests(rule, &values) {
                self.add(filter, rule, tests);
            }
        }
    }

    fn add(&mut self, filter: &Filter, rule: &Rule, tests: Vec<Test>) {
        let ready = Ready {
            place: rule.place.clone(),
            text: rule.text.clone(),
            filter: filter.name.clone(),
            action: rule.action,
            direction: rule.direction,
            priority: rule.priority,
            tests,
        };
        if !about_frames(&rule.protocol) {
            self.instance.packets.push(ready);
            return;
        }
        let chains = &mut self.instance.frames;
        match chains.iter_mut().find(|chain| chain.name == filter.chain) {
            Some(chain) => chain.rules.push(ready),
            None => chains.push(Chain {
                name: filter.chain.clone(),
                priority: filter.priority,
                family: match filter.chain.split('-').next() {
                    Some("ipv4") => Some(true),
                    Some("ipv6") => Some(false),
                    _ => None,
                },
                rules: vec![ready],
            }),
        }
    }

    /// In the order in which they are asked.
    pub fn finish(mut self) -> Instance {
        self.instance.packets.sort_by_key(|rule| rule.priority);
        for chain in &mut self.instance.frames {
            chain.rules.sort_by_key(|rule| rule.priority);
        }
        self.instance.frames.sort_by_key(|chain| (chain.name != "root", chain.priority));
        self.instance
    }

    /// The values of a rule's attributes, once for each combination of its variables.
    fn combinations(&mut self, rule: &Rule, variables: &Variables) -> Vec<Vec<String>> {
        let mut uses = Vec::new();
        for attribute in &rule.attributes {
            match self.variable(attribute, variables) {
                Ok(used) => uses.push(used),
                Err(finding) => {
                    self.findings.push(*finding);
                    return Vec::new();
                }
            }
        }
        // Each iterator runs through its lists in step.
        let iterators: BTreeSet<u32> = uses.iter().filter_map(|u| u.iterator).collect();
        let mut places: Vec<BTreeMap<u32, usize>> = vec![BTreeMap::new()];
        for iterator in iterators {
            let lists = uses.iter().filter(|u| u.iterator == Some(iterator));
            let length = lists.map(|u| u.values.len()).min().unwrap_or(0);
            if places.len().saturating_mul(length) > RULES_MAX {
                let what = format!("more than {RULES_MAX} rules when every variable is filled in");
                let remark = Remark::TooLarge { what };
                self.findings.push(Finding::new(remark, &rule.place, &rule.text));
                return Vec::new();
            }
            let step = |place: &BTreeMap<u32, usize>| {
                let place = place.clone();
                (0..length).map(move |i| {
                    let mut place = place.clone();
                    place.insert(iterator, i);
                    place
                })
            };
            places = places.iter().flat_map(step).collect();
        }
        let value = |used: &Used, place: &BTreeMap<u32, usize>| {
            let at = used.iterator.and_then(|i| place.get(&i)).copied().unwrap_or(0);
            used.values.get(at).cloned().unwrap_or_default()
        };
        places.iter().map(|place| uses.iter().map(|used| value(used, place)).collect()).collect()
    }

    /// `VALUE`, `$NAME`, `$NAME[1]` or `$NAME[@1]`.
    fn variable(&self, attribute: &Attribute, variables: &Variables) -> Result<Used, Box<Finding>> {
        let Some(said) = attribute.value.strip_prefix('$') else {
            return Ok(Used { values: vec![attribute.value.clone()], iterator: None });
        };
        let (name, index) = match said.split_once('[') {
            Some((name, rest)) => (name, Some(rest.trim_end_matches(']'))),
            None => (said, None),
        };
        let fail = |remark: Remark, help: Option<String>| {
            Err(Box::new(Finding::new(remark, &attribute.place, &attribute.value).maybe_help(help)))
        };
        let own_mac = || self.mac.clone().map(|mac| vec![mac]);
        let values = variables.get(name).cloned();
        let values = values.or_else(|| if name == "MAC" { own_mac() } else { None });
        // Comparing with one's own MAC needs no value: nobody can send from another one.
        let values = values.or_else(|| (name == "MAC").then(|| vec!["$MAC".to_owned()]));
        let Some(values) = values else {
            let what = format!("the value of ${name}");
            let help =
                format!("say it by `--variable {name}=VALUE`, or in the domain's <filterref>");
            return fail(Remark::NotSaid { what }, Some(help));
        };
        let bad = |expected| Remark::BadWord { got: attribute.value.clone(), expected };
        match index {
            None => Ok(Used { values, iterator: Some(0) }),
            Some(index) => match index.strip_prefix('@') {
                Some(iterator) => match iterator.parse() {
                    Ok(iterator) => Ok(Used { values, iterator: Some(iterator) }),
                    Err(_) => fail(bad("an iterator, as in $NAME[@1]"), None),
                },
                None => match index.parse::<usize>().ok().and_then(|i| values.get(i).cloned()) {
                    Some(value) => Ok(Used { values: vec![value], iterator: None }),
                    None => fail(bad("an element that the variable has"), None),
                },
            },
        }
    }

    /// What must hold, for some values of the attributes.
    fn tests(&mut self, rule: &Rule, values: &[String]) -> Option<Vec<Test>> {
        let mut tests = of_protocol(&rule.protocol);
        let value = |name: &str| {
            let at = rule.attributes.iter().position(|a| a.name == name)?;
            Some((&rule.attributes[at], values[at].as_str()))
        };
        for (attribute, text) in rule.attributes.iter().zip(values) {
            let partner = |name: &str| value(name).map(|(_, text)| text);
            match test(rule, attribute, text, &partner) {
                Ok(Some(what)) => tests.push(Test { not: attribute.not, what }),
                Ok(None) => {}
                Err(expected) => {
                    let remark = Remark::BadWord { got: text.clone(), expected };
                    self.findings.push(Finding::new(remark, &attribute.place, &rule.text));
                    return None;
                }
            }
        }
        Some(tests)
    }
}

/// A value and how it goes through its variable.
struct Used {
    values: Vec<String>,
    iterator: Option<u32>,
}

/// Is a protocol about frames, and so without connections?
fn about_frames(protocol: &str) -> bool {
    matches!(protocol, "" | "mac" | "ip" | "ipv6")
}

/// What a protocol element asks for by its name.
fn of_protocol(protocol: &str) -> Vec<Test> {
    let is = |what| Test { not: false, what };
    let (name, v4) = match protocol {
        "" | "mac" => return Vec::new(),
        "ip" | "all" => return vec![is(What::Family(true))],
        "ipv6" | "all-ipv6" => return vec![is(What::Family(false))],
        "icmpv6" => ("icmpv6", false),
        _ => match protocol.strip_suffix("-ipv6") {
            Some(name) => (name, false),
            None => (protocol, true),
        },
    };
    let number = protocols::protocol(name).map(|n| is(What::Protocol(n)));
    [is(What::Family(v4))].into_iter().chain(number).collect()
}

/// One attribute. `Ok(None)`: another one speaks for it, or it decides nothing.
fn test<'v>(
    rule: &Rule,
    attribute: &Attribute,
    text: &str,
    partner: &dyn Fn(&str) -> Option<&'v str>,
) -> Result<Option<What>, &'static str> {
    let number16 = |text: &str| parse_number(text, u16::MAX.into()).map(|n| n as u16);
    let number8 = |text: &str| parse_number(text, u8::MAX.into()).map(|n| n as u8);
    let port = "a port from 0 to 65535";
    let ports = |end: &str, of: fn(u16, u16) -> What| {
        let first = number16(text).ok_or(port)?;
        let last = match partner(end) {
            Some(last) => number16(last).ok_or(port)?,
            None => first,
        };
        if first <= last { Ok(Some(of(first, last))) } else { Err("a range that goes upwards") }
    };
    let address = |mask: &str, of: fn(IpAddr, IpAddr) -> What| {
        let net = masked(text, partner(mask)).ok_or("an address, with a mask that fits")?;
        Ok(Some(of(net.network(), net.broadcast())))
    };
    let range = |to: &str, of: fn(IpAddr, IpAddr) -> What| {
        let first: IpAddr = text.parse().map_err(|_| "an address")?;
        let last = partner(to).map_or(Ok(first), str::parse).map_err(|_| "an address")?;
        if first <= last && first.is_ipv4() == last.is_ipv4() {
            Ok(Some(of(first, last)))
        } else {
            Err("a range of addresses of one family that goes upwards")
        }
    };
    match attribute.name.as_str() {
        "srcipaddr" => address("srcipmask", What::Source),
        "dstipaddr" => address("dstipmask", What::Destination),
        "srcipfrom" => range("srcipto", What::Source),
        "dstipfrom" => range("dstipto", What::Destination),
        "srcportstart" => ports("srcportend", What::SourcePorts),
        "dstportstart" => ports("dstportend", What::DestinationPorts),
        "srcipmask" | "dstipmask" | "srcipto" | "dstipto" | "srcportend" | "dstportend"
        | "typeend" | "codeend" | "srcmacmask" | "dstmacmask" | "ipsetflags" => Ok(None),
        "type" => {
            let byte = "a number from 0 to 255";
            let first = number8(text).ok_or(byte)?;
            let end = |name, open| partner(name).map_or(Some(open), number8).ok_or(byte);
            let last = end("typeend", first)?;
            let code = match partner("code") {
                Some(code) => {
                    let code = number8(code).ok_or(byte)?;
                    (code, end("codeend", code)?)
                }
                None => (0, u8::MAX),
            };
            Ok(Some(What::Icmp((first, last), code)))
        }
        "code" if partner("type").is_some() => Ok(None),
        "protocol" => {
            let number = number8(text).or_else(|| protocols::protocol(text));
            Ok(Some(What::Protocol(number.ok_or("a protocol, by name or number")?)))
        }
        "protocolid" => Ok(Some(match text.to_ascii_lowercase().as_str() {
            "ipv4" | "0x800" | "2048" => What::Family(true),
            "ipv6" | "0x86dd" | "34525" => What::Family(false),
            // Whatever it is, it is no connection of two hosts.
            _ => What::Always(false),
        })),
        "srcmacaddr" | "dstmacaddr" => Ok(Some(mac(rule, &attribute.name, text))),
        "state" => {
            let new = text.split(',').any(|s| matches!(s, "NEW" | "NONE"));
            Ok(Some(What::Always(new)))
        }
        name => Ok(Some(What::Unknown(format!("{name}='{text}'")))),
    }
}

/// A guest sends from its own MAC only; a connection is not opened to a group address.
fn mac(rule: &Rule, name: &str, text: &str) -> What {
    let own = text == "$MAC" || rule.attributes.iter().any(|a| a.name == name && a.value == "$MAC");
    // `inout` is written for packets to the guest.
    let of_guest = matches!(
        (rule.direction, name),
        (Direction::Out, "srcmacaddr") | (Direction::In | Direction::InOut, "dstmacaddr")
    );
    let group =
        text.get(..2).and_then(|b| u8::from_str_radix(b, 16).ok()).is_some_and(|b| b & 1 == 1);
    if own && of_guest {
        What::Always(true)
    } else if group {
        What::Always(false)
    } else {
        What::Unknown(format!("{name}='{text}'"))
    }
}

fn parse_number(text: &str, max: u32) -> Option<u32> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    number.filter(|n| *n <= max)
}

/// An address with a mask: a length, or dotted.
fn masked(addr: &str, mask: Option<&str>) -> Option<IpNet> {
    let addr: IpAddr = addr.parse().ok()?;
    let net = match mask {
        None => Some(IpNet::from(addr)),
        Some(mask) => match mask.parse::<u8>() {
            Ok(len) => IpNet::new(addr, len).ok(),
            Err(_) => IpNet::with_netmask(addr, mask.parse().ok()?).ok(),
        },
    };
    net.map(|net| net.trunc())
}
