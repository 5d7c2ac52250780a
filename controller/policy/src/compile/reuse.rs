//! The verdict table after a change of some rules, from the table before.
//!
//! What judges a pair of classes depends on the rules about it alone, so only the pairs that a
//! changed rule spoke about or speaks about now are judged again. Everything else is copied:
//! classes by one of their atoms, services by one of their connections, rules by their new ids.

use portcullis_image::Image;
use portcullis_pipeline::policy::Cell;

use super::{
    classes::Classes,
    order::RuleKey,
    rows::{Input, judge},
    rowset::{RowSet, Rows},
    services::ServiceClasses,
};

/// What was compiled before.
pub struct Before<'a> {
    pub rules: &'a [RuleKey],
    pub classes: &'a Classes,
    pub services: &'a ServiceClasses,
    pub image: &'a Image,
    /// For each atom of now the same one then; nothing: all atoms are the same.
    pub atoms: Option<&'a [Option<u32>]>,
}

/// Rules that others took the place of: `then` of the old ones, `now` of the new ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Are all invariants and selectors those of before?
    pub keeps_lists: bool,
    /// Index of the first.
    pub first: usize,
    /// How many there were.
    pub then: usize,
    /// How many there are.
    pub now: usize,
}

/// What is judged anew.
pub struct Touched {
    classes: usize,
    /// By `src * classes + dst`.
    pairs: Vec<bool>,
}

impl Touched {
    /// Is any pair of these classes judged anew?
    pub fn any(&self, from: &[u32], to: &[u32]) -> bool {
        let pair = |src: &u32, dst: &u32| self.pairs[*src as usize * self.classes + *dst as usize];
        from.iter().any(|src| to.iter().any(|dst| pair(src, dst)))
    }
}

/// The table after a change; equal to what [`super::rows::build`] makes of `input`. `None`: it
/// would not fit, and that one says why.
pub fn rebuild(
    input: &Input<'_>,
    before: &Before<'_>,
    change: &Replaced,
) -> Option<(Rows, Touched)> {
    let classes = Known::new(input, before);
    let mask = classes.touched(input, before, change);
    let rules = rules_about(input, &mask);
    let mut set = input.row_set();
    let mut of_pair = judge(input, rules, Some(&mask), &mut set).ok()?;
    let mut copy = Copy::new(input, before, change);
    let count = input.classes.len();
    for (pair, _) in mask.iter().enumerate().filter(|(_, touched)| !**touched) {
        // Pairs of classes that were not known are all touched.
        let then = |class: usize| classes.then[class].unwrap_or(0) as usize;
        let (src, dst) = (then(pair / count), then(pair % count));
        let row = before.image.rows[src * before.classes.len() + dst];
        of_pair[pair] = copy.row(row, &mut set)?;
    }
    Some((set.finish(of_pair), Touched { classes: count, pairs: mask }))
}

/// How the classes of now and then belong together.
struct Known {
    /// For each class of now, the class then of one of its atoms.
    then: Vec<Option<u32>>,
    /// Pairs of a class then and a class now that share an atom.
    shared: Vec<(u32, u32)>,
}

impl Known {
    fn new(input: &Input<'_>, before: &Before<'_>) -> Self {
        let mut then = vec![None; input.classes.len()];
        let mut shared = Vec::new();
        for (atom, &now) in input.classes.of_atoms().iter().enumerate() {
            let old = match before.atoms {
                None => Some(atom as u32),
                Some(atoms) => atoms[atom],
            };
            if let Some(old) = old.map(|a| before.classes.of_atom(a as usize)) {
                then[now as usize].get_or_insert(old);
                shared.push((old, now));
            }
        }
        shared.sort_unstable();
        shared.dedup();
        Self { then, shared }
    }

