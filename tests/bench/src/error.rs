//! What can stop a bench.

use std::io;

/// Why a measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tool that a peer needs is not installed.
    #[error("`{program}` cannot be started ({cause}); install the Debian package `{package}`")]
    MissingTool {
        /// The program.
        program: &'static str,
        /// Debian package that has it.
        package: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// A tool failed.
    #[error("`{command}` ended with {status}: {stderr}")]
    Command {
        /// Its command line.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it printed to standard error.
        stderr: String,
    },
    /// A system call failed.
    #[error("{what}: {cause}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The verifier refused a program.
    #[error("the kernel refused the program `{program}` ({cause}): {log}")]
    Verifier {
        /// The program.
        program: &'static str,
        /// What the system said.
        cause: io::Error,
        /// The verifier's words.
        log: String,
    },
    /// A path does not forward what it must forward.
    #[error("{what}: {received} of {sent} frames arrived")]
    Lost {
        /// Which frames.
        what: &'static str,
        /// Frames written.
        sent: u64,
        /// Frames read at the other end.
        received: u64,
    },
    /// A rule is logged and nobody heard of it.
    #[error("no event came from a rule that is logged")]
    Silent,
    /// A filter lets pass what its rules do not allow.
    #[error("{received} of {sent} frames arrived that no rule allows")]
    Leaked {
        /// Frames written.
        sent: u64,
        /// Frames read at the other end.
        received: u64,
    },
    /// A program under test answered something else than it must.
    #[error("{what} got the verdict {verdict} instead of {expected} (TC_ACT_*)")]
    Verdict {
        /// What the frame was.
        what: &'static str,
        /// The right verdict.
        expected: u32,
        /// What it was.
        verdict: u32,
    },
    /// iperf3's report has no throughput.
    #[error("iperf3 reported no throughput: {report}")]
    Iperf {
        /// The first part of its report.
        report: String,
    },
    /// The yardstick programs cannot be used.
    #[error(transparent)]
    Yardstick(#[from] crate::yardstick::YardstickError),
    /// The policy of a bench does not compile.
    #[error("the bench's policy does not compile:\n{text}")]
    Policy {
        /// The compiler's words.
        text: String,
    },
    /// The switch failed.
    #[error(transparent)]
    Switch(#[from] portcullis_switch::Error),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted; everything that was made is removed")]
    Interrupted,
}

impl Error {
    /// A failed system call.
    pub fn system(what: impl Into<String>, cause: impl Into<io::Error>) -> Self {
        Self::System { what: what.into(), cause: cause.into() }
    }
}
