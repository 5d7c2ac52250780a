//! Waiting until no packet is on its way with an old pointer into the tables.

use std::{fs, sync::mpsc, thread, time::Duration};

use rustix::{
    io::Errno,
    thread::{CpuSet, MembarrierCommand, membarrier, sched_getcpu, sched_setaffinity},
};

use crate::error::{Error, Result};

/// Where the kernel lists the processors that run.
const ONLINE: &str = "/sys/devices/system/cpu/online";
/// Says 1 where bottom halves can be preempted.
const REAL_TIME: &str = "/sys/kernel/realtime";
/// How long the visits may take. Where somebody keeps a processor from us, RCU knows better.
const VISIT_MAX: Duration = Duration::from_millis(50);

/// Returns when every packet that was being judged at the call is through.
///
/// The filters run with bottom halves disabled, which ends before the processor runs any thread
/// again: so a processor on which a thread of ours has run since is through with what it had begun.
/// To visit them all takes a tenth of a millisecond, a grace period of RCU 5 to 17. Where that
/// cannot be done, and on a real-time kernel, whose bottom halves are preempted, it is
/// MEMBARRIER_CMD_GLOBAL, which is `synchronize_rcu()` (membarrier(2)).
pub fn wait() -> Result<()> {
    if visit_all() {
        return Ok(());
    }
    loop {
        match membarrier(MembarrierCommand::Global) {
            Err(Errno::INTR) => {}
            other => return other.map_err(|e| Error::NoGracePeriod { source: e.into() }),
        }
    }
}

/// Has a thread of ours run on every processor? By a thread of its own: the caller stays where it
/// may run.
fn visit_all() -> bool {
    let preempted = fs::read_to_string(REAL_TIME).is_ok_and(|word| word.trim() != "0");
    let online = fs::read_to_string(ONLINE).ok().and_then(|list| processors(list.trim()));
    let Some(online) = online.filter(|_| !preempted) else { return false };
    let (tell, told) = mpsc::channel();
    let visits = move || {
        // Nobody may be waiting any more.
        let _ = tell.send(online.into_iter().all(visit));
    };
    let visitor = thread::Builder::new().name("grace".to_owned()).spawn(visits);
    visitor.is_ok() && told.recv_timeout(VISIT_MAX) == Ok(true)
}

/// Moves the calling thread to a processor: when the call returns, it runs there.
fn visit(processor: usize) -> bool {
    let mut only = CpuSet::new();
    if processor >= CpuSet::MAX_CPU {
        return false;
    }
    only.set(processor);
    sched_setaffinity(None, &only).is_ok() && sched_getcpu() == processor
}

/// Numbers in the kernel's notation: `0-3,6`.
fn processors(list: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        all.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_grace_periods() {
        wait().unwrap();
        membarrier(MembarrierCommand::Global).unwrap();
    }

    #[test]
    fn the_caller_stays_where_it_may_run() {
        let before = rustix::thread::sched_getaffinity(None).unwrap();
        wait().unwrap();
        assert_eq!(rustix::thread::sched_getaffinity(None).unwrap(), before);
    }

    #[test]
    fn processors_are_listed() {
        assert_eq!(processors("0"), Some(vec![0]));
        assert_eq!(processors("0-2,5,7-8"), Some(vec![0, 1, 2, 5, 7, 8]));
        assert_eq!((processors(""), processors("0-"), processors("x")), (None, None, None));
    }
}
