//! The guest of the tests that start QEMU: Debian's stock kernel, and an archive with one program.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    initramfs::{self, For},
    kernel::Kernel,
    place,
};

/// Tells the tests of the lab where it is.
pub const VARIABLE: &str = "PORTCULLIS_TEST_QEMU";
/// The program.
const AGENT: &str = "tests/lab/qemu/agent";

/// Where it is.
pub fn directory() -> PathBuf {
    place::target().join("qemu-guest")
}

/// Makes it.
pub fn make() -> Result<()> {
    let directory = directory();
    fs::create_dir_all(&directory).context("a directory for QEMU's guest")?;
    let kernel = Kernel::all()?.into_iter().next().context("a kernel for QEMU's guest")?;
    copy(&kernel.image, &directory.join("vmlinuz"))?;
    let agent = place::root().join(AGENT);
    initramfs::write(&kernel.modules, &directory.join("initrd"), For::Alone(&agent))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("copying {}", from.display()))
}
