//! Everything a command can fail with: a sentence, a word for programs, and what to do.

use std::{io, path::PathBuf};

use portcullis_policy::{include::LoadError, matrix::TooManyRows};

use crate::{
    api::{Failure, Refused, code},
    wire::WireError,
};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A policy file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: LoadError,
    },
    /// One of several policies does not hold: which.
    #[error("{side} ({name}) does not hold:\n{}", refused.rendered)]
    RefusedSide {
        /// `OLD` or `NEW`.
        side: &'static str,
        /// What it was called.
        name: String,
        /// What is wrong with it.
        refused: Box<Refused>,
    },
    /// More rows than somebody could read.
    #[error("{source}")]
    Matrix {
        /// How many.
        #[from]
        source: TooManyRows,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder without policy files.
    #[error("{} contains no *.yaml file", path.display())]
    NoFiles {
        /// The folder.
        path: PathBuf,
    },
    /// A policy that does not hold.
    #[error("{}", refused.rendered)]
    Refused {
        /// What is wrong with it.
        refused: Box<Refused>,
    },
    /// The question about the policy has no answer.
    #[error("{message}")]
    Question {
        /// Why.
        message: String,
    },
    /// `explain` without a file, and no policy is applied.
    #[error("no policy is applied, and no FILE was given")]
    NoPolicy,
    /// Nobody listens at the socket.
    #[error("no daemon is running in {}", run_dir.display())]
    NoDaemon {
        /// The run directory.
        run_dir: PathBuf,
    },
    /// The socket exists, but is not for this user.
    #[error("not permitted to use {}", socket.display())]
    SocketDenied {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket is there, but talking over it fails.
    #[error("the daemon's socket {} failed: {source}", socket.display())]
    Socket {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The other side said something odd.
    #[error("the daemon cannot be understood: {source}")]
    Wire {
        /// What was wrong with it.
        #[from]
        source: WireError,
    },
    /// An answer to another question.
    #[error("the daemon answered another question")]
    WrongAnswer,
    /// The daemon did not say that it is ready.
    #[error("the daemon did not become ready within {seconds} s")]
    NotReady {
        /// How long it was waited for.
        seconds: u64,
        /// Where it writes its log.
        log: PathBuf,
    },
    /// The daemon ended before it was ready and did not say why.
    #[error("the daemon ended before it was ready")]
    Died {
        /// Where it wrote its log.
        log: PathBuf,
    },
    /// A daemon is running, with other settings.
    #[error("a daemon is running already (process {pid}) with other settings: {difference}")]
    OtherSettings {
        /// Its process.
        pid: u32,
        /// What differs.
        difference: String,
    },
    /// Another daemon holds the lock of this run directory.
    #[error("another daemon holds {}", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Its process, if it said so.
        pid: Option<u32>,
    },
    /// The run directory is not ours alone.
    #[error("{} belongs to user {owner} with mode {mode:03o}: others could replace the socket", path.display())]
    UnsafeDir {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// A user that does not exist.
    #[error("there is no user {user:?}")]
    NoSuchUser {
        /// Its name.
        user: String,
    },
    /// A group that does not exist.
    #[error("there is no group {group:?}")]
    NoSuchGroup {
        /// Its name.
        group: String,
    },
    /// A folder, socket or process of the daemon cannot be made.
    #[error("cannot {action} {}: {source}", path.display())]
    Setup {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A guest that is to run is not in the policy.
    #[error("the policy in force knows no guest {name}")]
    NoSuchGuest {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        near: Option<String>,
    },
    /// A guest that is to run has a port already.
    #[error("{guest} has port {port} in network {network} already: it runs elsewhere")]
    GuestRuns {
        /// The guest.
        guest: String,
        /// The network.
        network: String,
        /// The port.
        port: String,
    },
    /// A guest has several NICs, and none was named.
    #[error("{guest} has NICs in several networks: {}", networks.join(", "))]
    WhichNic {
        /// The guest.
        guest: String,
        /// Networks of its NICs.
        networks: Vec<String>,
    },
    /// A guest's port is of another kind than its monitor can open.
    #[error("{guest} has port {port} already, which is no tap but a {kind}")]
    NoTap {
        /// The guest.
        guest: String,
        /// The port.
        port: String,
        /// Its kind.
        kind: String,
    },
    /// A guest that is to do something is not there.
    #[error("no guest {guest} of `portcullis guest run` runs on this host")]
    GuestDoesNotRun {
        /// The guest.
        guest: String,
    },
    /// What libvirt says of a domain cannot be read.
    #[error("what libvirt says of {name} cannot be used: {why}")]
    BadDomain {
        /// The domain.
        name: String,
        /// Why.
        why: String,
    },
    /// A domain that cannot be looked at without a policy.
    #[error("{name} does not start: no policy is in force that says what its MACs are")]
    NoPolicyYet {
        /// The domain.
        name: String,
    },
    /// A MAC that belongs to another guest.
    #[error("{name} does not start: its MAC {mac} is {owner}'s")]
    ForeignMac {
        /// The domain.
        name: String,
        /// The MAC.
        mac: String,
        /// The guest that the policy gives it to.
        owner: String,
    },
    /// A MAC that the policy does not give to this guest.
    #[error("{name} does not start: the policy gives it {}, and not {mac}", macs.join(" and "))]
    OtherMac {
        /// The domain.
        name: String,
        /// The MAC.
        mac: String,
        /// Those that it has.
        macs: Vec<String>,
    },
    /// An interface whose device has no name.
    #[error("{name} does not start: its interface with MAC {mac} has no <target dev='...'/>")]
    NoTarget {
        /// The domain.
        name: String,
        /// The MAC.
        mac: String,
    },
    /// The process of a guest's monitor.
    #[error("cannot {action} the guest's monitor: {source}")]
    Monitor {
        /// What was tried.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A guest cannot be made, or cannot go on.
    #[error(transparent)]
    Guest(#[from] portcullis_vmm::Error),
    /// The network namespace for a port does not exist.
    #[error("there is no network namespace {}", path.display())]
    NoSuchNamespace {
        /// Its path.
        path: PathBuf,
        /// Which one was probably meant.
        near: Option<String>,
    },
    /// A tap that cannot be handed over.
    #[error("{port} was not handed over: {source}")]
    HandOver {
        /// The tap.
        port: String,
        /// Why.
        source: Box<vmm_attach::Error>,
    },
    /// The host's interfaces cannot be looked at.
    #[error("the host's interfaces cannot be looked at: {source}")]
    Look {
        /// Why.
        source: vmm_attach::Error,
    },
    /// The engine of vhost-user ports does not run.
    #[error(transparent)]
    Engine(portcullis_vhost_user::engine::Error),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
    /// The daemon, or the switch, refused.
    #[error("{}", .0.message)]
    Failed(Failure),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Refused { refused: Box::new(refused) }
    }
}

impl Error {
    /// A word for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::Read { .. } | Self::NoFiles { .. } => "read",
            Self::Write { .. } => "write",
            Self::Refused { refused } if refused.violated => "violated",
            Self::Refused { .. } | Self::RefusedSide { .. } => "bad-policy",
            Self::Matrix { .. } => "too-large",
            Self::Question { .. } => "bad-question",
            Self::NoPolicy => "no-policy",
            Self::NoDaemon { .. } => "no-daemon",
            Self::SocketDenied { .. } => code::DENIED,
            Self::Socket { .. } | Self::WrongAnswer => "socket",
            Self::Wire { .. } => code::PROTOCOL,
            Self::NotReady { .. } | Self::Died { .. } => "not-ready",
            Self::OtherSettings { .. } => "other-settings",
            Self::Locked { .. } => "locked",
            Self::UnsafeDir { .. } => "unsafe-directory",
            Self::NoSuchUser { .. } => "no-such-user",
            Self::NoSuchGroup { .. } => "no-such-group",
            Self::Setup { .. } => "setup",
            Self::NoSuchNamespace { .. } => "no-such-namespace",
            Self::NoSuchGuest { .. } => "no-such-guest",
            Self::GuestRuns { .. } => "guest-runs",
            Self::BadDomain { .. } | Self::NoTarget { .. } => "bad-domain",
            Self::NoPolicyYet { .. } => "no-policy",
            Self::ForeignMac { .. } | Self::OtherMac { .. } => "not-its-mac",
            Self::WhichNic { .. } => code::WHICH_NETWORK,
            Self::NoTap { .. } => code::PORT_IN_USE,
            Self::GuestDoesNotRun { .. } => "guest-does-not-run",
            Self::Monitor { .. } | Self::Guest(_) => "guest",
            Self::HandOver { .. } => "hand-over",
            Self::Look { .. } => "interfaces",
            Self::Engine(_) => "engine",
            Self::Store(_) => code::STORE,
            Self::Failed(failure) => &failure.code,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NoPolicy => "name the policy's FILE, or apply it first: portcullis apply FILE".into(),
            Self::Matrix { .. } => "ask for less with --by network or --by label".into(),
            Self::NoDaemon { .. } => {
                "start it with: portcullis up (filters that were in force stay in force without it)"
                    .into()
            }
            Self::SocketDenied { .. } => {
                "run as root, or start the daemon with --group and join that group".into()
            }
            Self::Wire { source: WireError::Protocol { .. } } => {
                "daemon and command are of different versions; restart the daemon: its filters stay \
                 in force"
                    .into()
            }
            Self::NotReady { log, .. } | Self::Died { log } => format!("see {}", log.display()),
            Self::OtherSettings { .. } => {
                "stop it with: portcullis down, or leave these options out".into()
            }
            Self::Locked { pid: Some(pid), .. } => {
                format!("process {pid} does not answer; end it, its filters stay in force")
            }
            Self::UnsafeDir { .. } => "choose a directory of your own with --run-dir".into(),
            Self::Setup { source, .. } | Self::Write { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                "run as root, or choose other directories with --run-dir and --state-dir".into()
            }
            Self::NoSuchNamespace { near, .. } | Self::NoSuchGuest { near, .. } => {
                return near.clone();
            }
            Self::NoPolicyYet { .. } => "apply one first: portcullis apply FILE".into(),
            Self::ForeignMac { .. } | Self::OtherMac { .. } => {
                "write the guest's own MAC into the domain (virsh edit), or the domain's into the \
                 policy"
                    .into()
            }
            Self::NoTarget { .. } => "give it one with virsh edit, and managed='no'".into(),
            Self::Guest(error) => return error.advice().map(str::to_owned),
            Self::WhichNic { guest, networks } => {
                format!("name one of them, as in {guest}/{}", networks.first()?)
            }
            Self::NoTap { port, .. } => format!("first: portcullis detach {port}"),
            Self::HandOver { port, source } if source.is_busy() => format!(
                "the guest runs already, or something else holds its tap: end that, or take the \
                 port away with: portcullis detach {port}"
            ),
            Self::GuestRuns { port, .. } => {
                format!("if nobody uses it any more, take it away: portcullis detach {port}")
            }
            Self::Store(portcullis_store::Error::Open { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                "run as root, or choose another directory with --state-dir".into()
            }
            Self::Failed(failure) => return failure.hint.clone(),
            _ => return None,
        };
        Some(text)
    }

    /// As the daemon sends it to a client.
    pub fn to_failure(&self) -> Failure {
        Failure { code: self.code().to_owned(), message: self.to_string(), hint: self.hint() }
    }

    /// DESIGN, section 6: 1 is "the answer is no", 2 an error in the input or the system.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Refused { refused } if refused.violated => 1,
            Self::ForeignMac { .. } | Self::OtherMac { .. } => 1,
            _ => 2,
        }
    }
}
