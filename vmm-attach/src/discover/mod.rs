//! Guests of this host that somebody else runs: monitors, what they have plugged in where, and
//! interfaces behind which a guest may be.
//!
//! Only the calling process's network namespace is looked at, and `/proc` is only read.

mod interface;
mod monitor;
mod options;
mod process;

pub use self::{
    interface::{At, Interface, interfaces},
    monitor::{Backend, Machine, Monitor, Nic},
};

use self::process::Process;

/// All running monitors, and others that hold a tap.
pub fn machines() -> Vec<Machine> {
    process::all().iter().filter_map(machine).collect()
}

/// What runs in a process, if it is a monitor or holds a tap.
fn machine(process: &Process) -> Option<Machine> {
    let mut machine = match Monitor::of(&process.program) {
        Some(monitor) => {
            monitor.read(&process.arguments, &|path| std::fs::read_to_string(path).ok())
        }
        None if process.taps.is_empty() => return None,
        None => Machine::of(Monitor::Other { program: process.program.clone() }),
    };
    machine.pid = process.pid;
    machine.settle(&process.taps);
    Some(machine)
}
