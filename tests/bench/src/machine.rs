//! The machine that a run was taken on, and how much of it somebody else used meanwhile.

use std::{
    fs,
    time::{Duration, Instant},
};

use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;

use crate::{error::Error, stats::Spread};

/// What a reader must know to judge the numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Kernel release.
    pub kernel: String,
    /// Processor as it names itself.
    pub processor: String,
    /// Online processors.
    pub cores: usize,
    /// Memory, MiB.
    pub memory_mib: u64,
}

impl Machine {
    /// This machine.
    pub fn this() -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let memory_kib = field(&read("/proc/meminfo")?, "MemTotal")
            .and_then(|v| v.strip_suffix(" kB")?.parse().ok());
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            processor: field(&read("/proc/cpuinfo")?, "model name").unwrap_or("unknown").to_owned(),
            cores,
            memory_mib: memory_kib.unwrap_or(0u64) / 1024,
        })
    }
}

/// Memory in the kernel's slabs, bytes.
pub fn slab_bytes() -> Result<u64, Error> {
    let text = read("/proc/meminfo")?;
    let kib = field(&text, "Slab").and_then(|v| v.strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| Error::system("Slab in /proc/meminfo", std::io::ErrorKind::NotFound))
}

fn read(path: &str) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|e| Error::system(path, e))
}

/// The value of the first line `name: value`.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

/// Watches how many cores programs that are not ours keep busy.
#[derive(Debug)]
pub struct Others {
    last: Moment,
    cores: Vec<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    busy: Duration,
    ours: Duration,
}

impl Others {
    /// Starts watching.
    pub fn watch() -> Result<Self, Error> {
        Ok(Self { last: Moment::now()?, cores: Vec::new() })
    }

    /// Ends one stretch and begins the next.
    pub fn mark(&mut self) -> Result<(), Error> {
        let now = Moment::now()?;
        let wall = now.at.duration_since(self.last.at).as_secs_f64();
        // /proc/stat counts hundredths of a second: shorter stretches say nothing.
        if wall < 0.5 {
            return Ok(());
        }
        let busy = now.busy.saturating_sub(self.last.busy).as_secs_f64();
        let ours = now.ours.saturating_sub(self.last.ours).as_secs_f64();
        self.cores.push(((busy - ours) / wall).max(0.0));
        self.last = now;
        Ok(())
    }

    /// Cores that others kept busy, over all stretches.
    pub fn cores(&self) -> Option<Spread> {
        Spread::of(self.cores.iter().copied())
    }
}

impl Moment {
    fn now() -> Result<Self, Error> {
        let stat = read("/proc/stat")?;
        let mut ours = Duration::ZERO;
        for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
            let usage = getrusage(who).map_err(|e| Error::system("getrusage", e))?;
            for time in [usage.user_time(), usage.system_time()] {
                ours += Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()) as u64);
            }
        }
        Ok(Self { at: Instant::now(), busy: busy_time(&stat), ours })
    }
}

/// User, nice, system, irq and softirq time of all processors (proc(5)).
fn busy_time(stat: &str) -> Duration {
    const TICK_MS: u64 = 10;
    let numbers: Vec<u64> = stat
        .lines()
        .next()
        .into_iter()
        .flat_map(|line| line.split_whitespace().skip(1))
        .filter_map(|word| word.parse().ok())
        .collect();
    let ticks: u64 = [0, 1, 2, 5, 6].iter().filter_map(|&i| numbers.get(i)).sum();
    Duration::from_millis(ticks * TICK_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_iowait_and_steal_are_not_busy() {
        let stat = "cpu  100 10 50 9000 800 5 5 70 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_time(stat), Duration::from_millis(1700));
        assert_eq!(busy_time(""), Duration::ZERO);
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        assert_eq!(field("model: 3\nmodel name\t: A B\n", "model name"), Some("A B"));
        assert_eq!(field("x: 1\n", "y"), None);
    }

    #[test]
    fn this_machine_has_a_kernel_and_a_core() {
        let machine = Machine::this().unwrap();
        assert!(machine.cores >= 1 && machine.memory_mib > 0 && !machine.kernel.is_empty());
    }
}
