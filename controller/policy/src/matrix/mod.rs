//! Who may talk to whom: networks, labels, guests, the host and the world against each other.

mod csv;
mod html;
mod text;

use std::{collections::HashMap, rc::Rc};

use portcullis_pipeline::policy::Cell as Verdict;
use serde::Serialize;

use crate::{
    Compiled,
    diff::{Bits, Group, GroupKind, Meeting, NumberNames, Numbers, Places, Services, list},
    explain::{RuleView, view},
    model::Endpoint,
};

/// What stands in the rows and columns, besides `host` and `world`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Networks, labels, and guests without labels.
    All,
    /// Networks.
    Network,
    /// Labels, and guests without labels.
    Label,
    /// Guests.
    Guest,
}

/// Most rows: what nobody could read is not computed.
pub const ROWS: usize = 400;

/// More rows than [`ROWS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the matrix would have {got} rows; it can have {ROWS}")]
pub struct TooManyRows {
    /// How many it would have.
    pub got: usize,
}

/// Who may talk to whom.
#[derive(Clone, Debug, Serialize)]
pub struct Matrix {
    /// What it was asked by.
    pub by: By,
    /// The rows (who opens connections), and the columns (to whom).
    pub subjects: Vec<Group>,
    /// By row, then by column.
    pub cells: Vec<Vec<Cell>>,
}

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Everything.
    All,
    /// Some services, or between some of the members.
    Some,
    /// Nothing.
    None,
    /// There is no connection between them: one machine, or different address families.
    Impossible,
}

/// What one subject may open to another.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// How much.
    pub access: Access,
    /// What every member of the one may open to every member of the other.
    pub services: Vec<Services>,
    /// What some members may open to some.
    pub partly: Vec<Services>,
    /// The rules that allow, in the order of the text.
    pub allowed_by: Vec<RuleView>,
    /// The rules that deny something here.
    pub denied_by: Vec<RuleView>,
}

impl Cell {
    /// In a few words: `all`, `none`, `http, ssh; partly dns`.
    pub fn words(&self) -> String {
        match self.access {
            Access::All => "all".to_owned(),
            Access::None => "none".to_owned(),
            Access::Impossible => "-".to_owned(),
            Access::Some if self.partly.is_empty() => list(&self.services),
            Access::Some if self.services.is_empty() => format!("partly {}", list(&self.partly)),
            Access::Some => format!("{}; partly {}", list(&self.services), list(&self.partly)),
        }
    }
}

impl Matrix {
    /// For a terminal of some width.
    pub fn render(&self, width: usize) -> String {
        text::render(self, width)
    }

    /// Does the table fit a terminal of some width?
    pub fn fits(&self, width: usize) -> bool {
        text::fits(self, width)
    }

    /// As comma-separated values (RFC 4180).
    pub fn to_csv(&self) -> String {
        csv::render(self)
    }

    /// As one HTML page without external resources.
    pub fn to_html(&self, title: &str) -> String {
        html::render(self, title)
    }
}

/// Computes the matrix of a policy.
pub fn matrix(compiled: &Compiled, by: By) -> Result<Matrix, TooManyRows> {
    let subjects = subjects(compiled, by);
    if subjects.len() > ROWS {
        return Err(TooManyRows { got: subjects.len() });
    }
    let mut places = Places::new([compiled]);
    let by_atom = places.by_atom(0, compiled);
    let members: Vec<Vec<u32>> = subjects.iter().map(|s| by_atom.members(compiled, s.0)).collect();
    places.split(&members);
    let numbers = Numbers::new([compiled]);
    let reader = Reader {
        compiled,
        meeting: Meeting::new(&places, &numbers, 0),
        names: NumberNames::new(&numbers, compiled),
        places: &places,
        numbers: &numbers,
        rows: HashMap::new(),
    };
    let classes: Vec<Vec<usize>> = members.iter().map(|m| reader.classes(m)).collect();
    let mut reader = reader;
    let cells = classes.iter().map(|from| classes.iter().map(|to| reader.cell(from, to)).collect());
    let cells = cells.collect();
    Ok(Matrix { by, subjects: subjects.into_iter().map(|s| s.1).collect(), cells })
}

