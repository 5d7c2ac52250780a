//! The kernel matrix: the same programs on the kernels that Debian ships, under QEMU, and on the
//! one that runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    initramfs,
    outcome::Outcome,
    packages, place,
    probe::{Report, VERIFIED_MAX},
    setup,
    step::{Done, Step},
};

/// Debian's packages that depend on the newest image of a series: no tcx (6.1), and tcx (6.12).
const SERIES: &[&str] = &["linux-image-cloud-amd64", "linux-image-6.12-cloud-amd64"];
/// A kernel under TCG on a busy machine: boots in seconds, but the verifier takes its time.
const BOOT_SECONDS: u32 = 600;

/// A kernel taken out of its package.
struct Kernel {
    image: PathBuf,
    modules: PathBuf,
}

/// `cargo xtask kernels`.
pub fn run() -> Result<bool> {
    setup::for_packages(&[packages::KERNELS])?;
    Ok(test()?.failed == 0)
}

/// Gets the kernels of [`SERIES`], if they are not there.
pub fn fetch() -> Result<()> {
    SERIES.iter().try_for_each(|series| kernel(series).map(drop))
}

/// Loads the programs everywhere; every kernel counts as one test.
pub fn test() -> Result<Outcome> {
    let probe = build_probe()?;
    let mut reports = booted(&probe)?;
    reports.push(native(&probe)?);
    println!("\n{:<32} {:<16} {:>10}  (at most {VERIFIED_MAX})", "kernel", "program", "verified");
    let mut outcome = Outcome::default();
    for report in &reports {
        print!("{report}");
        outcome += Outcome::one(report.fine());
    }
    Ok(outcome)
}

fn build_probe() -> Result<PathBuf> {
    let mut command = place::cargo();
    command.args(["build", "--workspace", "--bin", "kernel-probe"]);
    Step::new("build kernel-probe", command).succeed()?;
    Ok(place::target().join("debug/kernel-probe"))
}

/// The kernel that runs this.
fn native(probe: &Path) -> Result<Report> {
    let done = Step::new("kernel-probe on this kernel", Command::new(probe)).finish()?;
    if !done.status.success() {
        done.print_tail();
    }
    let mut report = Report::parse(&done.output);
    report.kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
    report.status = done.status.code();
    Ok(report)
}

/// Debian's kernels, all at once: each runs on little more than one CPU.
fn booted(probe: &Path) -> Result<Vec<Report>> {
    let mut steps = Vec::new();
    for series in SERIES {
        let kernel = kernel(series)?;
        let archive = place::target().join(format!("{series}.cpio"));
        initramfs::write(&kernel.modules, probe, &archive)?;
        steps.push(Step::new(format!("kernel-probe on {series}"), qemu(&kernel, &archive)));
    }
    let all = Step::finish_all("kernel-probe on Debian's kernels under QEMU", steps)?;
    let report = |(done, series): (&Done, &&str)| {
        let mut report = Report::parse(&done.output);
        if report.kernel.is_empty() {
            report.kernel = (*series).to_owned();
        }
        if !report.fine() {
            done.print_tail();
        }
        report
    };
    Ok(all.iter().zip(SERIES).map(report).collect())
}

fn qemu(kernel: &Kernel, archive: &Path) -> Command {
    let mut command = Command::new("timeout");
    command
        .arg(BOOT_SECONDS.to_string())
        .args(["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max"])
        .args(["-smp", "2", "-m", "1536", "-nographic", "-no-reboot", "-nic", "none"])
        .args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(archive);
    command
}

/// The newest kernel of a series, from the cache or from Debian.
fn kernel(series: &str) -> Result<Kernel> {
    let dir = place::kernels().join(series);
    if let Some(kernel) = unpacked(&dir)? {
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
    download.args(["-o", "APT::Sandbox::User=root", "download", &package]).current_dir(&fresh);
    Step::new(format!("download {package}"), download).succeed()?;
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
    unpacked(&dir)?.with_context(|| format!("{package} holds no kernel"))
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

fn unpacked(dir: &Path) -> Result<Option<Kernel>> {
    let Ok(entries) = fs::read_dir(dir.join("boot")) else { return Ok(None) };
    for entry in entries {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")) {
            return Ok(Some(Kernel { image: path, modules: dir.join("lib/modules") }));
        }
    }
    Ok(None)
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
