//! Events of logged rules, for people: a line each.

use std::net::IpAddr;

use portcullis_policy::until;

use crate::{
    api::{Cut, Event, EventCounts, Seen},
    paint::{Paint, Style},
};

/// One line: what became of it, who to whom, for what, by which rule.
pub fn event(event: &Event) -> String {
    let from = party(event.src, event.sport, event.from_guest.as_deref());
    let to = party(event.dst, event.dport, event.to_guest.as_deref());
    let rule = match (&event.file, event.line) {
        (Some(file), Some(line)) => format!("{} ({file}:{line})", event.rule),
        _ => event.rule.clone(),
    };
    let mut text = format!("{} {from} -> {to} {} by {rule}", word(event.seen), purpose(event));
    if let Some(reason) = &event.reason {
        text += &format!(", {reason}");
    }
    for (what, port) in [("from port", &event.from_port), ("to port", &event.to_port)] {
        if let Some(port) = port {
            text += &format!(", {what} {port}");
        }
    }
    if event.suppressed > 0 {
        text += &format!(" ({} more before it)", event.suppressed);
    }
    text
}

/// The same with its time, on a screen.
pub fn line(event: &Event, paint: Paint) -> String {
    let style = match event.seen {
        Seen::Allowed => Style::Good,
        Seen::Denied => Style::Bad,
        Seen::WouldAllow | Seen::WouldDeny => Style::Warn,
    };
    let text = self::event(event);
    let word = word(event.seen);
    let rest = text.strip_prefix(word).unwrap_or_default();
    let time = until::show(event.unix_ms / 1000);
    format!("{time}  {}{rest}\n", paint.paint(style, word))
}

/// How many there were; empty if there were none.
pub fn counts(counts: &EventCounts, paint: Paint) -> String {
    if *counts == EventCounts::default() {
        return String::new();
    }
    let lost = match counts.lost {
        0 => String::new(),
        lost => paint.paint(Style::Bad, format!(", {lost} lost")),
    };
    format!(
        "  {} events of logged rules, {} more suppressed by their rates{lost} (portcullis events)\n",
        counts.told, counts.suppressed
    )
}

/// Running connections that would be cut; empty if there are none.
pub fn cuts(cuts: &[Cut], total: u64, paint: Paint) -> String {
    if total == 0 {
        return String::new();
    }
    let s = if total == 1 { "" } else { "s" };
    let heading = format!("{total} running connection{s} would be cut:");
    let mut text = paint.paint(Style::Bad, heading) + "\n";
    for cut in cuts {
        let from = party(cut.src, Some(cut.sport).filter(|p| *p != 0), cut.from_guest.as_deref());
        let to = party(cut.dst, Some(cut.dport).filter(|p| *p != 0), cut.to_guest.as_deref());
        let why = match &cut.denied_by {
            Some(by) => format!("denied by {} ({}:{})", by.rule, by.file, by.line),
            None => "no rule would allow it".to_owned(),
        };
        let protocol = protocol(cut.protocol.into());
        let idle_s = cut.idle_ms / 1000;
        text += &format!("  {from} -> {to} {protocol}, {}, idle {idle_s} s: {why}\n", cut.state);
    }
    if total > cuts.len() as u64 {
        text += &format!("  and {} more\n", total - cuts.len() as u64);
    }
    text
}

const fn word(seen: Seen) -> &'static str {
    match seen {
        Seen::Allowed => "allowed",
        Seen::Denied => "denied",
        Seen::WouldAllow => "would allow",
        Seen::WouldDeny => "would deny",
    }
}

fn party(ip: IpAddr, port: Option<u16>, guest: Option<&str>) -> String {
    let address = match (ip, port) {
        (IpAddr::V6(v6), Some(port)) => format!("[{v6}]:{port}"),
        (IpAddr::V4(v4), Some(port)) => format!("{v4}:{port}"),
        (ip, None) => ip.to_string(),
    };
    guest.map_or(address.clone(), |guest| format!("{guest} {address}"))
}

fn purpose(event: &Event) -> String {
    match event.icmp {
        Some([kind, code]) => format!("{}/{kind}/{code}", protocol(event.protocol)),
        None => protocol(event.protocol),
    }
}

/// An IP protocol, or the EtherType of what has none.
fn protocol(number: u16) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        2054 => "arp".to_owned(),
        other => format!("proto/{other}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A denied connection.
    pub(crate) fn event() -> Event {
        Event {
            number: 0,
            unix_ms: 1_796_083_200_500,
            generation: 3,
            seen: Seen::Denied,
            reason: Some("denied".into()),
            rule: "quarantine".into(),
            file: Some("p.yaml".into()),
            line: Some(7),
            src: "10.0.0.5".parse().unwrap(),
            dst: "fd00::1".parse().unwrap(),
            protocol: 6,
            sport: Some(40_000),
            dport: Some(22),
            icmp: None,
            from_guest: Some("pc1".into()),
            to_guest: None,
            from_port: Some("v1".into()),
            to_port: None,
            network: Some("lan".into()),
            bytes: 60,
            suppressed: 4,
        }
    }

    #[test]
    fn an_event_is_a_line() {
        let text = super::event(&event());
        assert_eq!(
            text,
            "denied pc1 10.0.0.5:40000 -> [fd00::1]:22 tcp by quarantine (p.yaml:7), denied, from \
             port v1 (4 more before it)"
        );
        let line = line(&event(), Paint::off());
        assert_eq!(line, format!("2026-12-01T00:00:00Z  {text}\n"));
        let ping = Event {
            icmp: Some([8, 0]),
            protocol: 1,
            sport: None,
            dport: None,
            seen: Seen::WouldDeny,
            ..event()
        };
        let text = super::event(&ping);
        assert!(text.starts_with("would deny pc1 10.0.0.5 -> fd00::1 icmp/8/0 by"), "{text}");
    }

    #[test]
    fn cuts_name_who_and_why() {
        let cut = Cut {
            src: "10.0.0.5".parse().unwrap(),
            dst: "10.0.0.6".parse().unwrap(),
            protocol: 6,
            sport: 40_000,
            dport: 22,
            from_guest: Some("pc1".into()),
            to_guest: None,
            state: "open".into(),
            idle_ms: 2500,
            allowed_by: None,
            denied_by: None,
        };
        assert_eq!(cuts(&[], 0, Paint::off()), "");
        assert_eq!(
            cuts(&[cut], 3, Paint::off()),
            "3 running connections would be cut:\n  pc1 10.0.0.5:40000 -> 10.0.0.6:22 tcp, open, idle \
             2 s: no rule would allow it\n  and 2 more\n"
        );
    }
}
