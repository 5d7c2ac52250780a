//! `limits:` of a guest or a network: what a guest's port may take, so that one guest does not
//! eat the host. `uplink-limits:` and `host-limits:` of a network say it of the uplink and of the
//! host's leg, so that a neighbour, or the world, does not either.

use portcullis_image::Limits;

use super::{
    Builder, keys,
    reader::{self, Table},
};
use crate::{
    diagnostic::Diagnostic,
    problem::Problem,
    yaml::{Node, Value},
};

/// What holds where nothing is said: far above what a guest needs, far below what the flow table
/// holds and a processor can do. Bandwidth is nobody's to guess.
pub const GUEST: Limits = Limits {
    flows: Some(16_384),
    half_open: Some(1024),
    new_per_s: Some(2000),
    broadcast_per_s: Some(200),
    neighbours_per_s: Some(200),
    in_bit_per_s: None,
    out_bit_per_s: None,
};

/// As [`GUEST`], for whoever is behind an uplink: a quarter of the flow table as it is by default,
/// and of first packets and broadcasts what a processor does beside its work.
pub const UPLINK: Limits = Limits {
    flows: Some(65_536),
    half_open: Some(16_384),
    new_per_s: Some(50_000),
    broadcast_per_s: Some(2000),
    neighbours_per_s: Some(2000),
    ..GUEST
};

/// As [`GUEST`], for the hypervisor itself and whoever it forwards for.
pub const HOST: Limits = Limits {
    half_open: Some(8192),
    new_per_s: Some(50_000),
    broadcast_per_s: Some(1000),
    neighbours_per_s: Some(1000),
    ..GUEST
};

/// How a limit is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// `20000`.
    Count,
    /// `2000/s`.
    PerSecond,
    /// `100Mbit/s`.
    Bandwidth,
}

impl Unit {
    /// The smallest and the largest that can be meant.
    const fn range(self) -> (u64, u64) {
        match self {
            Self::Count => (1, 100_000_000),
            Self::PerSecond => (1, 10_000_000),
            Self::Bandwidth => (64_000, 1_000_000_000_000),
        }
    }
}

/// One limit: its key, how it is written, and where it goes.
struct Row {
    key: &'static str,
    unit: Unit,
    set: fn(&mut Limits, Option<u64>),
}

/// All of them.
const ROWS: &[Row] = &[
    Row { key: "flows", unit: Unit::Count, set: |l, n| l.flows = small(n) },
    Row { key: "half-open", unit: Unit::Count, set: |l, n| l.half_open = small(n) },
    Row { key: "new", unit: Unit::PerSecond, set: |l, n| l.new_per_s = small(n) },
    Row { key: "broadcast", unit: Unit::PerSecond, set: |l, n| l.broadcast_per_s = small(n) },
    Row { key: "neighbours", unit: Unit::PerSecond, set: |l, n| l.neighbours_per_s = small(n) },
    Row { key: "in", unit: Unit::Bandwidth, set: |l, n| l.in_bit_per_s = n },
    Row { key: "out", unit: Unit::Bandwidth, set: |l, n| l.out_bit_per_s = n },
];

/// The ranges of counts and rates fit.
fn small(n: Option<u64>) -> Option<u32> {
    n.and_then(|n| u32::try_from(n).ok())
}

/// What `limits:` says, by row; `None`: nothing about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said([Option<Option<u64>>; ROWS.len()]);

impl Said {
    /// Puts what is said in the place of what held so far.
    pub fn over(&self, mut limits: Limits) -> Limits {
        for (row, said) in ROWS.iter().zip(self.0) {
            if let Some(value) = said {
                (row.set)(&mut limits, value);
            }
        }
        limits
    }
}

impl Builder<'_> {
    /// `limits: { flows: 20000, in: 100Mbit/s, broadcast: none }`, or `limits: none`, by this key in backquotes, as messages show it.
    pub fn limits(&mut self, table: &Table<'_>, key: &'static str) -> Said {
        let mut said = Said::default();
        let Some(node) = table.get(key.trim_matches('`')) else { return said };
        if matches!(&node.value, Value::Scalar(word) if word == "none") {
            return Said([Some(None); ROWS.len()]);
        }
        let Some(inner) = reader::table(node, key, keys::LIMITS, self.diags) else {
            return said;
        };
        for (row, value) in ROWS.iter().zip(&mut said.0) {
            *value = inner.get(row.key).and_then(|node| self.limit(row, node));
        }
        said
    }

    fn limit(&mut self, row: &Row, node: &Node) -> Option<Option<u64>> {
        let text = reader::text(node, "a limit", self.diags)?;
        if text == "none" {
            return Some(None);
        }
        match read(row.unit, text) {
            Ok(n) => Some(Some(n)),
            Err((why, help)) => {
                let problem = Problem::BadLimit { key: row.key, got: text.to_owned(), why };
                self.diags.push(Diagnostic::new(problem, node.span).maybe_help(help));
                None
            }
        }
    }
}

