//! What a compiler has to be told about time, because it keeps no clock.

use std::collections::BTreeMap;

/// The present, and what is remembered of the past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Now, seconds of Unix time. At 0 nothing has expired: for tests and questions of meaning.
    pub now_unix_s: u64,
    /// When each rule that lasts for a duration was first in force, by its anchor (see
    /// [`crate::model::Anchor`]), seconds of Unix time. A rule that is not here begins now.
    pub since_unix_s: BTreeMap<String, u64>,
}

impl Moment {
    /// Now, with nothing remembered.
    pub fn at(now_unix_s: u64) -> Self {
        Self { now_unix_s, since_unix_s: BTreeMap::new() }
    }
}
