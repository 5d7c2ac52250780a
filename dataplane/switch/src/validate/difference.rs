//! What is loaded and what was compiled disagree: where, and on what.

use std::{fmt, net::IpAddr};

use portcullis_image::Image;
use portcullis_pipeline::policy::Cell;

/// The first difference that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// An entry of a table.
    Entry {
        /// The table.
        map: &'static str,
        /// Which entry.
        at: String,
        /// What it should hold.
        expected: String,
        /// What it holds.
        got: String,
    },
    /// The identity class of an address.
    Class {
        /// The address.
        addr: IpAddr,
        /// The class that was compiled.
        expected: u32,
        /// The class that was loaded.
        got: u32,
    },
    /// The service class of a number.
    Service {
        /// Which of [`portcullis_pipeline::layout::service_table`].
        table: u32,
        /// Destination port, type and code, or protocol.
        number: u16,
        /// Source port.
        source: u16,
        /// The class that was compiled.
        expected: u32,
        /// The class that was loaded.
        got: u32,
    },
    /// The verdict on two identity classes.
    Verdict {
        /// Class of the source.
        src: u32,
        /// Class of the destination.
        dst: u32,
        /// Service class.
        service: u32,
        /// What was compiled.
        expected: Judgement,
        /// What was loaded.
        got: Judgement,
    },
    /// The program's answer about a packet.
    Packet {
        /// The packet.
        packet: String,
        /// What was compiled.
        expected: Judgement,
        /// What the program says.
        got: Judgement,
    },
}

/// A verdict and what it would be with the observing rules in force, with the rules' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    verdict: String,
    observed: String,
}

impl Judgement {
    /// A cell and its shadow in an image.
    pub fn new(image: &Image, (cell, shadow): (Cell, Cell)) -> Self {
        Self { verdict: describe(image, cell), observed: describe(image, shadow) }
    }

    /// None, for a reason.
    pub fn none(reason: &str) -> Self {
        Self { verdict: format!("no verdict ({reason})"), observed: String::new() }
    }
}

fn describe(image: &Image, cell: Cell) -> String {
    let word = if cell.allows() { "allowed" } else { "denied" };
    match (cell, image.rule(cell.rule())) {
        (Cell::BROKEN, _) => "no verdict".into(),
        (Cell::DEFAULT, _) => "denied by default".into(),
        (_, Some(rule)) => format!("{word} by {} ({}:{})", rule.name, rule.file, rule.line),
        (_, None) => format!("{word} by a rule that there is not ({})", cell.rule()),
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.verdict)?;
        match self.observed == self.verdict || self.observed.is_empty() {
            true => Ok(()),
            false => write!(f, " (observed: {})", self.observed),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { map, at, expected, got } => {
                write!(f, "the table {map} at {at}: expected {expected}, got {got}")
            }
            Self::Class { addr, expected, got } => {
                write!(f, "the identity class of {addr}: expected {expected}, got {got}")
            }
            Self::Service { table, number, source, expected, got } => write!(
                f,
                "the service class of number {number} from {source} in table {table}: expected \
                 {expected}, got {got}"
            ),
            Self::Verdict { src, dst, service, expected, got } => write!(
                f,
                "the verdict for identity class {src} to {dst}, service class {service}: expected \
                 {expected}, got {got}"
            ),
            Self::Packet { packet, expected, got } => {
                write!(f, "the packet {packet}: expected {expected}, got {got}")
            }
        }
    }
}
