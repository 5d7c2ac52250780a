//! The tables of a generation for the other half of the switch: read from where the kernel's half
//! reads them, so that both have the same.

use std::path::Path;

use crate::{
    bpffs::Bpffs,
    error::Result,
    maps::Maps,
    validate::{Reader, SlotCopy},
};

/// The pinned tables of a switch, to be read.
pub struct Source(Maps);

impl Source {
    /// Those of the switch in `run_dir`.
    pub fn open(run_dir: &Path) -> Result<Self> {
        Maps::open(&Bpffs::of(run_dir).maps()).map(Self)
    }

    /// Connections that the switch is to hold.
    pub fn flows(&self) -> u32 {
        self.0.flow_capacity
    }

    /// The slot of a generation, as it is written now.
    pub fn read(&self, generation: u32) -> Result<SlotCopy> {
        Reader::new(&self.0, generation).copy()
    }
}
