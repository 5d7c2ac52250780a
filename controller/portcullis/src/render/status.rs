//! The status for people: a screen that says at a glance what is closed and why.

use std::{fmt::Write, net::IpAddr};

use super::{
    events, lapse, outside,
    table::{Cell, Table},
};
use crate::{
    api::{Port, Status},
    paint::{Paint, Style},
};

/// Rules that are shown; JSON has them all.
const RULES_SHOWN: usize = 20;

/// The whole screen.
pub fn render(status: &Status, now_unix_s: u64, paint: Paint) -> String {
    let mut out = heading(status, now_unix_s, paint);
    let sections = [
        ("networks", networks(status)),
        ("shared addresses", shared(status)),
        ("ports", ports(status)),
        ("XDP of uplinks", gates(status)),
        ("vhost-user", sockets(status)),
        ("traffic", traffic(status)),
        ("guests without a port", unattached(status)),
        ("drops", drops(status)),
        ("rules", rules(status)),
        ("rules that end", lapse::ends(status)),
        ("published", outside::published(status)),
    ];
    for (title, table) in sections {
        if !table.is_empty() {
            let _ = write!(out, "\n{}\n{}", paint.paint(Style::Bold, title), table.render(paint));
        }
    }
    if status.rules.len() > RULES_SHOWN {
        let more =
            format!("  {} more rules with hits: --format json", status.rules.len() - RULES_SHOWN);
        let _ = writeln!(out, "{}", paint.paint(Style::Dim, more));
    }
    if !status.foreign.is_empty() {
        let title = paint.paint(Style::Bad, "rules of others in the way");
        let _ = write!(out, "\n{title}\n{}", outside::foreign(&status.foreign, paint));
    }
    if !status.problems.is_empty() {
        let _ = writeln!(out, "\n{}", paint.paint(Style::Bad, "problems"));
        for problem in &status.problems {
            let _ = writeln!(out, "  {}", problem.trim_end().replace('\n', "\n  "));
        }
    }
    out
}

fn heading(status: &Status, now_unix_s: u64, paint: Paint) -> String {
    let name = paint.paint(Style::Bold, "portcullis");
    let mut out = match &status.policy {
        Some(policy) => format!(
            "{name}  generation {} from {}, {} ago\n",
            status.generation,
            policy.files.join(", "),
            age(now_unix_s.saturating_sub(policy.applied_unix_s)),
        ),
        None if status.generation == 0 => {
            let hint = paint.paint(Style::Warn, "no policy applied yet, every port is closed");
            format!("{name}  {hint} (portcullis apply FILE)\n")
        }
        None => format!("{name}  generation {} of before\n", status.generation),
    };
    let open = status.ports.iter().filter(|p| p.open).count();
    let closed = status.ports.len() - open;
    let closed = match closed {
        0 => "0 closed".to_owned(),
        _ => paint.paint(Style::Bad, format!("{closed} closed")),
    };
    let _ = writeln!(
        out,
        "  {open} ports open, {closed}; {} of {} connections; {}; daemon {} in {}",
        status.flows.used,
        status.flows.capacity,
        status.hook,
        status.daemon.pid,
        status.daemon.run_dir.display(),
    );
    out + &lapse::pending(status.pending.as_ref(), paint) + &events::counts(&status.events, paint)
}

fn networks(status: &Status) -> Table {
    let mut table =
        Table::new(&["network", ">vlan", "gateway", "host leg", "outside", "uplink", ">guests"]);
    for n in &status.networks {
        table.row([
            n.name.as_str().into(),
            n.vlan.to_string().into(),
            list(&n.gateway).into(),
            dash(n.host_leg.as_deref()),
            dash(n.outside.as_deref()),
            dash(n.uplink.as_deref()),
            n.ports.to_string().into(),
        ]);
    }
    table
}

fn shared(status: &Status) -> Table {
    let mut table = Table::new(&["shared", "network", "addresses", "mac", "by", "holder"]);
    for s in &status.shared {
        table.row([
            s.name.as_str().into(),
            s.network.as_str().into(),
            list(&s.addresses).into(),
            s.mac.as_str().into(),
            s.by.join(", ").into(),
            dash(s.holder.as_deref()),
        ]);
    }
    table
}

fn ports(status: &Status) -> Table {
    let mut table = Table::new(&["port", "kind", "guest", "network", "state", "mac", "addresses"]);
    for p in &status.ports {
        table.row([
            p.name.as_str().into(),
            p.kind.as_str().into(),
            dash(p.guest.as_deref()),
            or_dash(p.networks.join(", ")),
            state(p),
            dash(p.mac.as_deref()),
            list(&p.addresses).into(),
        ]);
    }
    table
}

fn gates(status: &Status) -> Table {
    let mut table = Table::new(&["uplink", "mode", ">dropped", "why not"]);
    for (port, gate) in status.ports.iter().filter_map(|p| Some((p, p.xdp.as_ref()?))) {
        let style = if gate.why.is_some() { Style::Dim } else { Style::Good };
        table.row([
            port.name.as_str().into(),
            Cell::new(style, gate.mode.as_str()),
            gate.dropped.to_string().into(),
            dash(gate.why.as_deref()),
        ]);
    }
    table
}

