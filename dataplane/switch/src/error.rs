//! What can go wrong with the switch, and what to do about it.

use std::{fmt, io, path::PathBuf};

use aya::programs::ProgramError;

use crate::{status::Closed, validate::Difference};

/// Result of an operation on the switch.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation on the switch failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something about a network device.
    #[error(transparent)]
    Device(#[from] portcullis_ports::Error),
    /// Something about the other half of the switch.
    #[error(transparent)]
    Peer(#[from] crate::peer::Refused),
    /// A file or directory of the switch.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No BPF file system could be mounted.
    #[error(
        "cannot mount a BPF file system at {}: {source} (run as root, or with \
         CAP_SYS_ADMIN, on a kernel with CONFIG_BPF_SYSCALL)", path.display()
    )]
    Mount {
        /// Mount point.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The BPF file system was mounted, and is no more.
    #[error(
        "the BPF file system at {} was unmounted: the filters hold as long as this daemon lives, \
         and nothing can be changed; shut the guests' ports, then restart the switch \
         (portcullis down, portcullis up)", path.display()
    )]
    Unmounted {
        /// Mount point.
        path: PathBuf,
    },
    /// BPF is not allowed to us.
    #[error(
        "not permitted to {action}: run as root, or give the process CAP_BPF and CAP_NET_ADMIN"
    )]
    NotPermitted {
        /// What was to be done.
        action: String,
    },
    /// A program or its maps did not load.
    #[error("the programs cannot be loaded; whatever ran before still runs: {source}")]
    Load {
        /// What aya or the verifier said.
        source: Chain<aya::EbpfError>,
    },
    /// The embedded object lacks something: the build is broken.
    #[error("the embedded BPF object has no {part}: build the workspace again")]
    Incomplete {
        /// Program or map.
        part: &'static str,
    },
    /// A program call failed.
    #[error("cannot {action}: {source}")]
    Program {
        /// What was to be done.
        action: String,
        /// What the kernel said.
        source: Chain<aya::programs::ProgramError>,
    },
    /// A link call failed.
    #[error("cannot {action}: {source}")]
    Link {
        /// What was to be done.
        action: String,
        /// What the kernel said.
        source: Chain<aya::programs::links::LinkError>,
    },
    /// An object could not be pinned.
    #[error("cannot pin {}: {source}", path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: Chain<aya::pin::PinError>,
    },
    /// A map call failed.
    #[error("cannot {action} the table {map}: {source}")]
    Map {
        /// What was to be done.
        action: &'static str,
        /// Name of the map.
        map: &'static str,
        /// What the kernel said.
        source: Chain<aya::maps::MapError>,
    },
    /// A batch read failed.
    #[error("cannot read the table {map} in one go: {source}")]
    Batch {
        /// Name of the map.
        map: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A pinned map is not what this version expects.
    #[error(
        "the pinned table {map} has {pinned} entries and this version wants {expected}: run \
         `portcullis down`, then `portcullis up`"
    )]
    Layout {
        /// Name of the map.
        map: &'static str,
        /// Entries it has.
        pinned: u32,
        /// Entries it should have.
        expected: u32,
    },
    /// Another version runs, and its tables are laid out in another way.
    #[error(
        "the filters in force have tables of layout {found}, and this version wants {ours}: nothing \
         was changed, and they stay in force. Start the version that made them; or, to change over, \
         run `portcullis down` (which cuts all connections), then `portcullis up`"
    )]
    OtherLayout {
        /// Layout of what runs.
        found: String,
        /// Layout of this version.
        ours: String,
    },
    /// The kernel has neither tcx nor clsact.
    #[error(
        "this kernel attaches no programs to {port}: it needs tcx (Linux 6.6) or the clsact qdisc \
         (CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF): {source}"
    )]
    NoHook {
        /// The interface.
        port: String,
        /// What the kernel said.
        source: Chain<aya::programs::ProgramError>,
    },
    /// The kernel cannot tell when a table is no longer read.
    #[error(
        "the kernel has no membarrier to wait for a grace period ({source}): boot without nohz_full"
    )]
    NoGracePeriod {
        /// What the kernel said.
        source: io::Error,
    },
    /// The image is too large for the tables.
    #[error("the policy has {got} {what}, and {most} fit")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many.
        got: usize,
        /// How many fit.
        most: usize,
    },
    /// What stands in a table is not what was written.
    #[error("the table {map} does not hold what was written at {at}: nothing was changed")]
    ReadBack {
        /// Name of the map.
        map: &'static str,
        /// Which entry.
        at: String,
    },
    /// What was loaded is not what was compiled.
    #[error(
        "what was loaded is not what was compiled, so the generation before stays in force: \
         {difference}"
    )]
    Differs {
        /// Where, and on what.
        difference: Box<Difference>,
    },
    /// A port of that name is attached already.
    #[error("a port called {name} is attached already: detach it first, or choose another name")]
    PortExists {
        /// The name.
        name: String,
    },
    /// A port that is open could not be made ready for the next generation.
    #[error(
        "nothing was changed, because the open port {name} would have been closed by it: {source} \
         (try again; if that does not help, detach the port first)"
    )]
    OpenPort {
        /// The port.
        name: String,
        /// What went wrong with it.
        source: Box<Self>,
    },
    /// No such port.
    #[error("there is no port called {name}{}", near(known))]
    NoSuchPort {
        /// The name.
        name: String,
        /// Names that there are.
        known: Vec<String>,
    },
    /// The port cannot be what was asked for.
    #[error("port {name} cannot be attached: {closed}")]
    Refused {
        /// The port.
        name: String,
        /// Why.
        closed: Closed,
    },
    /// The clock of the packets cannot be read.
    #[error("the kernel's tick rate cannot be measured: {ticks} ticks in {waited_ms} ms")]
    Clock {
        /// Ticks that passed.
        ticks: u64,
        /// Milliseconds that passed.
        waited_ms: u64,
    },
}

