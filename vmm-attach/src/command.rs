//! A command that inherits the queues of a tap.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use rustix::io::{FdFlags, fcntl_setfd};

use crate::error::{Error, Result};

/// Environment variable with the inherited fds, separated by commas.
pub const FDS_VARIABLE: &str = "PORTCULLIS_TAP_FDS";

/// Stands for the inherited fds in an argument, separated by colons as QEMU's `fds=` wants them.
const FDS: &str = "{fds}";

/// The command of `line` (program and arguments), which will inherit `queues`: their numbers
/// stand in [`FDS_VARIABLE`] and replace `{fds}` in its arguments. The queues must live until it
/// is started.
///
/// From here on, any other process started meanwhile inherits them too: call it in a process
/// that starts nothing else.
pub fn inherit(line: &[OsString], queues: &[OwnedFd]) -> Result<Command> {
    let (program, arguments) = line.split_first().ok_or(Error::NoCommand)?;
    for queue in queues {
        fcntl_setfd(queue, FdFlags::empty()).map_err(|e| Error::Inherit { source: e.into() })?;
    }
    let mut command = Command::new(program);
    command
        .args(arguments.iter().map(|a| fill(a, &numbers(queues, ":"))))
        .env(FDS_VARIABLE, numbers(queues, ","));
    Ok(command)
}

/// Becomes the command of `line`: returns only if that fails.
pub fn become_command(line: &[OsString], queues: &[OwnedFd]) -> Error {
    match inherit(line, queues) {
        Ok(mut command) => {
            let program = command.get_program().to_string_lossy().into_owned();
            Error::Start { program, source: command.exec() }
        }
        Err(e) => e,
    }
}

fn numbers(queues: &[OwnedFd], separator: &str) -> String {
    queues.iter().map(|q| q.as_raw_fd().to_string()).collect::<Vec<_>>().join(separator)
}

/// Arguments that are not text stay as they are.
fn fill(argument: &OsStr, fds: &str) -> OsString {
    argument.to_str().map_or_else(|| argument.to_owned(), |text| text.replace(FDS, fds).into())
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read};

    use super::*;

    fn line(words: &[&str]) -> Vec<OsString> {
        words.iter().map(Into::into).collect()
    }

    #[test]
    fn a_command_inherits_the_queues_and_is_told() {
        let (mut read, write) = std::io::pipe().unwrap();
        let queues = [OwnedFd::from(write)];
        let script = "echo \"through $PORTCULLIS_TAP_FDS\" >&{fds}";
        let status = inherit(&line(&["sh", "-c", script]), &queues).unwrap().status().unwrap();
        let number = queues[0].as_raw_fd();
        drop(queues);
        assert!(status.success());
        let mut got = String::new();
        read.read_to_string(&mut got).unwrap();
        assert_eq!(got, format!("through {number}\n"));
    }

    #[test]
    fn several_queues_are_listed() {
        let queues: Vec<OwnedFd> =
            (0..2).map(|_| File::open("/dev/null").unwrap().into()).collect();
        let command = inherit(&line(&["vmm", "-netdev", "tap,fds={fds}"]), &queues).unwrap();
        let (a, b) = (queues[0].as_raw_fd(), queues[1].as_raw_fd());
        let arguments: Vec<&OsStr> = command.get_args().collect();
        assert_eq!(arguments[1], OsStr::new(&format!("tap,fds={a}:{b}")));
    }

    #[test]
    fn a_command_that_is_not_there_is_named() {
        let error = become_command(&line(&["/no/such/vmm"]), &[]);
        assert!(error.to_string().contains("/no/such/vmm"), "{error}");
        assert!(matches!(become_command(&[], &[]), Error::NoCommand));
    }
}