fn subjects(compiled: &Compiled, by: By) -> Vec<(Endpoint, Group)> {
    let model = &compiled.model;
    let group = |kind, name: &str| Group::whole(kind, name);
    let mut all = Vec::new();
    if matches!(by, By::All | By::Network) {
        let networks = model.networks.iter().enumerate();
        all.extend(
            networks.map(|(i, n)| (Endpoint::Network(i), group(GroupKind::Network, &n.name))),
        );
    }
    if matches!(by, By::All | By::Label) {
        let worn = model.labels.iter().enumerate().filter(|(_, l)| !l.guests.is_empty());
        all.extend(worn.map(|(i, l)| (Endpoint::Label(i), group(GroupKind::Label, &l.name))));
    }
    if by != By::Network {
        let guests = model.guests.iter().enumerate();
        let guests = guests.filter(|(_, g)| by == By::Guest || g.labels.is_empty());
        all.extend(guests.map(|(i, g)| (Endpoint::Guest(i), group(GroupKind::Guest, &g.name))));
    }
    all.push((Endpoint::Host, group(GroupKind::Host, "host")));
    all.push((Endpoint::World, group(GroupKind::World, "world")));
    all
}

struct Reader<'a> {
    compiled: &'a Compiled,
    places: &'a Places<1>,
    numbers: &'a Numbers<1>,
    meeting: Meeting<'a, 1>,
    names: NumberNames<'a, 1>,
    /// Rows of the image as joint services.
    rows: HashMap<u32, Rc<Row>>,
}

/// What a row of verdicts allows, and who decides what.
struct Row {
    allowed: Bits,
    rules: Vec<(usize, Bits)>,
}

/// What was seen of one pair of subjects.
struct Sum {
    /// Services for which there is a connection.
    possible: Bits,
    /// Those that some connection is allowed.
    someone: Bits,
    /// Those that some connection is denied.
    denied: Bits,
    rules: Vec<usize>,
}

impl Reader<'_> {
    fn classes(&self, members: &[u32]) -> Vec<usize> {
        let mut classes: Vec<usize> =
            members.iter().map(|&m| self.places.class_of[m as usize] as usize).collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    fn cell(&mut self, from: &[usize], to: &[usize]) -> Cell {
        let mut sum = Sum {
            possible: self.numbers.none(),
            someone: self.numbers.none(),
            denied: self.numbers.none(),
            rules: Vec::new(),
        };
        for &src in from {
            for &dst in to {
                self.add(&mut sum, src, dst);
            }
        }
        let everyone = sum.someone.without(&sum.denied);
        let access = match (sum.possible.is_empty(), sum.someone.is_empty(), sum.denied.is_empty())
        {
            (true, ..) => Access::Impossible,
            (_, true, _) => Access::None,
            (_, _, true) => Access::All,
            _ => Access::Some,
        };
        let partly = sum.someone.and(&sum.denied);
        let may = Bits::all(self.numbers.len()).without(&sum.possible);
        sum.rules.sort_unstable();
        sum.rules.dedup();
        let rules = &self.compiled.build.expanded.rules;
        let (allow, deny): (Vec<usize>, Vec<usize>) =
            sum.rules.iter().partition(|&&r| rules[r].action == crate::model::Action::Allow);
        let views =
            |of: Vec<usize>| of.into_iter().map(|r| view(self.compiled, &rules[r])).collect();
        Cell {
            access,
            services: self.names.of_classes(&everyone, &may),
            partly: self.names.of_classes(&partly, &may),
            allowed_by: views(allow),
            denied_by: views(deny),
        }
    }

    fn add(&mut self, sum: &mut Sum, src: usize, dst: usize) {
        let row = self.row(src, dst);
        let possible = self.meeting.services(src, dst);
        sum.possible.add(possible);
        sum.someone.add(&row.allowed.and(possible));
        sum.denied.add(&possible.without(&row.allowed));
        let deciding = row.rules.iter().filter(|(_, bits)| bits.meets(possible));
        sum.rules.extend(deciding.map(|(rule, _)| rule));
    }

    fn row(&mut self, src: usize, dst: usize) -> Rc<Row> {
        let image = &self.compiled.image;
        let (src, dst) = (self.places.class_in(0, src), self.places.class_in(0, dst));
        let row = image.rows[(src * image.classes + dst) as usize];
        let numbers = self.numbers;
        let read = || {
            let mut found = Row { allowed: numbers.none(), rules: Vec::new() };
            let mut rules: HashMap<usize, Bits> = HashMap::new();
            for (s, [class]) in numbers.classes.iter().enumerate() {
                let cell = Verdict(image.cells[(row * image.services + class) as usize]);
                if cell.allows() {
                    found.allowed.insert(s);
                }
                if let Some(rule) = (cell.rule() as usize).checked_sub(1) {
                    rules.entry(rule).or_insert_with(|| numbers.none()).insert(s);
                }
            }
            found.rules = rules.into_iter().collect();
            Rc::new(found)
        };
        Rc::clone(self.rows.entry(row).or_insert_with(read))
    }
}