fn sockets(status: &Status) -> Table {
    let mut table =
        Table::new(&["port", "front end", "socket", ">direct", ">no room", ">malformed"]);
    for (port, vhost) in status.ports.iter().filter_map(|p| Some((p, p.vhost.as_ref()?))) {
        let front_end = match (&vhost.stopped, vhost.connected, vhost.served) {
            (Some(why), ..) => Cell::new(Style::Bad, format!("stopped: {why}")),
            (None, true, _) => Cell::new(Style::Good, "connected"),
            (None, false, true) => Cell::new(Style::Dim, "none"),
            (None, false, false) => Cell::new(Style::Bad, "not served"),
        };
        table.row([
            port.name.as_str().into(),
            front_end,
            vhost.socket.display().to_string().into(),
            vhost.direct.in_packets.to_string().into(),
            vhost.no_room.to_string().into(),
            vhost.malformed.to_string().into(),
        ]);
    }
    table
}

fn state(port: &Port) -> Cell {
    match (&port.closed, port.open) {
        (_, true) if port.lane => Cell::new(Style::Good, "open, fast lane"),
        (_, true) => Cell::new(Style::Good, "open"),
        (Some(why), false) => Cell::new(Style::Bad, format!("closed: {why}")),
        (None, false) => Cell::new(Style::Bad, "closed"),
    }
}

/// Reasons that are shown of a port; JSON has them all.
const REASONS_SHOWN: usize = 3;

fn traffic(status: &Status) -> Table {
    let mut table = Table::new(&[
        "port",
        ">flows",
        ">in",
        ">bytes",
        ">out",
        ">bytes",
        ">answered",
        ">dropped",
        "for",
    ]);
    let ports = status.ports.iter().filter_map(|p| {
        let flows = p.connections.map_or("-".to_owned(), |c| c.flows.to_string());
        Some((p.name.as_str(), flows, p.traffic.as_ref()?))
    });
    let all = ("all, ever", status.flows.used.to_string(), &status.traffic);
    for (name, flows, t) in ports.chain([all]) {
        let mut reasons: Vec<_> = t.reasons.iter().collect();
        reasons.sort_by_key(|(word, packets)| (std::cmp::Reverse(**packets), *word));
        let more = if reasons.len() > REASONS_SHOWN { ", ..." } else { "" };
        reasons.truncate(REASONS_SHOWN);
        let shown: Vec<_> = reasons.iter().map(|(word, n)| format!("{n} {word}")).collect();
        table.row([
            name.into(),
            flows.into(),
            t.in_packets.to_string().into(),
            bytes(t.in_bytes).into(),
            t.out_packets.to_string().into(),
            bytes(t.out_bytes).into(),
            t.answered.to_string().into(),
            t.dropped.to_string().into(),
            or_dash(shown.join(", ") + more),
        ]);
    }
    table
}

/// An amount for people, in its largest unit.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut whole = n;
    let mut tenths = 0;
    while whole >= 1000 && unit + 1 < UNITS.len() {
        (whole, tenths) = (whole / 1000, whole % 1000 / 100);
        unit += 1;
    }
    match unit {
        0 => format!("{n} B"),
        _ => format!("{whole}.{tenths} {}", UNITS[unit]),
    }
}

fn unattached(status: &Status) -> Table {
    let mut table = Table::new(&["guest", "network", "mac", "addresses"]);
    for nic in status.guests.iter().filter(|nic| nic.port.is_none()) {
        table.row([
            nic.guest.as_str().into(),
            nic.network.as_str().into(),
            nic.mac.as_str().into(),
            list(&nic.addresses).into(),
        ]);
    }
    table
}

fn drops(status: &Status) -> Table {
    let mut table = Table::new(&["reason", ">packets", "meaning"]);
    for d in &status.drops {
        table.row([
            d.reason.as_str().into(),
            d.packets.to_string().into(),
            Cell::new(Style::Dim, d.explanation.as_str()),
        ]);
    }
    table
}

fn rules(status: &Status) -> Table {
    let mut table = Table::new(&["rule", "verdict", ">new connections", "where"]);
    let mut rules: Vec<_> = status.rules.iter().collect();
    rules.sort_by_key(|r| (std::cmp::Reverse(r.hits), &r.rule));
    for r in rules.into_iter().take(RULES_SHOWN) {
        let place = match (&r.file, r.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file.clone(),
            (None, _) => "-".to_owned(),
        };
        let verdict = match (r.allow, r.observe) {
            (true, false) => Cell::new(Style::Good, "allow"),
            (false, false) => Cell::new(Style::Bad, "deny"),
            (true, true) => Cell::new(Style::Warn, "would allow"),
            (false, true) => Cell::new(Style::Warn, "would deny"),
        };
        table.row([
            r.rule.as_str().into(),
            verdict,
            r.hits.to_string().into(),
            Cell::new(Style::Dim, place),
        ]);
    }
    table
}

fn list(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "-".to_owned();
    }
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn dash(text: Option<&str>) -> Cell {
    text.unwrap_or("-").into()
}

