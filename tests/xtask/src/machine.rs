//! A virtual machine under QEMU, without hardware help: one of Debian's kernels, a system of
//! Debian's packages, and programs of ours that it runs one after the other before it ends.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    disk, guest,
    initramfs::{self, For},
    kernel::Kernel,
    outcome::Outcome,
    place,
    step::Step,
};

/// How much longer everything may take in there: what the tests call their slack. A program runs
/// ten to twenty times as long as on the processor itself, the verifier a little longer still.
const SLACK: u32 = 15;
/// Where the Linux guest of a machine is, inside.
const LINUX: &str = "/linux";
/// Memory of a machine, MiB.
const MEMORY_MIB: u32 = 2560;

/// A program to run inside, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// What the report calls it.
    pub name: String,
    /// The program.
    pub executable: PathBuf,
    /// Where it runs; all that is in there is there inside too.
    pub directory: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// When it is ended, seconds.
    pub seconds: u32,
}

/// What came of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// Its name.
    pub name: String,
    /// All that it printed.
    pub output: String,
    /// Its exit status; none if the machine ended first.
    pub status: Option<i32>,
    /// How long it ran, seconds.
    pub seconds: f64,
}

impl Done {
    /// What the test harness said.
    pub fn outcome(&self) -> Outcome {
        Outcome::of_harness(&self.output, self.status == Some(0))
    }

    /// What it printed from its first failure on.
    pub fn failures(&self) -> &str {
        let from = self.output.find("\nfailures:\n").unwrap_or(0);
        &self.output[from..]
    }
}

/// All that a machine's console showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// `uname -r`; empty if it never came that far.
    pub kernel: String,
    /// Errands in their order.
    pub done: Vec<Done>,
    /// Lines in which the kernel complained about itself.
    pub complaints: Vec<String>,
}

/// The disk with the programs. The same for all kernels.
pub fn programs(
    errands: &[Errand],
    others: &[&Path],
    guest: Option<&Kernel>,
    image: &Path,
) -> Result<()> {
    let tree = disk::fresh(&image.with_extension("tree"))?;
    if let Some(kernel) = guest {
        linux(kernel, &tree.join(LINUX.trim_start_matches('/')))?;
    }
    let executables = errands.iter().map(|errand| errand.executable.as_path());
    for executable in executables.chain(others.iter().copied()) {
        let to = inside(&tree, executable)?;
        if to.exists() {
            continue;
        }
        // Symbols for a debugger are nine tenths of a program.
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(&to).arg(executable);
        Step::quietly(strip)?;
    }
    let data = errands.iter().map(|errand| errand.directory.clone());
    for directory in data.chain([place::root().join("policies")]) {
        let to = inside(&tree, &directory)?;
        if !to.exists() {
            let mut copy = Command::new("cp");
            copy.arg("-r").arg(&directory).arg(&to);
            Step::quietly(copy)?;
        }
    }
    let script = tree.join("inside");
    fs::write(&script, self::script(errands))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    disk::pack(&tree, image)
}

/// What a guest with this kernel is made of.
fn linux(kernel: &Kernel, directory: &Path) -> Result<()> {
    guest::write(kernel, For::Guest, directory)?;
    guest::copy(&place::root().join("tests/lab/linux/serve"), &directory.join("serve"))
}

/// The same place below `tree`, its directory made.
fn inside(tree: &Path, path: &Path) -> Result<PathBuf> {
    let to = tree.join(path.strip_prefix("/").unwrap_or(path));
    let parent = to.parent().context("a file lies in a directory")?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    Ok(to)
}