type Wrong = (&'static str, Option<String>);

/// A limit in its unit.
fn read(unit: Unit, text: &str) -> Result<u64, Wrong> {
    let n = match unit {
        Unit::Count => count(text)?,
        Unit::PerSecond => per_second(text)?,
        Unit::Bandwidth => bandwidth(text)?,
    };
    let (least, most) = unit.range();
    if (least..=most).contains(&n) {
        return Ok(n);
    }
    Err(match unit {
        Unit::Count => ("it goes from 1 to 100000000; `none` is no limit", None),
        Unit::PerSecond => ("it goes from 1/s to 10000000/s; `none` is no limit", None),
        Unit::Bandwidth => ("it goes from 64kbit/s to 1000Gbit/s; `none` is no limit", None),
    })
}

fn count(text: &str) -> Result<u64, Wrong> {
    let help = text.strip_suffix("/s").map(|n| format!("write `{}`", n.trim()));
    reader::number(text).map(u64::from).ok_or(("it is a number", help))
}

fn per_second(text: &str) -> Result<u64, Wrong> {
    let (number, unit) = text.split_once('/').unwrap_or((text, ""));
    let Some(n) = reader::number(number.trim()).map(u64::from) else {
        return Err(("it is a number in a second", Some("write `100/s`".to_owned())));
    };
    match unit.trim() {
        "s" => Ok(n),
        "m" | "min" | "minute" => {
            let help = format!("write `{}/s`", n.div_ceil(60).max(1));
            Err(("rates are counted in seconds", Some(help)))
        }
        _ => Err(("the unit is missing", Some(format!("write `{n}/s`")))),
    }
}

/// Units of bandwidth, with their bits.
const BITS: &[(&str, u64)] =
    &[("kbit/s", 1000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000), ("bit/s", 1)];

fn bandwidth(text: &str) -> Result<u64, Wrong> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let Some(n) = reader::number(number).map(u64::from) else {
        return Err(("it is a bandwidth", Some("write `100Mbit/s`".to_owned())));
    };
    if let Some((_, bits)) = BITS.iter().find(|(name, _)| *name == unit) {
        return Ok(n.saturating_mul(*bits));
    }
    Err(("the unit is one of kbit/s, Mbit/s and Gbit/s", meant(n, unit)))
}

/// What somebody may have meant with a unit that others use.
fn meant(n: u64, unit: &str) -> Option<String> {
    let unit = unit.trim_end_matches("/s").trim_end_matches("ps");
    let bytes = unit.ends_with('B') || unit.to_ascii_lowercase().ends_with("byte");
    let prefix = match unit.bytes().next() {
        Some(b'k' | b'K') => "k",
        Some(b'm' | b'M') | None => "M",
        Some(b'g' | b'G') => "G",
        Some(_) => return None,
    };
    let n = if bytes { n.checked_mul(8)? } else { n };
    Some(format!("write `{n}{prefix}bit/s`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_the_keys() {
        assert!(ROWS.iter().map(|row| row.key).eq(keys::LIMITS.iter().copied()));
    }

    #[test]
    fn units() {
        assert_eq!(read(Unit::Count, "20000"), Ok(20_000));
        assert_eq!(read(Unit::PerSecond, "2000/s"), Ok(2000));
        assert_eq!(read(Unit::Bandwidth, "100Mbit/s"), Ok(100_000_000));
        assert_eq!(read(Unit::Bandwidth, "1 Gbit/s"), Ok(1_000_000_000));
        assert_eq!(read(Unit::Bandwidth, "64kbit/s"), Ok(64_000));
        assert!(read(Unit::Count, "0").is_err() && read(Unit::PerSecond, "0/s").is_err());
        assert!(read(Unit::Bandwidth, "63kbit/s").is_err());
        assert!(read(Unit::Bandwidth, "4000000000Gbit/s").is_err());
    }

    #[test]
    fn what_was_meant_is_told() {
        let help = |unit, text| read(unit, text).expect_err(text).1.expect(text);
        assert_eq!(help(Unit::Count, "50/s"), "write `50`");
        assert_eq!(help(Unit::PerSecond, "50"), "write `50/s`");
        assert_eq!(help(Unit::PerSecond, "90/m"), "write `2/s`");
        assert_eq!(help(Unit::Bandwidth, "100"), "write `100Mbit/s`");
        assert_eq!(help(Unit::Bandwidth, "100M"), "write `100Mbit/s`");
        assert_eq!(help(Unit::Bandwidth, "100Mbps"), "write `100Mbit/s`");
        assert_eq!(help(Unit::Bandwidth, "10MB/s"), "write `80Mbit/s`");
        assert_eq!(help(Unit::Bandwidth, "fast"), "write `100Mbit/s`");
    }

    #[test]
    fn the_nearer_word_holds() {
        let mut network = Said::default();
        network.0[0] = Some(Some(5));
        network.0[5] = Some(Some(64_000));
        let mut guest = Said::default();
        guest.0[5] = Some(None);
        let limits = guest.over(network.over(GUEST));
        assert_eq!(limits, Limits { flows: Some(5), ..GUEST });
        assert_eq!(Said([Some(None); ROWS.len()]).over(GUEST), Limits::default());
    }
}