fn near(known: &[String]) -> String {
    if known.is_empty() {
        ": no port is attached".into()
    } else {
        format!("; there are {}", known.join(", "))
    }
}

/// An error that shows its causes too: aya's own messages leave them out.
#[derive(Debug)]
pub struct Chain<E>(pub Box<E>);

impl<E: std::error::Error> Chain<E> {
    /// Wraps an error.
    pub fn new(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl<E: std::error::Error> fmt::Display for Chain<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut shown = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !shown.contains(&text) {
                write!(f, ": {text}")?;
            }
            shown = text;
            cause = error.source();
        }
        Ok(())
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Chain<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// Does an error come from a missing privilege, anywhere down its causes? The verifier says EACCES
/// too, of programs that it does not accept.
pub(crate) fn is_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(e) = cause {
        if let Some(ProgramError::LoadError { io_error, .. }) = e.downcast_ref() {
            return io_error.raw_os_error() == Some(libc::EPERM);
        }
        let io = e.downcast_ref::<io::Error>().map(io::Error::kind);
        if io == Some(io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = e.source();
    }
    false
}

impl Error {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { action, path: path.into(), source }
    }

    pub(crate) fn map(
        action: &'static str,
        map: &'static str,
    ) -> impl FnOnce(aya::maps::MapError) -> Self {
        move |source| Self::Map { action, map, source: Chain::new(source) }
    }

    pub(crate) fn program(
        action: impl Into<String>,
    ) -> impl FnOnce(aya::programs::ProgramError) -> Self {
        let action = action.into();
        move |source| match is_refusal(&source) {
            true => Self::NotPermitted { action },
            false => Self::Program { action, source: Chain::new(source) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_shown() {
        let source = io::Error::from_raw_os_error(libc::ENOMEM);
        let error = aya::maps::MapError::CreateError { name: "FLOWS".into(), io_error: source };
        let text = Error::map("create", "FLOWS")(error).to_string();
        assert!(text.contains("FLOWS") && text.contains("annot allocate memory"), "{text}");
    }

    #[test]
    fn a_refusal_is_found_under_its_wrapping() {
        let source = io::Error::from_raw_os_error(libc::EPERM);
        let error = aya::maps::MapError::CreateError { name: "FLOWS".into(), io_error: source };
        assert!(is_refusal(&error));
    }
}
