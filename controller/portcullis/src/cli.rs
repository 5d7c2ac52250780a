//! The command line: one definition for the parser, the help, the man pages and the
//! completions.

mod policy;

pub mod door;
pub mod guest;
pub mod import;

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use portcullis_policy::until::{self, End};
use portcullis_switch::Gate;

pub use self::policy::{
    CheckArgs, CheckFormat, DiffArgs, ExplainArgs, MatrixArgs, MatrixBy, MatrixFormat,
};
use crate::paths::{Paths, RUN_DIR, STATE_DIR};

/// Heading of the options that every command has.
const COMMON: &str = "Common options";

/// Commands that other programs start by the path of a link.
const DOORS: &[&str] = &["cni", "libvirt-hook", "qemu-helper"];

/// A firewall on every VM's port: declared in YAML, checked before it is applied, enforced in
/// the kernel.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Exit status: 0 fine; 1 the answer is no (an invariant is violated, a flow is \
                  denied); 2 an error in the input or the system.\n\n\
                  Example:\n  portcullis check policies/dmz.yaml\n  portcullis up\n  \
                  portcullis apply policies/dmz.yaml\n  portcullis attach tap web --guest web1"
)]
pub struct Cli {
    /// Where and how.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Directory of the running switch: socket, lock, log, pinned programs
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "PORTCULLIS_RUN_DIR",
        hide_env_values = true,
        default_value = RUN_DIR,
        help_heading = COMMON
    )]
    pub run_dir: PathBuf,
    /// Directory of what must survive a reboot
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "PORTCULLIS_STATE_DIR",
        hide_env_values = true,
        default_value = STATE_DIR,
        help_heading = COMMON
    )]
    pub state_dir: PathBuf,
    /// Colours: on a terminal that has not NO_COLOR set, or as said here
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = COMMON)]
    pub color: ColorWhen,
}

