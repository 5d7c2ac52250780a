//! What two policies say differently, by joint classes.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use portcullis_pipeline::policy::Cell;

use super::{
    bits::Bits,
    blame::{Blame, Cause, Side},
    meet::Meeting,
    numbers::Numbers,
    places::Places,
};
use crate::Compiled;

/// Has it become allowed, or denied?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sign {
    /// The new policy allows what the old one denies.
    Allowed,
    /// The new policy denies what the old one allows.
    Denied,
}

/// What two rows of verdicts say differently.
#[derive(Default)]
pub struct RowDiff {
    /// Services that become allowed, and those that become denied; nothing where there are none.
    pub changed: Option<[Bits; 2]>,
    /// The same by who is responsible.
    pub by_cause: Vec<(Sign, Cause, Bits)>,
}

/// Two policies over their joint classes.
pub struct Cells<'a> {
    pub old: &'a Compiled,
    pub new: &'a Compiled,
    pub places: &'a Places<2>,
    pub numbers: &'a Numbers<2>,
    /// Which connections can be, in the old policy and in the new one.
    pub meetings: [Meeting<'a, 2>; 2],
    blame: Blame,
    rows: RefCell<HashMap<(u32, u32), Rc<RowDiff>>>,
}

impl<'a> Cells<'a> {
    /// Over a joint division of addresses and numbers.
    pub fn new(
        old: &'a Compiled,
        new: &'a Compiled,
        places: &'a Places<2>,
        numbers: &'a Numbers<2>,
    ) -> Self {
        let meetings = [Meeting::new(places, numbers, 0), Meeting::new(places, numbers, 1)];
        let blame = Blame::new(old, new);
        Self { old, new, places, numbers, meetings, blame, rows: RefCell::default() }
    }

    /// The connections between two joint classes that can be where a difference of this sign
    /// counts: where they are allowed.
    pub fn possible(&self, sign: Sign, src: usize, dst: usize) -> &Bits {
        self.meetings[side_of(sign)].services(src, dst)
    }

    /// What the policies say differently about two joint classes.
    pub fn row(&self, src: usize, dst: usize) -> Rc<RowDiff> {
        let row = |side: usize, compiled: &Compiled| {
            let (src, dst) = (self.places.class_in(side, src), self.places.class_in(side, dst));
            compiled.image.rows[(src * compiled.image.classes + dst) as usize]
        };
        let key = (row(0, self.old), row(1, self.new));
        if let Some(known) = self.rows.borrow().get(&key) {
            return Rc::clone(known);
        }
        let diff = Rc::new(self.compare(key));
        self.rows.borrow_mut().insert(key, Rc::clone(&diff));
        diff
    }

    fn compare(&self, (old_row, new_row): (u32, u32)) -> RowDiff {
        let mut changed = [self.numbers.none(), self.numbers.none()];
        let mut causes: HashMap<(Sign, Cause), Bits> = HashMap::new();
        for (s, classes) in self.numbers.classes.iter().enumerate() {
            let old = cell(self.old, old_row, classes[0]);
            let new = cell(self.new, new_row, classes[1]);
            let sign = match (old.allows(), new.allows()) {
                (false, true) => Sign::Allowed,
                (true, false) => Sign::Denied,
                _ => continue,
            };
            changed[sign as usize].insert(s);
            if let Some(cause) = self.blame.of(old, new) {
                causes.entry((sign, cause)).or_insert_with(|| self.numbers.none()).insert(s);
            }
        }
        let mut by_cause: Vec<_> = causes.into_iter().map(|((s, c), bits)| (s, c, bits)).collect();
        by_cause.sort_by_key(|c| (c.0, c.1));
        let changed = (!by_cause.is_empty()).then_some(changed);
        RowDiff { changed, by_cause }
    }

    /// What the responsible rule speaks about, as joint classes.
    pub fn reach(&self, cause: Cause) -> Reach {
        let (side, compiled) = match cause.side {
            Side::Old => (0, self.old),
            Side::New => (1, self.new),
        };
        let key = compiled.build.rules[cause.rule];
        let classes = |list: u32| {
            let list = compiled.build.classes.of_list(list);
            let within =
                |joint: usize| list.binary_search(&self.places.class_in(side, joint)).is_ok();
            Bits::which(self.places.classes(), within)
        };
        let services = compiled.build.services.of_list(key.services);
        let within = |s: usize| services.binary_search(&self.numbers.classes[s][side]).is_ok();
        Reach {
            from: classes(key.from),
            to: classes(key.to),
            services: Bits::which(self.numbers.len(), within),
        }
    }
}

/// What a rule speaks about.
pub struct Reach {
    pub from: Bits,
    pub to: Bits,
    pub services: Bits,
}

/// The policy in which a connection of a difference is allowed.
pub const fn side_of(sign: Sign) -> usize {
    match sign {
        Sign::Allowed => 1,
        Sign::Denied => 0,
    }
}

fn cell(compiled: &Compiled, row: u32, service: u32) -> Cell {
    Cell(compiled.image.cells[(row * compiled.image.services + service) as usize])
}
