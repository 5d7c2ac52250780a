//! The host's own stack, for people.

use std::fmt::Write;

use super::table::{Cell, Table};
use crate::{
    api::{Foreign, Published, Status},
    paint::{Paint, Style},
};

/// Ports of the host that lead to guests.
pub fn published(status: &Status) -> Table {
    let mut table = Table::new(&["published", "at", "ports", "to"]);
    for p in &status.published {
        let port = p.port.map_or_else(String::new, |port| format!(":{port}"));
        table.row([
            p.name.as_str().into(),
            p.at.map_or_else(|| "host".to_owned(), |at| at.to_string()).into(),
            ports(p).into(),
            Cell::from(format!("{}{port}", p.to)),
        ]);
    }
    table
}

fn ports(p: &Published) -> String {
    match p.first == p.last {
        true => format!("{}/{}", p.protocol, p.first),
        false => format!("{}/{}-{}", p.protocol, p.first, p.last),
    }
}

/// Warnings about rules of others.
pub fn foreign(found: &[Foreign], paint: Paint) -> String {
    let mut out = String::new();
    for finding in found {
        let warning = paint.paint(Style::Warn, "warning:");
        let _ = writeln!(out, "{warning} {finding}\n  {}", finding.advice);
    }
    out
}
