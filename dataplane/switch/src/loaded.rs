//! What the slots are known to hold: what was written into them and read back since this process
//! began. Nobody but this process writes there, and every generation is read back whole all the
//! same before it is put in force; this only saves reading before writing.

use std::sync::Arc;

use portcullis_image::Image;
use portcullis_pipeline::layout::{RuleEntry, SLOTS};

use crate::slot::Tables;

/// What a slot holds.
pub struct Loaded {
    /// The compiled policy.
    pub image: Arc<Image>,
    /// What depends on ports.
    pub tables: Arc<Tables>,
    /// Ends and rates of the rules.
    pub rules: Vec<RuleEntry>,
}

/// Both slots. `None`: nobody knows.
#[derive(Default)]
pub struct Slots([Option<Loaded>; SLOTS as usize]);

impl Slots {
    /// What the slot of a generation holds.
    pub fn of(&self, generation: u32) -> Option<&Loaded> {
        self.0[(generation & 1) as usize].as_ref()
    }

    /// What the slot of a generation holds, which is about to change: until somebody says what it
    /// has become nobody knows.
    pub fn take(&mut self, generation: u32) -> Option<Loaded> {
        self.0[(generation & 1) as usize].take()
    }

    /// The slot of a generation holds this now.
    pub fn put(&mut self, generation: u32, loaded: Option<Loaded>) {
        self.0[(generation & 1) as usize] = loaded;
    }
}
