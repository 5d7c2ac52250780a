//! What was discovered, for people.

use super::table::{Cell, Table};
use crate::{
    discovery::{Entry, Known, Place},
    paint::{Paint, Style},
};

/// A line for each, and what to do about those that the policy does not know.
pub fn render(entries: &[Entry], paint: Paint) -> String {
    if entries.is_empty() {
        return "no guests and none of their interfaces were found\n".to_owned();
    }
    let columns = ["device", "kind", "attached to", "guest", "run by", "MAC", "policy"];
    let mut table = Table::new(&columns);
    let text = |text: &Option<String>| Cell::from(text.as_deref().unwrap_or("-"));
    for entry in entries {
        let monitor = entry.monitor.as_ref().map(|m| format!("{} ({})", m.name, m.pid));
        table.row([
            text(&entry.device),
            entry.kind.as_str().into(),
            place(&entry.at).into(),
            text(&entry.guest),
            text(&monitor),
            text(&entry.mac),
            known(&entry.known),
        ]);
    }
    let mut all = table.render(paint);
    let lines: Vec<&str> = entries.iter().filter_map(|entry| entry.policy.as_deref()).collect();
    if !lines.is_empty() {
        all += &format!("\n{}\n", paint.paint(Style::Bold, "for the policy"));
        all += "  guests:\n";
        all.extend(lines.iter().map(|line| format!("    {line}\n")));
    }
    let advice = entries.iter().filter_map(|e| Some((e, e.advice.as_ref()?)));
    let advice: String = advice
        .map(|(entry, advice)| {
            let who = entry.guest.as_deref().or(entry.device.as_deref()).unwrap_or("?");
            format!("  {who}: {advice}\n")
        })
        .collect();
    if !advice.is_empty() {
        all += &format!("\n{}\n{advice}", paint.paint(Style::Bold, "then"));
    }
    all
}

fn place(place: &Place) -> String {
    match place {
        Place::Nothing => "nothing".to_owned(),
        Place::Port(_) => "the switch".to_owned(),
        Place::Bridge(name) => format!("bridge {name}"),
        Place::Ovs => "Open vSwitch".to_owned(),
        Place::Nic(name) => format!("NIC {name}"),
        Place::Master(name) => name.clone(),
        Place::OtherSwitch => "another switch".to_owned(),
        Place::Libvirt(name) => format!("libvirt's {name}"),
    }
}

fn known(known: &Known) -> Cell {
    match known {
        Known::Port { guest: Some(guest), open: true } => {
            Cell::new(Style::Good, format!("{guest}'s port"))
        }
        Known::Port { guest: Some(guest), open: false } => {
            Cell::new(Style::Warn, format!("{guest}'s port, closed"))
        }
        Known::Port { guest: None, .. } => "uplink".into(),
        Known::Mac { guest, network } => {
            Cell::new(Style::Warn, format!("{guest} in {network}, not plugged in"))
        }
        Known::Name { .. } => Cell::new(Style::Warn, "its name, with another MAC"),
        Known::No => Cell::new(Style::Bad, "unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_guest_is_followed_by_what_to_do() {
        let entry = Entry {
            kind: "tap".into(),
            device: Some("t1".into()),
            at: Place::Bridge("br0".into()),
            monitor: None,
            guest: Some("web1".into()),
            mac: None,
            known: Known::No,
            policy: Some("web1: { network: lan, ip: auto }".into()),
            advice: Some("portcullis attach tap web1 --guest web1".into()),
        };
        let text = render(&[entry], Paint::off());
        assert!(
            text.contains("t1      tap   bridge br0   web1   -       -    unknown\n"),
            "{text}"
        );
        assert!(text.contains("guests:\n    web1: { network: lan, ip: auto }\n"), "{text}");
        assert!(
            text.ends_with("then\n  web1: portcullis attach tap web1 --guest web1\n"),
            "{text}"
        );
        assert!(render(&[], Paint::off()).starts_with("no guests"));
    }
}