/// What the machine does: mounts what every Debian has mounted, loads what udev would have
/// loaded, and runs the errands.
fn script(errands: &[Errand]) -> String {
    let mut text = format!(
        r#"#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs tmp /tmp
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
for n in 0:stdin 1:stdout 2:stderr; do ln -s /proc/self/fd/${{n%:*}} /dev/${{n#*:}}; done
ln -s /proc/self/fd /dev/fd
modprobe tun
# The simulated processor has AMD's SVM: guests of our own run inside.
modprobe -q kvm-amd
export PORTCULLIS_TEST_LINUX={LINUX}
ip link set lo up
export PORTCULLIS_TEST_SLACK={SLACK}
echo
echo "kernel $(uname -r)"
errand() {{
    name=$1 seconds=$2
    cd "$3"
    shift 3
    echo "errand $name"
    begin=${{EPOCHREALTIME/./}}
    CARGO_MANIFEST_DIR=$PWD timeout -k 10 $seconds "$@" </dev/null 2>&1
    echo "errand exit $? $(( (${{EPOCHREALTIME/./}} - begin) / 1000 ))"
}}
"#
    );
    for errand in errands {
        let words = [errand.name.clone(), errand.seconds.to_string()]
            .into_iter()
            .chain([errand.directory.display().to_string()])
            .chain([errand.executable.display().to_string()])
            .chain(errand.arguments.iter().cloned());
        let quoted: Vec<String> = words.map(|word| format!("'{word}'")).collect();
        text.push_str(&format!("errand {}\n", quoted.join(" ")));
    }
    text.push_str("dmesg | sed 's/^/dmesg /'\nbusybox poweroff -f\n");
    text
}

/// A machine to be run as a step.
pub fn boot(
    kernel: &Kernel,
    system: &Path,
    programs: &Path,
    title: String,
    seconds: u32,
) -> Result<Step> {
    let archive = place::target().join(format!("{}.cpio", kernel.series));
    initramfs::write(&kernel.modules, &archive, For::Machine)?;
    let disk = |image: &Path| format!("file={},if=virtio,format=raw,readonly=on", image.display());
    let mut command = Command::new("timeout");
    command
        .arg(seconds.to_string())
        .args(["qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"])
        .args(["-smp", "2", "-m", &MEMORY_MIB.to_string()])
        .args(["-nographic", "-no-reboot", "-nic", "none"])
        .args(["-append", "console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off"])
        .args(["-drive", &disk(system), "-drive", &disk(programs)])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(&archive);
    Ok(Step::new(title, command))
}

/// Lines of the kernel's log that nothing of ours may cause.
const COMPLAINTS: &[&str] =
    &["WARNING: ", "BUG: ", "Oops: ", "general protection fault", "KASAN", "unregister_netdevice"];

impl Report {
    /// Reads a console.
    pub fn parse(console: &str) -> Self {
        let mut report = Self::default();
        let mut running: Option<Done> = None;
        for line in console.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match (&mut running, &words[..]) {
                (Some(_), ["errand", "exit", status, milliseconds]) => {
                    let mut done = running.take().unwrap_or_default();
                    done.status = status.parse().ok();
                    done.seconds = milliseconds.parse().unwrap_or(0.0) / 1000.0;
                    report.done.push(done);
                }
                (Some(done), _) => {
                    done.output.push_str(line.trim_end());
                    done.output.push('\n');
                }
                (None, ["errand", ..]) => {
                    let name = words[1..].join(" ");
                    running = Some(Done { name, ..Done::default() });
                }
                (None, ["kernel", release]) => report.kernel = (*release).to_owned(),
                (None, ["dmesg", ..]) if COMPLAINTS.iter().any(|word| line.contains(word)) => {
                    report.complaints.push(words[1..].join(" "));
                }
                (None, _) => {}
            }
        }
        report.done.extend(running);
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "SeaBIOS\r\nkernel 6.1.0-56-cloud-amd64\r\nerrand portcullis-lab ends\r\n\
        kernel 7\r\ntest result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out\r\n\
        errand exit 0 61250\r\nerrand next one\r\nrunning 4 tests\r\n";

    #[test]
    fn a_console_is_read() {
        let report = Report::parse(CONSOLE);
        assert_eq!(report.kernel, "6.1.0-56-cloud-amd64");
        let [first, second] = &report.done[..] else { panic!("{report:?}") };
        assert_eq!((first.name.as_str(), first.seconds), ("portcullis-lab ends", 61.25));
        assert_eq!(first.outcome(), Outcome { passed: 3, failed: 0, skipped: 0 });
        // The machine's time was up.
        assert_eq!((second.name.as_str(), second.status), ("next one", None));
        assert_eq!(second.outcome().failed, 1);
    }

    #[test]
    fn the_kernels_own_trouble_is_told() {
        let text = "dmesg [    1.2] WARNING: CPU: 0 PID: 1 at net/core/dev.c:1\ndmesg [ 2] fine\n";
        assert_eq!(Report::parse(text).complaints.len(), 1);
    }

    #[test]
    fn a_script_names_its_errands() {
        let errand = Errand {
            name: "portcullis-lab ends".into(),
            executable: "/t/debug/deps/ends-1".into(),
            directory: "/w/tests/lab".into(),
            arguments: vec!["--exact".into(), "one::test".into()],
            seconds: 60,
        };
        let line = "errand 'portcullis-lab ends' '60' '/w/tests/lab' '/t/debug/deps/ends-1' \
                    '--exact' 'one::test'\n";
        assert!(script(&[errand]).contains(line));
    }
}
