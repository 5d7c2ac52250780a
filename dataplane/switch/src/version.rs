//! What a switch is made of besides its configuration.

use crate::{links::hook_of_kernel, status::Hook};

/// The programs of a switch, and how they are attached to its ports. By itself those of this build,
/// by the best hook that the kernel has; tests start others.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    /// The object file of the programs.
    pub object: &'a [u8],
    /// How the filter is attached.
    pub hook: Hook,
}

impl Default for Version<'static> {
    fn default() -> Self {
        Self { object: portcullis_programs::OBJECT, hook: hook_of_kernel() }
    }
}