impl Global {
    /// The directories.
    pub fn paths(&self) -> Paths {
        Paths::new(&self.run_dir, &self.state_dir)
    }
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// For whom a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// For programs: one JSON value.
    Json,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// For people, or for programs (one JSON value on standard output, also for errors)
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: Format,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a policy: parse, resolve, compile, prove its invariants. Needs no privileges
    #[command(after_help = "Example:\n  portcullis check policies/dmz.yaml\n  portcullis check \
                            policies/ --strict --format sarif > portcullis.sarif")]
    Check(CheckArgs),
    /// Say whether a connection is allowed, by which rule, and what would have to change
    #[command(
        after_help = "Without FILE the applied policy is asked.\n\nA flow is PROTOCOL FROM -> TO: \
                      tcp, udp and sctp with ports behind the addresses (the source port may be \
                      left out, IPv6 stands in brackets), icmp and icmpv6 with TYPE or TYPE/CODE \
                      (icmp/8), others as proto/NUMBER.\n\nExample:\n  portcullis explain \
                      policies/dmz.yaml --from world --to web1 --service https\n  portcullis \
                      explain --from host --to files --service smb\n  portcullis explain \
                      policies/dmz.yaml --flow \"tcp 10.10.0.11:40000 -> 10.20.0.5:443\""
    )]
    Explain(ExplainArgs),
    /// Show exactly which connections become allowed and which become denied
    #[command(
        after_help = "With NEW alone, the difference to the applied policy is shown, and which \
                      running connections `apply` would cut.\n\nExample:\n  portcullis diff \
                      policies/home.yaml policies/dmz.yaml\n  portcullis diff policies/dmz.yaml\n  \
                      portcullis diff --exit-code old/ new/"
    )]
    Diff(DiffArgs),
    /// Show who may talk to whom, as a table or a picture
    #[command(
        after_help = "Without FILE the applied policy is shown.\n\nExample:\n  portcullis matrix \
                      policies/dmz.yaml\n  portcullis matrix policies/dmz.yaml --by network \
                      --format csv\n  portcullis matrix policies/dmz.yaml --format html --out \
                      matrix.html"
    )]
    Matrix(MatrixArgs),
    /// Print the JSON Schema of policies, for editors
    #[command(after_help = "Example:\n  portcullis schema > portcullis.schema.json")]
    Schema,
    /// Start the switch on this host, with the policy and the ports of last time
    #[command(after_help = "Example:\n  portcullis up\n  portcullis up --group libvirt --flows \
                            1048576")]
    Up {
        /// How it is started.
        #[command(flatten)]
        settings: UpSettings,
        /// Stay in the foreground and log to standard error
        #[arg(long)]
        foreground: bool,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Remove the switch, its ports and its filters from this host
    #[command(
        after_help = "Works also after a crash, when no daemon is running. The policy and the \
                            list of ports are kept for the next `up`, unless --forget is given.\n\n\
                            Example:\n  portcullis down\n  portcullis down --forget"
    )]
    Down {
        /// Also forget the applied policy, the ports and the settings
        #[arg(long)]
        forget: bool,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Check a policy, then enforce it as one generation; return when every port has it
    #[command(after_help = "Connections that the new policy cuts do not come back by themselves \
                            when it is rolled back.\n\nExample:\n  portcullis apply \
                            policies/dmz.yaml\n  portcullis apply --dry-run policies/dmz.yaml\n  \
                            portcullis apply --confirm 60s policies/dmz.yaml")]
    Apply {
        /// Policy files; a folder stands for all *.yaml in it
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Go back by itself unless `portcullis confirm` comes within this time (60s, 5m)
        #[arg(long, value_name = "TIME", value_parser = confirmation_time)]
        confirm: Option<u32>,
        /// Only show what would change, and which running connections would be cut
        #[arg(long, conflicts_with = "confirm")]
        dry_run: bool,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Keep the policy that waits for a confirmation
    #[command(after_help = "Example:\n  portcullis apply --confirm 60s policies/dmz.yaml\n  \
                            portcullis confirm")]
    Confirm {
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Go back at once from the policy that waits for a confirmation
    #[command(
        after_help = "The last confirmed policy is in force again, or everything is closed if \
                            there is none. Connections that were cut meanwhile do not come back by \
                            themselves.\n\nExample:\n  portcullis rollback"
    )]
    Rollback {
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Make a policy of another firewall's rules, proved equal
    #[command(
        subcommand,
        after_help = "Exit status: 0 all of it is taken over; 1 it is written, and what has no \
                            equal here is closed; 2 nothing is written.\n\nExample:\n  \
                            portcullis import proxmox /etc/pve --out policies/pve.yaml"
    )]
    Import(import::Import),
    /// Give a guest its port, or take a NIC as uplink
    #[command(subcommand, after_help = "Example:\n  portcullis attach tap web --guest web1")]
    Attach(Attach),
    /// Run a guest in our own virtual machine monitor
    #[command(
        subcommand,
        after_help = "Example:\n  portcullis guest run web1 --kernel vmlinuz --initrd initrd.img"
    )]
    Guest(guest::Guest),
    /// Find guests of this host, and say which of them the policy does not know
    #[command(
        after_help = "Looks for taps, veths, macvtaps and Xen's interfaces, for guests of QEMU, \
                      Firecracker, cloud-hypervisor and others, their vhost-user sockets, and \
                      libvirt's domains: where each is attached, whether the policy in force knows \
                      it, and what to write for it. Only this network namespace is looked \
                      at.\n\nExample:\n  portcullis discover\n  portcullis discover --format json"
    )]
    Discover {
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Pass a guest's tap to QEMU: what `-netdev tap,helper=` starts
    #[command(
        after_help = "The tap is attached if the guest has none yet, and stays when QEMU ends. \
                      QEMU calls its helper with --br, which its option br= sets, --fd and \
                      --use-vnet:\n\n  qemu-system-x86_64 -netdev \
                      tap,id=n,helper=/usr/libexec/portcullis-qemu-helper,br=web1 ...\n\nA link \
                      of that name to portcullis does what `portcullis qemu-helper` does.\n\n\
                      Example:\n  portcullis qemu-helper --use-vnet --fd=3 --br=web1"
    )]
    QemuHelper(door::QemuHelperArgs),
    /// Give a container its port: a plugin of the Container Network Interface (CNI 1.1)
    #[command(after_help = "A link /opt/cni/bin/portcullis-cni to portcullis is the plugin. Its \
                      configuration:\n\n  { \"cniVersion\": \"1.1.0\", \"name\": \"pods\", \
                      \"plugins\": [\n      { \"type\": \"portcullis-cni\", \"guest\": \
                      \"web1\" } ] }\n\nThe guest of the policy is GUEST of CNI_ARGS, or \
                      \"guest\" there, or the pod's name; \"network\" says which, where it has \
                      several. The addresses are the policy's, so no \"ipam\" is needed.\n\n\
                      Example:\n  portcullis cni < pods.json")]
    Cni,
    /// Attach a libvirt domain's interfaces before it starts, and detach them at its end
    #[command(
        after_help = "A hook of libvirt: a link /etc/libvirt/hooks/qemu.d/portcullis-libvirt-hook to \
                      portcullis. It reads the domain's XML from standard input. Each interface \
                      like\n\n  <interface type='ethernet'>\n    <mac \
                      address='52:54:00:12:34:56'/>\n    <target dev='web1' managed='no'/>\n  \
                      </interface>\n\ngets the NIC with that MAC, which the policy must give to \
                      the guest of the domain's name. A domain with a MAC of another guest does \
                      not start.\n\nExample:\n  portcullis libvirt-hook web1 prepare begin - < \
                      web1.xml"
    )]
    LibvirtHook(door::HookArgs),
    /// Take a port away; an uplink's NIC is left as it was
    #[command(after_help = "Example:\n  portcullis detach web")]
    Detach {
        /// Name of the port
        #[arg(value_name = "NAME")]
        name: String,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Show networks, ports (and why one is closed), drops by reason, rules with their hits
    #[command(
        after_help = "Example:\n  portcullis status\n  portcullis status --format json | jq \
                            .ports"
    )]
    Status {
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Show what every guest has sent and received, by network, over restarts
    #[command(after_help = "Example:\n  portcullis usage\n  portcullis usage --format json")]
    Usage {
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Print new connections of rules with `log`, and what observing rules would have done
    #[command(
        after_help = "The daemon remembers the latest few thousand; its log has them all. With \
                            --format json each line is a JSON value.\n\nExample:\n  portcullis \
                            events\n  portcullis events --follow --rule quarantine\n  portcullis \
                            events --observed --format json"
    )]
    Events {
        /// Go on with those that come
        #[arg(long, short)]
        follow: bool,
        /// Only those of this rule
        #[arg(long, value_name = "NAME")]
        rule: Option<String>,
        /// Only what observing rules would have done
        #[arg(long)]
        observed: bool,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Print the completion script of a shell
    #[command(after_help = "Example:\n  portcullis completions bash > \
                            /etc/bash_completion.d/portcullis")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands into a folder
    #[command(after_help = "Example:\n  portcullis man | man -l -\n  portcullis man --out \
                            /usr/local/share/man/man1")]
    Man {
        /// The folder
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// The engine of vhost-user ports: what the daemon starts
    #[command(hide = true)]
    Engine,
    /// The daemon in the foreground: what `up` starts
    #[command(hide = true)]
    Daemon {
        /// How it is started.
        #[command(flatten)]
        settings: UpSettings,
        /// Leave the terminal, and say on standard output when ready (or why not)
        #[arg(long)]
        detached: bool,
    },
}

/// What can be said to `up`.
#[derive(Clone, Debug, Args)]
pub struct UpSettings {
    /// Connections that the flow table holds [default: as last time, at first 262144]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1024..=16_777_216))]
    pub flows: Option<u32>,
    /// A group whose members may use the daemon besides its owner and root
    ///
    /// They can then do with this host's network what root can.
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
}

/// Kinds of ports.
#[derive(Debug, Subcommand)]
pub enum Attach {
    /// A tap for a virtual machine; it is closed until the policy knows the guest
    #[command(
        after_help = "With COMMAND, the tap's queues are opened and handed over: their numbers stand \
                      in PORTCULLIS_TAP_FDS, separated by commas, and replace {fds} in its \
                      arguments, separated by colons.\n\nExample:\n  portcullis attach tap web \
                      --guest web1\n  portcullis attach tap web --guest web1 --queues 2 -- \
                      qemu-system-x86_64 -netdev tap,id=n,fds={fds}"
    )]
    Tap {
        /// Name of the tap, at most 15 characters
        #[arg(value_name = "NAME")]
        name: String,
        /// Whose it is.
        #[command(flatten)]
        nic: NicArgs,
        /// Queues that can be opened
        #[arg(long, value_name = "Q", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
        queues: u16,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
        /// A command to run with the tap's queues open
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// A socket for a virtual machine whose monitor speaks vhost-user; frames stay in user space
    #[command(
        after_help = "Its socket is vhost/NAME.sock in the run directory, as `status` says. The \
                      monitor connects to it and has to share the guest's memory; of QEMU these are \
                      -object memory-backend-memfd,id=m,size=1G,share=on, -machine \
                      memory-backend=m, -chardev socket,id=c,path=SOCKET,reconnect=1, -netdev \
                      vhost-user,id=n,chardev=c and -device virtio-net-pci,netdev=n,mac=MAC with the \
                      MAC that `status` says.\n\nExample:\n  portcullis attach vhost-user web \
                      --guest web1\n  portcullis attach vhost-user web --guest web1 --network dmz \
                      --owner libvirt-qemu --group kvm"
    )]
    VhostUser {
        /// Name of the port, at most 15 characters
        #[arg(value_name = "NAME")]
        name: String,
        /// Whose it is.
        #[command(flatten)]
        nic: NicArgs,
        /// The user whose the socket is, by name or number: the one that runs the monitor
        #[arg(long, value_name = "USER")]
        owner: Option<String>,
        /// The group that may connect besides
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// A veth pair whose other end goes into a network namespace, configured for the guest
    #[command(after_help = "Example:\n  portcullis attach veth app --guest app1 --netns app1\n  \
                            portcullis attach veth app --guest app1 --netns 4711 --peer net0")]
    Veth {
        /// Name of this host's end, at most 15 characters
        #[arg(value_name = "NAME")]
        name: String,
        /// Whose it is.
        #[command(flatten)]
        nic: NicArgs,
        /// The namespace: a name (in /run/netns), a path, or a process
        #[arg(long, value_name = "NS")]
        netns: String,
        /// Name of the end in the namespace
        #[arg(long, value_name = "NAME", default_value = "eth0")]
        peer: String,
        /// Leave addresses, routes and state of that end alone
        #[arg(long)]
        no_configure: bool,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// A NIC of this host as the way to the outside for some networks
    #[command(
        after_help = "Example:\n  portcullis attach uplink eth1 --untagged wan\n  portcullis \
                            attach uplink eth1 --tagged lan,dmz --untagged wan"
    )]
    Uplink {
        /// The NIC
        #[arg(value_name = "NIC")]
        name: String,
        /// Networks whose frames carry their VLAN tag there
        #[arg(
            long,
            value_name = "NETWORK",
            value_delimiter = ',',
            required_unless_present = "untagged"
        )]
        tagged: Vec<String>,
        /// The network of untagged frames
        #[arg(long, value_name = "NETWORK")]
        untagged: Option<String>,
        /// An XDP program in front of the NIC that drops what can never be allowed
        #[arg(long, value_name = "MODE", value_enum, default_value_t)]
        xdp: Xdp,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
}

