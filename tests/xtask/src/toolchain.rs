//! The eBPF toolchain: Debian's `rustc-web` compiles, `bpf-linker` links with the same LLVM.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{place, step::Step};

/// The release of bpf-linker that knows the LLVM of `rustc-web`.
const LINKER_VERSION: &str = "0.13.0";

/// Builds bpf-linker where it is missing or no longer starts (LLVM was updated under it).
pub fn install() -> Result<()> {
    let prefix = place::toolchain();
    if starts(&prefix.join("bin/bpf-linker")) && prefix.join("lib/libLLVM.so").exists() {
        return Ok(());
    }
    let major = llvm_major(&compiler()?)?;
    link_llvm(&prefix, major)?;
    let mut command = place::cargo();
    command
        .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"])
        .args(["--no-default-features", "--features", &format!("llvm-{major}"), "--root"])
        .arg(&prefix)
        .env("LLVM_PREFIX", &prefix)
        // The target directory of the repository is locked by the build that runs us.
        .env_remove("CARGO_TARGET_DIR");
    Step::new(format!("build bpf-linker {LINKER_VERSION}"), command).succeed()?;
    if !starts(&prefix.join("bin/bpf-linker")) {
        bail!("{} was built but does not start", prefix.join("bin/bpf-linker").display());
    }
    Ok(())
}

fn starts(linker: &Path) -> bool {
    Command::new(linker)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The compiler by its full path: rustup's own comes first in PATH.
fn compiler() -> Result<PathBuf> {
    package_file("rustc-web", |file| file.ends_with("/bin/rustc"))
}

/// Makes `lib/libLLVM.so`, all that bpf-linker's build wants of an LLVM installation.
fn link_llvm(prefix: &Path, major: u32) -> Result<()> {
    let wanted = format!("/libLLVM.so.{major}");
    let library = package_file(&format!("libllvm{major}"), |file| file.contains(&wanted))?;
    let link = prefix.join("lib/libLLVM.so");
    fs::create_dir_all(prefix.join("lib")).context("creating the toolchain directory")?;
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link)?;
    }
    symlink(&library, &link).with_context(|| format!("linking {}", link.display()))
}

/// A file of an installed Debian package.
fn package_file(package: &str, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let output = Command::new("dpkg").args(["-L", package]).output().context("running dpkg")?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find(|file| wanted(file))
        .map(PathBuf::from)
        .with_context(|| format!("package {package} lacks a file that is needed"))
}

fn llvm_major(rustc: &Path) -> Result<u32> {
    let output = Command::new(rustc).arg("-vV").output().context("running rustc-web's rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_llvm_major(&text).with_context(|| format!("no LLVM version in: {text}"))
}

fn parse_llvm_major(version: &str) -> Option<u32> {
    let line = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_number_is_read() {
        assert_eq!(parse_llvm_major("rustc 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(parse_llvm_major("rustc 1.96.0\n"), None);
    }
}
