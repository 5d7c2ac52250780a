//! What only another process can tell: the most memory that a compile takes, and how long a whole
//! command does.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, bail};
use portcullis_policy::{Sources, compile};

/// Compiles a file and gives back the most memory this process ever had, KiB.
pub fn compile_once(file: &Path) -> anyhow::Result<u64> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let compiled = compile(&Sources::new([("bench.yaml", text)]))?;
    // What the image holds is part of what was asked for.
    if compiled.image.rules.is_empty() {
        bail!("the policy has no rules");
    }
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
    line.trim().trim_end_matches("kB").trim().parse().context("VmHWM")
}

/// The most memory that a process needs to compile a file, MiB.
pub fn peak_mib(file: &Path) -> anyhow::Result<f64> {
    let this = env::current_exe().context("finding the bench itself")?;
    let output = Command::new(this).args(["policy", "--once"]).arg(file).output()?;
    if !output.status.success() {
        bail!("compiling once: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let kib: f64 = String::from_utf8_lossy(&output.stdout).trim().parse()?;
    Ok(kib / 1024.0)
}

/// How long `portcullis check FILE` takes, from its start to its end, ms.
pub fn check_ms(command: &Path, file: &Path) -> anyhow::Result<f64> {
    let started = Instant::now();
    let status = Command::new(command)
        .arg("check")
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| command.display().to_string())?;
    let took = started.elapsed();
    if !status.success() {
        bail!("`portcullis check` refused the policy of the bench: {status}");
    }
    Ok(took.as_secs_f64() * 1e3)
}

/// The command, built beside the bench.
pub fn command() -> anyhow::Result<PathBuf> {
    let this = env::current_exe().context("finding the bench itself")?;
    let command = this.with_file_name("portcullis");
    if !command.exists() {
        bail!(
            "{} is missing: `cargo xtask bench` builds it for this part, or `cargo build --release -p \
             portcullis`",
            command.display()
        );
    }
    Ok(command)
}
