//! Guests of tests with Debian's stock kernel: the kernel, and an archive to begin with. The one that
//! the tests start QEMU for has a single program.

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
    let kernel = Kernel::all()?.into_iter().next().context("a kernel for QEMU's guest")?;
    let agent = place::root().join(AGENT);
    write(&kernel, For::Alone(&agent), &directory())
}

/// Writes a kernel and an archive for it into a directory.
pub fn write(kernel: &Kernel, whose: For<'_>, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).context("a directory for a guest")?;
    copy(&kernel.image, &directory.join("vmlinuz"))?;
    initramfs::write(&kernel.modules, &directory.join("initrd"), whose)
}

/// Copies a file.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("copying {}", from.display()))
}