/// Where an uplink's XDP program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Xdp {
    /// In the driver of hardware; none in front of software drivers, whose large frames it would cut
    #[default]
    Auto,
    /// In the driver
    Native,
    /// In the kernel, behind the driver
    Generic,
    /// Nowhere: the filter does it all
    Off,
}

impl From<Xdp> for Gate {
    fn from(xdp: Xdp) -> Self {
        match xdp {
            Xdp::Auto => Self::Auto,
            Xdp::Native => Self::Native,
            Xdp::Generic => Self::Generic,
            Xdp::Off => Self::Off,
        }
    }
}

/// Which NIC of the policy.
#[derive(Clone, Debug, Args)]
pub struct NicArgs {
    /// The guest behind the port, as the policy calls it
    #[arg(long, value_name = "GUEST")]
    pub guest: String,
    /// Its network, where the guest has NICs in several
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
}

impl Command {
    /// For whom it prints.
    pub fn format(&self) -> Format {
        match self {
            Self::Check(args) => args.plain_format(),
            Self::Matrix(args) => args.plain_format(),
            Self::Import(import) => import.into_args().output.format,
            Self::Explain(ExplainArgs { output, .. })
            | Self::Diff(DiffArgs { output, .. })
            | Self::Up { output, .. }
            | Self::Down { output, .. }
            | Self::Apply { output, .. }
            | Self::Confirm { output }
            | Self::Rollback { output }
            | Self::Events { output, .. }
            | Self::Attach(
                Attach::Tap { output, .. }
                | Attach::VhostUser { output, .. }
                | Attach::Veth { output, .. }
                | Attach::Uplink { output, .. },
            )
            | Self::Detach { output, .. }
            | Self::Usage { output }
            | Self::Discover { output }
            | Self::Status { output, .. } => output.format,
            Self::Guest(guest) => guest.format(),
            Self::Schema
            | Self::Completions { .. }
            | Self::Man { .. }
            | Self::QemuHelper(_)
            | Self::Cni
            | Self::LibvirtHook(_)
            | Self::Engine
            | Self::Daemon { .. } => Format::Human,
        }
    }
}

