//! Rules of other firewalls as a policy of ours, proved equal.
//!
//! A source is read ([`proxmox`], [`libvirt`], [`iptables`]), brought into chains and gates
//! (`program`), written out (`flatten`) on a grid of everything that is told apart
//! (`grid`), freed of its order (`unorder`), said in our words (`words`, `yaml`), and
//! compiled. A judge of the source format, which shares nothing with all this, is then asked
//! about every connection that either of the two tells apart (`prove`): a translation that
//! differs anywhere is not given out.
//!
//! What a source asks for and the policy cannot say is closed and reported: a line that accepts
//! on a condition without equal accepts nothing, a line that denies on one denies always.

mod bits;
pub mod domain;
pub mod finding;
mod flatten;
mod grid;
mod iptables;
mod names;
mod nwfilter;
mod program;
mod protocols;
mod prove;
mod proxmox;
mod ranges;
mod scan;
mod services;
mod site;
mod translate;
mod unorder;
mod words;
mod yaml;

pub use crate::{
    finding::{Finding, JsonFinding, Remark, Weight},
    iptables::import as iptables,
    nwfilter::import as libvirt,
    program::Place,
    prove::Difference,
    proxmox::import as proxmox,
    site::Options,
    translate::{ImportError, Imported},
};

/// A source file.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// As messages name it; for Proxmox VE its path below the given one.
    pub name: String,
    /// All of it.
    pub text: String,
}