fn or_dash(text: String) -> Cell {
    if text.is_empty() { "-".into() } else { text.into() }
}

/// A duration for people, in its largest unit.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use crate::api::{
        Drops, EventCounts, Flows, Gate, Info, Network, Nic, Policy, RuleEnd, RuleHits, Shared,
        Size, Started, Traffic,
    };

    use super::*;

    fn status() -> Status {
        let port = |name: &str, closed: Option<&str>| Port {
            name: name.into(),
            kind: "tap".into(),
            guest: Some("web1".into()),
            networks: vec!["dmz".into()],
            mac: Some("02:00:00:00:00:01".into()),
            addresses: vec!["10.20.0.10".parse().unwrap()],
            ifindex: 7,
            open: closed.is_none(),
            closed: closed.map(Into::into),
            closed_by: None,
            lane: false,
            xdp: closed.is_none().then(|| {
                let (mode, why) = ("native".into(), None);
                Box::new(Gate { mode, why, dropped: 7, sent: 0, hides_tags: false })
            }),
            vhost: None,
            traffic: Some(Traffic {
                in_packets: 12,
                in_bytes: 1_250_000,
                dropped: 9,
                reasons: [("no-rule", 6), ("fragment", 1), ("martian", 1), ("hairpin", 1)]
                    .map(|(word, n)| (word.to_owned(), n))
                    .into(),
                ..Traffic::default()
            }),
            past: None,
            connections: None,
        };
        Status {
            daemon: Info {
                version: "0".into(),
                pid: 42,
                run_dir: "/run/portcullis".into(),
                state_dir: "/var/lib/portcullis".into(),
                flows: 1024,
                group: None,
                start: Started::default(),
            },
            generation: 3,
            policy: Some(Policy {
                files: vec!["dmz.yaml".into()],
                applied_unix_s: 1000,
                size: Size::default(),
            }),
            pending: None,
            ends: vec![RuleEnd {
                rule: "debug".into(),
                file: "dmz.yaml".into(),
                line: 31,
                allow: true,
                until_unix_s: 1200,
                ended: false,
            }],
            hook: "tcx".into(),
            networks: vec![Network {
                name: "dmz".into(),
                vlan: 20,
                host_leg: Some("pc-dmz".into()),
                uplink: None,
                subnets: vec!["10.20.0.0/24".into()],
                gateway: vec!["10.20.0.1".parse().unwrap()],
                ports: 1,
                outside: Some("masquerade".into()),
            }],
            shared: vec![Shared {
                name: "front".into(),
                network: "dmz".into(),
                mac: "00:00:5e:00:01:07".into(),
                addresses: vec!["10.20.0.100".parse().unwrap()],
                by: vec!["app1".into(), "app2".into()],
                holder: Some("app2".into()),
            }],
            ports: vec![port("web", None), port("old", Some("the policy knows no guest web2"))],
            guests: vec![Nic {
                guest: "app1".into(),
                network: "dmz".into(),
                mac: "02:00:00:00:00:02".into(),
                addresses: vec![],
                port: None,
            }],
            traffic: Traffic { in_packets: 30, ..Traffic::default() },
            drops: vec![Drops {
                reason: "no-rule".into(),
                explanation: "No rule.".into(),
                packets: 9,
            }],
            rules: vec![RuleHits {
                rule: "public-web".into(),
                file: Some("dmz.yaml".into()),
                line: Some(30),
                allow: true,
                observe: false,
                hits: 12,
            }],
            events: EventCounts { told: 3, suppressed: 40, lost: 0 },
            flows: Flows { used: 5, capacity: 1024 },
            programs: vec![],
            published: vec![],
            foreign: vec![],
            problems: vec!["the store is away\nsince long".into()],
        }
    }

    #[test]
    fn everything_is_on_the_screen() {
        let text = render(&status(), 1090, Paint::off());
        for part in [
            "generation 3 from dmz.yaml, 1 min ago",
            "1 ports open, 1 closed; 5 of 1024 connections; tcx; daemon 42 in /run/portcullis",
            "dmz        20  10.20.0.1  pc-dmz    masquerade  -            1",
            "front   dmz      10.20.0.100  00:00:5e:00:01:07  app1, app2  app2",
            "closed: the policy knows no guest web2",
            "web     native        7  -",
            "guests without a port\n",
            "no-rule        9  No rule.",
            "web            -  12  1.2 MB    0    0 B         0        9  6 no-rule, 1 fragment, 1 hairpin, ...",
            "all, ever      5  30     0 B    0    0 B         0        0  -",
            "public-web  allow                 12  dmz.yaml:30",
            "3 events of logged rules, 40 more suppressed by their rates",
            "debug  1970-01-01T00:20:00Z  in force  dmz.yaml:31",
            "problems\n  the store is away\n  since long\n",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        assert!(!text.contains('\x1b'));
        assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
    }

    #[test]
    fn without_a_policy_the_next_step_is_named() {
        let status = Status { policy: None, generation: 0, ..status() };
        let text = render(&status, 0, Paint::off());
        assert!(
            text.contains("no policy applied yet") && text.contains("portcullis apply"),
            "{text}"
        );
    }
}