/// The longest time to wait for a confirmation, seconds: a day.
const CONFIRMATION_MAX_S: u64 = 86_400;

/// A duration as the policy language writes it, in seconds.
fn confirmation_time(text: &str) -> Result<u32, String> {
    match until::read(text) {
        Ok(End::After(seconds)) if seconds <= CONFIRMATION_MAX_S => Ok(seconds as u32),
        Ok(End::After(_)) => Err("nobody waits for longer than a day".to_owned()),
        Ok(End::At(_)) => Err("write how long, as in `60s` or `5m`".to_owned()),
        Err(bad) => Err(bad.help.unwrap_or_else(|| bad.why.to_owned())),
    }
}

/// The command line of this process. A program name like `portcullis-qemu-helper`, which a link
/// may have, stands for the command `qemu-helper`: others start their helpers by path alone.
pub fn arguments(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = given.into_iter().collect();
    let program = arguments.first().map(PathBuf::from).unwrap_or_default();
    let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let door = name.strip_prefix("portcullis-").filter(|door| DOORS.contains(door));
    if let Some(door) = door {
        arguments.insert(1, door.into());
    }
    arguments
}

/// The definition, for the manual and the completions.
pub fn definition() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn visit(command: &clap::Command) {
            for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
                let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                let name = sub.get_name();
                assert!(help.contains("Example:\n  portcullis "), "{name} has no example");
                visit(sub);
            }
        }
        visit(&definition());
    }

    #[test]
    fn a_link_stands_for_its_command() {
        let words = |line: &str| arguments(line.split(' ').map(OsString::from)).join(" ".as_ref());
        assert_eq!(
            words("/usr/libexec/portcullis-qemu-helper --fd=3"),
            "/usr/libexec/portcullis-qemu-helper qemu-helper --fd=3"
        );
        assert_eq!(words("portcullis status"), "portcullis status");
        assert_eq!(words("portcullis-0123abcd status"), "portcullis-0123abcd status");
        let commands = definition();
        let known = |door: &str| commands.get_subcommands().any(|c| c.get_name() == door);
        assert!(DOORS.iter().all(|door| known(door)));
    }

    #[test]
    fn times_are_those_of_the_language() {
        let time = |text| confirmation_time(text);
        assert_eq!((time("60s"), time("5m"), time("24h")), (Ok(60), Ok(300), Ok(86_400)));
        for bad in ["", "60", "0s", "25h", "2026-12-01", "soon"] {
            assert!(!time(bad).unwrap_err().is_empty(), "{bad}");
        }
    }

    /// As a shell splits a line, up to a pipe or a redirection.
    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (i, part) in line.split(['"', '\'']).enumerate() {
            if i % 2 == 1 {
                words.push(part.to_owned());
                continue;
            }
            let end = part.find(['|', '>', '<']).unwrap_or(part.len());
            words.extend(part[..end].split_whitespace().map(str::to_owned));
            if end < part.len() {
                break;
            }
        }
        words
    }

    /// Examples that do not parse are worse than none.
    #[test]
    fn every_example_parses() {
        fn visit(command: &clap::Command) -> usize {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.split("Example:\n").nth(1).unwrap_or_default();
            let mut count = 0;
            for line in examples.lines() {
                let words = words(line);
                Cli::try_parse_from(&words).unwrap_or_else(|e| panic!("{line}: {e}"));
                count += 1;
            }
            count + command.get_subcommands().map(visit).sum::<usize>()
        }
        assert!(visit(&definition()) > 15);
    }
}
