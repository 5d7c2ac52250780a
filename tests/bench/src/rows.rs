//! Rows of a table whose numbers may have an aim.

use serde::Serialize;

use crate::{stats::Spread, table::Table};

/// One row.
#[derive(Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Of which unit.
    pub unit: &'static str,
    /// What came out.
    pub spread: Spread,
    /// What should come out.
    pub aim: Option<Aim>,
}

/// The median has to be under this.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Aim(pub f64);

impl Row {
    /// Was its aim met? `None` where it has none.
    pub fn is_met(&self) -> Option<bool> {
        self.aim.map(|Aim(limit)| self.spread.median < limit)
    }
}

/// The rows for people.
pub fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["", "median", "least", "most", "aim", ""]);
    for row in rows {
        let digits = |n: f64| if n.abs() < 10.0 { 2 } else { 1 };
        let number = |n: f64| format!("{n:.*} {}", digits(n), row.unit);
        let Row { spread, aim, .. } = row;
        let (aim, met) = match (aim, row.is_met()) {
            (Some(Aim(limit)), Some(met)) => {
                let verdict = if met { "met" } else { "MISSED" };
                (format!("under {}", number(*limit)), verdict.to_owned())
            }
            _ => (String::new(), String::new()),
        };
        let numbers = [number(spread.median), number(spread.min), number(spread.max)];
        let [median, least, most] = numbers;
        table.row([row.what.clone(), median, least, most, aim, met]);
    }
    table
}
