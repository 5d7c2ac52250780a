//! The host's stack as we have made it: changed, put back, looked after, left as it was.

use std::path::PathBuf;

use crate::{conntrack, error::Result, forwarding, notes::Notes, plan::Plan, program, table};

/// The table of the switch that runs in the default directory.
const TABLE: &str = "portcullis";

/// Whose rules these are.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where what has to be undone is noted.
    pub run_dir: PathBuf,
    /// The switch's name among several on one host.
    pub instance: String,
}

impl Config {
    /// The table's name: each switch has its own.
    pub fn table(&self) -> String {
        match self.instance.as_str() {
            "default" => TABLE.to_owned(),
            other => format!("{TABLE}-{other}"),
        }
    }
}

/// The host's rules of one switch.
#[derive(Debug)]
pub struct HostRules {
    config: Config,
    /// What is in force; `None` before the first change of this process.
    plan: Option<Plan>,
    notes: Notes,
}

impl HostRules {
    /// Takes over what a process before left in force.
    ///
    /// # Errors
    /// The notes cannot be read.
    pub fn new(config: Config) -> Result<Self> {
        let notes = Notes::read(&config.run_dir)?;
        Ok(Self { config, plan: None, notes })
    }

    /// The name of our table.
    pub fn table(&self) -> String {
        self.config.table()
    }

    /// What is in force.
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// Makes the host's stack what a plan says. The legs need not exist yet: see
    /// [`Self::open_legs`].
    ///
    /// # Errors
    /// What was in force is in force.
    pub fn change(&mut self, plan: &Plan) -> Result<()> {
        if self.plan.as_ref() == Some(plan) && self.is_there()? {
            return Ok(());
        }
        let before = self.plan.clone().unwrap_or_default();
        if !plan.publish.is_empty() {
            // It is needed on the day when something is withdrawn, and then it is late to learn
            // that it is missing.
            program::need_conntrack()?;
        }
        let changed = self
            .write(plan)
            .and_then(|()| conntrack::withdrawn(&before, plan).try_for_each(conntrack::end));
        match changed {
            Ok(()) => {
                self.plan = Some(plan.clone());
                Ok(())
            }
            Err(error) => {
                // The transaction failed whole; or what came after it, and then it is undone.
                if let Some(before) = self.plan.clone() {
                    let _ = self.write(&before);
                }
                Err(error)
            }
        }
    }

    /// Table and uplinks.
    fn write(&mut self, plan: &Plan) -> Result<()> {
        let opened = self.opened(plan)?;
        let name = self.config.table();
        if plan.is_empty() {
            if self.notes.table {
                program::transact(&table::remove(&name))?;
            }
            return self.note(Notes { table: false, opened: Vec::new() });
        }
        // Noted first: a change that nobody knows of would never be undone.
        let all = [self.notes.opened.clone(), opened.clone()].concat();
        self.notes = Notes { table: true, opened: distinct(all) };
        self.notes.write(&self.config.run_dir)?;
        program::transact(&table::replace(&name, plan, &opened))?;
        self.note(Notes { table: true, opened })
    }

    /// Interfaces that forward because of us while a plan is in force. None once the host forwards
    /// by itself: somebody else wants it then.
    fn opened(&self, plan: &Plan) -> Result<Vec<String>> {
        if forwarding::everywhere_v4() || !plan.forwards_v4() {
            return Ok(Vec::new());
        }
        let closed = forwarding::closed_uplinks(plan)?;
        let still = forwarding::uplinks(plan)?;
        let ours = self.notes.opened.iter().filter(|name| still.contains(*name)).cloned();
        Ok(distinct(ours.chain(closed).collect()))
    }

    /// Opens what is noted, and closes what was noted before and is not any more.
    fn note(&mut self, notes: Notes) -> Result<()> {
        for name in &notes.opened {
            forwarding::set_v4(name, true)?;
        }
        if !forwarding::everywhere_v4() {
            for name in self.notes.opened.iter().filter(|name| !notes.opened.contains(name)) {
                forwarding::set_v4(name, false)?;
            }
        }
        self.notes = notes;
        match self.notes == Notes::default() {
            true => Notes::remove(&self.config.run_dir),
            false => self.notes.write(&self.config.run_dir),
        }
    }

    /// Makes our own interfaces forward, now that they exist.
    ///
    /// # Errors
    /// One of them does not.
    pub fn open_legs(&self) -> Result<()> {
        self.plan.as_ref().map_or(Ok(()), forwarding::open_legs)
    }

    /// Looks after what is in force: an uplink that came, forwarding that somebody switched on, a
    /// table that somebody flushed. Says whether anything had to be done.
    ///
    /// # Errors
    /// It could not be done.
    pub fn look_after(&mut self) -> Result<bool> {
        let Some(plan) = self.plan.clone().filter(|plan| !plan.is_empty()) else {
            return Ok(false);
        };
        self.open_legs()?;
        let as_noted = self.opened(&plan)? == self.notes.opened
            && self.notes.opened.iter().all(|name| forwarding::forwards_v4(name) != Some(false));
        if as_noted && self.is_there()? {
            return Ok(false);
        }
        self.write(&plan).map(|()| true)
    }

    /// Is the table there, where one is wanted?
    fn is_there(&self) -> Result<bool> {
        let wanted = self.plan.as_ref().is_some_and(|plan| !plan.is_empty());
        Ok(!wanted || program::tables()?.contains(&self.config.table()))
    }
}

/// Leaves the host's stack as it was before us.
///
/// # Errors
/// Something is left; trying again is safe.
pub fn remove(config: Config) -> Result<()> {
    HostRules::new(config)?.write(&Plan::default())
}

fn distinct(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names
}
