//! Processes of this network namespace, with the taps that they hold (proc(5); tun(4) shows the name
//! of a queue's tap as `iff` in `fdinfo`).

use std::{
    fs,
    os::fd::RawFd,
    path::{Path, PathBuf},
};

const PROC: &str = "/proc";
const TUN: &str = "/dev/net/tun";

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Name of the file that it runs.
    pub program: String,
    /// Its arguments, the program left out.
    pub arguments: Vec<String>,
    /// Its descriptors that are queues of taps, with the tap's name.
    pub taps: Vec<(RawFd, String)>,
}

/// All that can be looked at. What ends meanwhile is left out.
pub fn all() -> Vec<Process> {
    let own = fs::read_link("/proc/thread-self/ns/net").ok();
    let Ok(entries) = fs::read_dir(PROC) else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut all: Vec<Process> = pids.filter_map(|pid| look(pid, own.as_deref())).collect();
    all.sort_by_key(|process| process.pid);
    all
}

fn look(pid: u32, namespace: Option<&Path>) -> Option<Process> {
    let folder = Path::new(PROC).join(pid.to_string());
    if fs::read_link(folder.join("ns/net")).ok().as_deref() != namespace {
        return None;
    }
    let line = fs::read(folder.join("cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word));
    let named = words.next().filter(|word| !word.is_empty())?.into_owned();
    let arguments = words.map(std::borrow::Cow::into_owned).collect();
    // A script's interpreter, or a link to another file, says less than the file that runs.
    let program = fs::read_link(folder.join("exe")).unwrap_or_else(|_| PathBuf::from(named));
    let program = program.file_name()?.to_string_lossy().into_owned();
    Some(Process { pid, program, arguments, taps: taps(&folder) })
}

fn taps(folder: &Path) -> Vec<(RawFd, String)> {
    let Ok(entries) = fs::read_dir(folder.join("fd")) else { return Vec::new() };
    let tap = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse::<RawFd>().ok()?;
        fs::read_link(entry.path()).ok().filter(|file| file == Path::new(TUN))?;
        let info = fs::read_to_string(folder.join(format!("fdinfo/{number}"))).ok()?;
        Some((number, interface(&info)?))
    };
    let mut taps: Vec<_> = entries.filter_map(|entry| tap(entry.ok()?)).collect();
    taps.sort_unstable();
    taps
}

/// The name in a tap's `fdinfo`.
fn interface(info: &str) -> Option<String> {
    let name = info.lines().find_map(|line| line.strip_prefix("iff:"))?.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_there() {
        let own = std::process::id();
        let found = all().into_iter().find(|process| process.pid == own).unwrap();
        assert!(found.program.contains("vmm_attach") && found.taps.is_empty(), "{found:?}");
    }

    #[test]
    fn a_taps_name_stands_in_fdinfo() {
        assert_eq!(interface("pos:\t0\nflags:\t0104002\niff:\tweb1\n").as_deref(), Some("web1"));
        assert_eq!(interface("pos:\t0\niff:\t\n"), None);
        assert_eq!(interface("pos:\t0\n"), None);
    }
}
