//! What all source formats come down to: chains of lines in order, and gates that say whose
//! connections walk them.

use std::{fmt, sync::Arc};

use portcullis_policy::model::Ports;
use serde::Serialize;

use crate::{ranges::Ranges, services};

/// A place in a source file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// The file as it was named.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What a line does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The connection may be, as far as this gate goes.
    Accept,
    /// It may not.
    Drop,
    /// It is logged, and goes on.
    Log,
    /// The rest of this chain does not speak about it.
    Return,
    /// Another chain speaks first, then the rest of this one.
    Jump(usize),
    /// Another chain speaks, then whoever called this one.
    Goto(usize),
}

/// One line of a source: which connections, and what happens to them.
#[derive(Clone, Debug)]
pub struct Line {
    /// Where it stands.
    pub place: Place,
    /// As it is written.
    pub text: String,
    /// What a rule that comes of it is called.
    pub name: String,
    /// Who opens the connection.
    pub from: Ranges,
    /// For whom.
    pub to: Ranges,
    /// For what.
    pub services: Vec<Ports>,
    /// The names that it used, to be used again.
    pub words: Vec<String>,
    /// Does it also ask for something that has no equal here? Then it counts where it denies,
    /// and not where it accepts.
    pub maybe: bool,
    /// Is it logged?
    pub log: bool,
    /// What it does.
    pub target: Target,
}

impl Line {
    /// A line that matches everything.
    pub fn all(place: &Place, text: &str, name: String, target: Target) -> Self {
        Self {
            place: place.clone(),
            text: text.to_owned(),
            name,
            from: Ranges::all(),
            to: Ranges::all(),
            services: services::any(),
            words: Vec::new(),
            maybe: false,
            log: false,
            target,
        }
    }
}

/// Lines in order; the first that matches and decides, decides.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// The lines.
    pub lines: Vec<Line>,
}

/// Connections that a chain decides about. Those of several gates have to pass all of them;
/// those of none are not allowed.
#[derive(Clone, Debug)]
pub struct Gate {
    /// From whom.
    pub from: Ranges,
    /// To whom.
    pub to: Ranges,
    /// Its chain.
    pub chain: usize,
    /// The line that decides what no other line decides; it matches everything.
    pub default: Line,
}

/// A whole source.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Chains, by index.
    pub chains: Vec<Chain>,
    /// Gates: those that stand first carry the allow rules where several meet.
    pub gates: Vec<Gate>,
}

impl Program {
    /// Every line, those of the gates' defaults too.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        let defaults = self.gates.iter().map(|gate| &gate.default);
        self.chains.iter().flat_map(|chain| &chain.lines).chain(defaults)
    }
}
