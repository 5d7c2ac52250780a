//! Sets of prefixes that nobody outside may use.

use std::sync::Arc;

use ipnet::IpNet;

use crate::source::Span;

/// A denied set: whoever is outside (in `world`) and has one of its addresses is heard by nobody
/// and reached by nobody, before any rule.
#[derive(Clone, Debug)]
pub struct DeniedSet {
    /// Its name.
    pub name: String,
    /// Where it is named.
    pub span: Span,
    /// What the policy itself says.
    pub inline: Vec<DeniedPrefix>,
    /// What its files say. Shared: it may be large.
    pub listed: Arc<Vec<DeniedPrefix>>,
}

impl DeniedSet {
    /// All prefixes.
    pub fn prefixes(&self) -> impl Iterator<Item = &DeniedPrefix> {
        self.inline.iter().chain(self.listed.iter())
    }
}

/// A prefix of a denied set (one address is a prefix of full length).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeniedPrefix {
    /// The prefix.
    pub net: IpNet,
    /// Where it is written.
    pub span: Span,
}