    /// The pairs that must be judged again.
    fn touched(&self, input: &Input<'_>, before: &Before<'_>, change: &Replaced) -> Vec<bool> {
        let count = input.classes.len();
        let mut mask = vec![false; count * count];
        let mut touch = |from: &[u32], to: &[u32]| {
            for src in from {
                to.iter().for_each(|dst| mask[*src as usize * count + *dst as usize] = true);
            }
        };
        for rule in &before.rules[change.first..change.first + change.then] {
            let now = |list| self.now(before.classes.of_list(list));
            touch(&now(rule.from), &now(rule.to));
        }
        for rule in &input.rules[change.first..change.first + change.now] {
            touch(input.classes.of_list(rule.from), input.classes.of_list(rule.to));
        }
        let all: Vec<u32> = (0..count as u32).collect();
        for class in all.iter().filter(|c| self.then[**c as usize].is_none()) {
            touch(&[*class], &all);
            touch(&all, &[*class]);
        }
        mask
    }

    /// The classes of now that share an atom with these of then.
    fn now(&self, then: &[u32]) -> Vec<u32> {
        let shared = self.shared.iter().filter(|(t, _)| then.binary_search(t).is_ok());
        let mut now: Vec<u32> = shared.map(|&(_, now)| now).collect();
        now.sort_unstable();
        now.dedup();
        now
    }
}

/// The rules that may speak about a pair of the mask.
fn rules_about(input: &Input<'_>, mask: &[bool]) -> Vec<u32> {
    let count = input.classes.len();
    let (mut sources, mut destinations) = (vec![false; count], vec![false; count]);
    for (pair, _) in mask.iter().enumerate().filter(|(_, touched)| **touched) {
        sources[pair / count] = true;
        destinations[pair % count] = true;
    }
    let hits = |sides: &[bool]| -> Vec<bool> {
        let lists = input.classes.lists().iter();
        lists.map(|list| list.iter().any(|&class| sides[class as usize])).collect()
    };
    let (from, to) = (hits(&sources), hits(&destinations));
    let rules = (0..).zip(input.rules);
    let about = rules.filter(|(_, r)| from[r.from as usize] && to[r.to as usize]);
    about.map(|(i, _)| i).collect()
}

/// Rows of the table before, as they are now.
struct Copy<'a> {
    image: &'a Image,
    /// Has the table of now shadows?
    observed: bool,
    /// For each service class of now, that of then; nothing: all are the same.
    services: Option<Vec<u32>>,
    change: &'a Replaced,
    /// For each row then, its number now.
    known: Vec<Option<u32>>,
    row: Vec<u32>,
}

impl<'a> Copy<'a> {
    fn new(input: &Input<'_>, before: &Before<'a>, change: &'a Replaced) -> Self {
        let rows = before.image.cells.len() / before.image.services as usize;
        let services = input.services.in_terms_of(before.services);
        let same = services.len() == before.services.len()
            && services.iter().enumerate().all(|(now, &then)| now as u32 == then);
        Self {
            image: before.image,
            observed: input.is_observed(),
            services: (!same).then_some(services),
            change,
            known: vec![None; rows],
            row: Vec::new(),
        }
    }

    fn row(&mut self, row: u32, set: &mut RowSet) -> Option<u32> {
        if let Some(known) = self.known[row as usize] {
            return Some(known);
        }
        let width = self.image.services as usize;
        let at = row as usize * width..(row as usize + 1) * width;
        let image = self.image;
        self.row.clear();
        self.add(&image.cells[at.clone()]);
        if self.observed {
            self.add(if image.shadows.is_empty() { &image.cells[at] } else { &image.shadows[at] });
        }
        let id = set.intern(&self.row).ok()?;
        self.known[row as usize] = Some(id);
        Some(id)
    }

    /// Adds cells of then to the row of now.
    fn add(&mut self, cells: &[u32]) {
        let Self { services, change, row, .. } = self;
        match services {
            None if change.then == change.now => row.extend_from_slice(cells),
            None => row.extend(cells.iter().map(|&cell| change.id(cell))),
            Some(then) => row.extend(then.iter().map(|&s| change.id(cells[s as usize]))),
        }
    }
}

impl Replaced {
    /// A cell of then with the id that its rule has now.
    fn id(&self, cell: u32) -> u32 {
        let id = Cell(cell).rule() as usize;
        if id <= self.first + self.then {
            return cell;
        }
        Cell::new(Cell(cell).allows(), (id + self.now - self.then) as u32).0
    }
}
