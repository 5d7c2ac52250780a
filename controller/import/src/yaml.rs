//! The policy's text, with comments that point at the source.

use std::fmt::Write;

use crate::{
    site::{Gateway, Guest, Network, Nic, Site},
    words::{Said, SetText},
};

/// Longer lines are broken.
const WIDTH: usize = 100;

/// A rule as it is written.
pub struct RuleText {
    /// Its name.
    pub name: String,
    /// Does it allow?
    pub allow: bool,
    /// From whom.
    pub from: Said,
    /// To whom.
    pub to: Said,
    /// For what.
    pub services: Vec<String>,
    /// Is it logged?
    pub log: bool,
    /// What stands above it.
    pub comment: Vec<String>,
}

/// Networks, guests and the host.
pub fn site(site: &Site) -> String {
    let mut text = String::from(if site.networks.is_empty() { "" } else { "networks:\n" });
    for network in &site.networks {
        text += &comment(2, &network.remark);
        let _ = writeln!(text, "  {}: {}", network.name, network_body(network));
    }
    if !site.guests.is_empty() {
        text += "\nguests:\n";
    }
    for guest in &site.guests {
        text += &comment(2, &guest.remark);
        let _ = writeln!(text, "  {}: {}", guest.name, guest_body(guest));
    }
    if !site.host.is_empty() {
        let addrs: Vec<String> = site.host.iter().map(|a| quoted(&a.to_string())).collect();
        let _ = writeln!(text, "\nhost: {{ addresses: {} }}", list(&addrs, 20));
    }
    text
}

fn network_body(network: &Network) -> String {
    let subnets: Vec<String> = network.subnets.iter().map(|s| quoted(&s.to_string())).collect();
    let mut parts = vec![format!("vlan: {}", network.vlan)];
    parts.push(format!("subnets: [{}]", subnets.join(", ")));
    match &network.gateway {
        Gateway::None => {}
        Gateway::First => parts.push("gateway: true".into()),
        Gateway::At(addrs) => {
            let addrs: Vec<String> = addrs.iter().map(|a| quoted(&a.to_string())).collect();
            parts.push(format!("gateway: [{}]", addrs.join(", ")));
        }
    }
    if network.external {
        parts.push("kind: external".into());
    }
    parts.extend(network.outside.map(|way| format!("outside: {way}")));
    format!("{{ {} }}", parts.join(", "))
}

fn guest_body(guest: &Guest) -> String {
    let mut parts = match guest.nics.as_slice() {
        [nic] => nic_parts(nic),
        nics => {
            let nics: Vec<String> =
                nics.iter().map(|nic| format!("{{ {} }}", nic_parts(nic).join(", "))).collect();
            vec![format!("nics: [{}]", nics.join(", "))]
        }
    };
    if !guest.labels.is_empty() {
        parts.push(format!("labels: [{}]", guest.labels.join(", ")));
    }
    format!("{{ {} }}", parts.join(", "))
}

fn nic_parts(nic: &Nic) -> Vec<String> {
    let mut parts = vec![format!("network: {}", nic.network)];
    match nic.addrs.as_slice() {
        [] => parts.push("ip: auto".into()),
        [one] => parts.push(format!("ip: {}", quoted(&one.to_string()))),
        more => {
            let addrs: Vec<String> = more.iter().map(|a| quoted(&a.to_string())).collect();
            parts.push(format!("ip: [{}]", addrs.join(", ")));
        }
    }
    parts.extend(nic.mac.as_ref().map(|mac| format!("mac: {}", quoted(mac))));
    parts
}

/// `sets:`.
pub fn sets<'a>(sets: impl Iterator<Item = (&'a str, &'a SetText)>) -> String {
    let mut text = String::new();
    for (name, set) in sets {
        text += &comment(2, &format!("{}: {}", set.place, set.text));
        let members: Vec<String> = set.members.iter().map(|m| quoted(m)).collect();
        let except: Vec<String> = set.except.iter().map(|m| quoted(m)).collect();
        let _ = match except.is_empty() {
            true => writeln!(text, "  {name}: {}", bracketed(&members, 4)),
            false => {
                let (members, except) = (bracketed(&members, 6), bracketed(&except, 6));
                writeln!(text, "  {name}:\n    members: {members}\n    except: {except}")
            }
        };
    }
    section("sets", text)
}

/// `services:`.
pub fn services<'a>(services: impl Iterator<Item = (&'a str, Vec<String>)>) -> String {
    let lines = services.map(|(name, literals)| format!("  {name}: {}\n", bracketed(&literals, 4)));
    section("services", lines.collect())
}

/// `rules:`.
pub fn rules(rules: &[RuleText]) -> String {
    let text = rules.iter().map(rule).collect();
    section("rules", text)
}

fn rule(rule: &RuleText) -> String {
    let mut text: String = rule.comment.iter().map(|line| comment(2, line)).collect();
    let action = if rule.allow { "allow" } else { "deny" };
    let (from, to) = (said(&rule.from, 10), said(&rule.to, 10));
    let services = list(&rule.services, 10);
    let log = if rule.log { ", log: true" } else { "" };
    let name = &rule.name;
    let short = format!(
        "  - {{ name: {name}, {action}: {{ from: {from}, to: {to}, for: {services} }}{log} }}"
    );
    if short.len() <= WIDTH && !short.contains('\n') {
        return text + &short + "\n";
    }
    let _ = writeln!(text, "  - name: {name}\n    {action}:\n      from: {from}\n      to: {to}");
    let _ = writeln!(text, "      for: {services}");
    if rule.log {
        text += "    log: true\n";
    }
    text
}

fn said(said: &Said, indent: usize) -> String {
    let quote = |terms: &[String]| terms.iter().map(|t| quoted(t)).collect::<Vec<_>>();
    match said {
        Said::Union(terms) => list(&quote(terms), indent),
        Said::Except(base, terms) if base == "any" => {
            format!("{{ not: {} }}", list(&quote(terms), indent))
        }
        Said::Except(base, terms) => {
            let not = list(&quote(terms), indent);
            format!("{{ all of: [{}, {{ not: {not} }}] }}", quoted(base))
        }
    }
}

/// One term as it is, several in brackets.
fn list(terms: &[String], indent: usize) -> String {
    match terms {
        [one] => one.clone(),
        _ => bracketed(terms, indent),
    }
}

/// A list in brackets, over several lines if it is long.
fn bracketed(terms: &[String], indent: usize) -> String {
    let one_line = format!("[{}]", terms.join(", "));
    if one_line.len() + indent <= WIDTH {
        return one_line;
    }
    let pad = " ".repeat(indent);
    let mut text = String::from("[");
    let mut width = WIDTH;
    for term in terms {
        if width + term.len() + 2 > WIDTH {
            let _ = write!(text, "\n{pad}");
            width = indent;
        } else {
            text.push(' ');
        }
        width += term.len() + 2;
        let _ = write!(text, "{term},");
    }
    let _ = write!(text, "\n{}]", " ".repeat(indent.saturating_sub(2)));
    text
}

/// A scalar inside of brackets: what holds a colon is quoted.
fn quoted(text: &str) -> String {
    if text.contains(':') { format!("\"{text}\"") } else { text.to_owned() }
}

/// A comment line; what is no printable character is shown as `?`.
pub fn comment(indent: usize, text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let shown = |c: char| {
        if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') { '?' } else { c }
    };
    let pad = " ".repeat(indent);
    let text: String = text.trim_end().chars().map(shown).collect();
    format!("{pad}# {text}\n")
}

fn section(name: &str, text: String) -> String {
    if text.is_empty() { text } else { format!("\n{name}:\n{text}") }
}
