//! Debian's kernels: taken out of their packages, without installing these.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{place, step::Step};

/// Debian's packages that depend on the newest image of a series: no tcx (6.1), and tcx (6.12).
pub const SERIES: &[&str] = &["linux-image-cloud-amd64", "linux-image-6.12-cloud-amd64"];

/// A kernel taken out of its package.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The package that depends on it.
    pub series: &'static str,
    /// What boots.
    pub image: PathBuf,
    /// The directory with the directory of its modules.
    pub modules: PathBuf,
}

impl Kernel {
    /// The newest kernel of each series, from the cache or from Debian.
    pub fn all() -> Result<Vec<Self>> {
        SERIES.iter().map(|series| Self::newest(series)).collect()
    }

    fn newest(series: &'static str) -> Result<Self> {
        let dir = place::kernels().join(series);
        if let Some(kernel) = Self::unpacked(series, &dir)? {
            return Ok(kernel);
        }
        let package = newest(series)?;
        let fresh = dir.with_extension("new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh)?;
        }
        fs::create_dir_all(&fresh).context("creating the kernel cache")?;
        let mut download = Command::new("apt-get");
        // As root apt would first try to become a user who cannot write here.
        download.args(["-o", "APT::Sandbox::User=root", "download", &package]);
        Step::new(format!("download {package}"), {
            download.current_dir(&fresh);
            download
        })
        .succeed()?;
        for entry in fs::read_dir(&fresh)? {
            let path = entry?.path();
            let mut command = Command::new("dpkg-deb");
            command.arg("-x").arg(&path).arg(&fresh);
            Step::new(format!("unpack {package}"), command).succeed()?;
            fs::remove_file(path)?;
        }
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::rename(&fresh, &dir).context("putting the kernel into the cache")?;
        Self::unpacked(series, &dir)?.with_context(|| format!("{package} holds no kernel"))
    }

    fn unpacked(series: &'static str, dir: &Path) -> Result<Option<Self>> {
        let Ok(entries) = fs::read_dir(dir.join("boot")) else { return Ok(None) };
        for entry in entries {
            let image = entry?.path();
            let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("vmlinuz") {
                return Ok(Some(Self { series, image, modules: dir.join("lib/modules") }));
            }
        }
        Ok(None)
    }

    /// `uname -r`.
    pub fn release(&self) -> Result<String> {
        let entry = fs::read_dir(&self.modules)?.next();
        let entry = entry.with_context(|| format!("{} has no modules", self.series))??;
        Ok(entry.file_name().to_string_lossy().into_owned())
    }
}

/// The real package behind one that only depends on it.
fn newest(series: &str) -> Result<String> {
    if let Some(package) = dependency(series)? {
        return Ok(package);
    }
    // A new machine has no list of packages yet.
    Step::new("apt-get update", {
        let mut command = Command::new("apt-get");
        command.args(["update", "-qq"]);
        command
    })
    .succeed()?;
    dependency(series)?.with_context(|| format!("apt knows no package {series}"))
}

fn dependency(series: &str) -> Result<Option<String>> {
    let output = Command::new("apt-cache").args(["depends", series]).output()?;
    Ok(parse_depends(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_depends(text: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_package_is_found() {
        let text = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(parse_depends(text).as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(parse_depends(""), None);
    }
}
