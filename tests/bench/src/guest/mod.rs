//! Guests in our own monitor: how long one takes to its first words, over what a kernel of one
//! instruction takes (which is KVM and the process), and what each costs beside its own memory.

mod memory;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context, bail};
use clap::Args;
use nix::fcntl::{F_SETFD, FdFlag, fcntl};
use portcullis_lab::tiny;

use crate::{error::Error, netns::Namespace, stats::Spread, table::Table, tap::Tap};

/// What a guest may cost beside its own memory, MiB.
const OVERHEAD_MIB: f64 = 10.0;
/// Memory of the kernel of one instruction, and of the test guest, MiB.
const SMALL_MIB: u32 = 4;

/// What the bench of guests is to do.
#[derive(Args, Debug)]
pub struct Options {
    /// Readings; every number is their median
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// A kernel to boot besides, where KVM runs instructions itself
    #[arg(long, value_name = "FILE", requires = "initrd")]
    kernel: Option<PathBuf>,
    /// Its first file system
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// What its init prints
    #[arg(long, value_name = "TEXT", default_value = "init")]
    mark: String,
    /// Its memory, MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    memory: u32,
}

/// A guest, and what it prints when it is there.
struct Subject<'a> {
    name: &'static str,
    arguments: Vec<String>,
    mark: &'a str,
    memory_mib: u32,
}

/// What was read of one.
struct Reading {
    ms: f64,
    overhead_mib: f64,
}

/// Measures and prints; false where an aim was missed.
pub fn bench(options: &Options) -> anyhow::Result<bool> {
    if !Path::new("/dev/kvm").exists() {
        bail!("there is no /dev/kvm: switch virtualisation on");
    }
    let directory = std::env::temp_dir().join(format!("portcullis-bench-{}", std::process::id()));
    fs::create_dir(&directory).context("a directory for a kernel")?;
    let measured = measure(options, &directory);
    fs::remove_dir_all(&directory).context("removing a directory")?;
    let rows = measured?;
    let base = rows.first().map_or(0.0, |(_, ms, _)| ms.median);
    let mut table = Table::new([
        "guest",
        "to its words, ms",
        "at least",
        "over KVM, ms",
        "beside its memory, MiB",
    ]);
    let mut fine = true;
    for (name, ms, overhead) in &rows {
        fine &= overhead.median < OVERHEAD_MIB;
        let over = ms.median - base;
        let cells = [ms.median, ms.min, over, overhead.median].map(|cell| format!("{cell:.1}"));
        table.row([(*name).to_owned()].into_iter().chain(cells));
    }
    println!(
        "{table}\nbeside its memory, a guest may cost {OVERHEAD_MIB} MiB: {}",
        if fine { "held" } else { "MISSED" }
    );
    Ok(fine)
}

fn measure(
    options: &Options,
    directory: &Path,
) -> anyhow::Result<Vec<(&'static str, Spread, Spread)>> {
    let one = directory.join("one");
    let code = [tiny::say("\n"), tiny::FOR_EVER.to_vec()].concat();
    fs::write(&one, tiny::kernel(&code, false)).context("writing a kernel")?;
    let with = |kernel: &Path| vec!["--kernel".to_owned(), kernel.display().to_string()];
    let mut subjects = vec![
        Subject { name: "one instruction", arguments: with(&one), mark: "", memory_mib: SMALL_MIB },
        Subject { name: "test guest", arguments: Vec::new(), mark: "up", memory_mib: SMALL_MIB },
    ];
    if let (Some(kernel), Some(initrd)) = (&options.kernel, &options.initrd) {
        let initrd = ["--initrd".to_owned(), initrd.display().to_string()];
        let quiet = ["--append".to_owned(), "console=ttyS0 quiet".to_owned()];
        let arguments = [with(kernel), initrd.to_vec(), quiet.to_vec()].concat();
        let (mark, memory_mib) = (options.mark.as_str(), options.memory);
        subjects.push(Subject { name: "stock kernel", arguments, mark, memory_mib });
    }
    let space = Namespace::without_ipv6()?;
    let mut rows = Vec::new();
    for subject in &subjects {
        let readings = (0..options.rounds).map(|_| subject.read(&space));
        let readings = readings.collect::<anyhow::Result<Vec<_>>>()?;
        let ms = Spread::of(readings.iter().map(|reading| reading.ms));
        let overhead = Spread::of(readings.iter().map(|reading| reading.overhead_mib));
        rows.push((subject.name, ms.context("readings")?, overhead.context("readings")?));
    }
    Ok(rows)
}

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Subject<'_> {
    fn read(&self, space: &Namespace) -> anyhow::Result<Reading> {
        let tap = Tap::open(space, "guest")?;
        // The monitor inherits it.
        fcntl(tap.queue(), F_SETFD(FdFlag::empty()))
            .map_err(|e| Error::system("handing over a tap", e))?;
        let own = std::env::current_exe().context("the bench's own place")?;
        let program = own.with_file_name("portcullis");
        let mut command = Command::new(&program);
        command.args(["guest", "monitor", "--macs", "02:00:00:00:00:01", "--mtus", "1500"]);
        command.args(["--fds", &tap.queue().as_raw_fd().to_string()]).args(&self.arguments);
        command.args(["--memory", &self.memory_mib.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let started = Instant::now();
        let child = command.spawn().with_context(|| program.display().to_string())?;
        let mut running = Running(child);
        let output = running.0.stdout.take().context("a pipe")?;
        let ms = self.wait(output, started)?;
        let overhead_mib = memory::beside(running.0.id(), self.memory_mib)?;
        Ok(Reading { ms, overhead_mib })
    }

    /// Milliseconds until the line that is waited for.
    fn wait(&self, output: impl Read, started: Instant) -> anyhow::Result<f64> {
        for line in BufReader::new(output).lines() {
            if line.context("reading a console")?.contains(self.mark) {
                return Ok(started.elapsed().as_secs_f64() * 1000.0);
            }
        }
        bail!("{} ended before it printed {:?}", self.name, self.mark)
    }
}
