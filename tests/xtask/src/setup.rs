//! What a machine needs before a command can run.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{kernel::Kernel, packages, toolchain};

/// Everything that any command needs.
pub fn everything() -> Result<()> {
    root()?;
    packages::install(&[
        packages::BUILD,
        packages::PLAY,
        packages::TEST,
        packages::ATTACKERS,
        packages::KERNELS,
        packages::BENCH,
    ])?;
    toolchain::install()?;
    Kernel::all()?;
    println!("everything is there");
    Ok(())
}

/// What building the project and these packages need.
pub fn for_packages(wanted: &[&[&str]]) -> Result<()> {
    root()?;
    packages::install(&[&[packages::BUILD], wanted].concat())?;
    toolchain::install()
}

/// Ports, programs and packages all need root; better to say so first than in the middle.
fn root() -> Result<()> {
    let output = Command::new("id").arg("-u").output()?;
    if output.stdout.trim_ascii() != b"0" {
        bail!("this makes network namespaces and loads programs into the kernel: run it as root");
    }
    Ok(())
}
