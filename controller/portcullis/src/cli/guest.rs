//! `portcullis guest`.

use std::{os::fd::RawFd, path::PathBuf};

use clap::{Args, Subcommand};

use portcullis_vmm::config::PAIRS_MAX;

use super::{Format, Output};

/// What can be done with guests of our own monitor.
#[derive(Debug, Subcommand)]
pub enum Guest {
    /// Run a guest of the policy until it switches itself off
    #[command(
        after_help = "Every NIC that the policy gives the guest and that has no port yet gets a tap \
                      (with --vhost-user, a vhost-user port), \
                      closed until the policy is in force, and taken away at the end. The terminal \
                      is the guest's serial console; Ctrl-] ends it. Without a kernel, it is a \
                      test guest that takes orders on its console, one on a line (`status`, `ping \
                      10.10.0.5`, `http 10.20.0.10`, `off`; any other word prints all), and answers \
                      in JSON.\n\nExit status: 0 the guest \
                      switched itself off; 1 it was ended; 2 it could not run, or could not go \
                      on.\n\nExample:\n  portcullis guest run web1\n  portcullis guest run web1 \
                      --kernel vmlinuz --initrd initrd.img\n  portcullis guest run web1 --kernel vmlinuz --disk web1.img \
                      --append 'console=ttyS0 root=/dev/vda' --memory 1024 --cpus 2"
    )]
    Run {
        /// The guest, as the policy calls it
        #[arg(value_name = "GUEST")]
        name: String,
        /// What it is made of.
        #[command(flatten)]
        machine: MachineArgs,
    },
    /// Let a running guest stand still, and its devices with it
    #[command(after_help = "Example:\n  portcullis guest pause web1")]
    Pause {
        /// The guest, as the policy calls it
        #[arg(value_name = "GUEST")]
        name: String,
        /// How the result is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Let a guest that stands still go on
    #[command(after_help = "Example:\n  portcullis guest resume web1")]
    Resume {
        /// The guest, as the policy calls it
        #[arg(value_name = "GUEST")]
        name: String,
        /// How the result is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Write what a running guest is, its memory too, into a new directory
    #[command(
        after_help = "The guest stands still meanwhile. Its disks are not copied: with --end they \
                      stay as the snapshot knows them.\n\nExample:\n  portcullis guest snapshot \
                      web1 web1.snapshot --end\n  portcullis guest run web1 --restore \
                      web1.snapshot"
    )]
    Snapshot {
        /// The guest, as the policy calls it
        #[arg(value_name = "GUEST")]
        name: String,
        /// Made anew
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// It does not go on here
        #[arg(long)]
        end: bool,
        /// How the result is printed.
        #[command(flatten)]
        output: Output,
    },
    /// The monitor of one guest: what `guest run` starts
    #[command(hide = true)]
    Monitor {
        /// What the guest is made of.
        #[command(flatten)]
        machine: MachineArgs,
        /// What is open already: the queues of its taps, or an end at which it asks for a connection
        /// to its vhost-user port, in the order of its NICs; then the socket for orders.
        #[arg(long, value_delimiter = ':')]
        fds: Vec<RawFd>,
        /// MACs of its NICs, in their order.
        #[arg(long, value_delimiter = ',')]
        macs: Vec<String>,
        /// Largest packets, bytes, in the order of its NICs.
        #[arg(long, value_delimiter = ',')]
        mtus: Vec<u16>,
    },
}

impl Guest {
    /// The format of its result.
    pub fn format(&self) -> Format {
        match self {
            Self::Pause { output, .. }
            | Self::Resume { output, .. }
            | Self::Snapshot { output, .. } => output.format,
            Self::Run { .. } | Self::Monitor { .. } => Format::Human,
        }
    }
}

/// What a machine is made of.
#[derive(Clone, Debug, Args)]
pub struct MachineArgs {
    /// A bzImage, or an ELF kernel with a PVH note or for Linux' 64-bit boot protocol; without one,
    /// the built-in test guest
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// A directory of `guest snapshot`: go on as it was there, with the same NICs and disks
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kernel", "initrd", "append", "memory", "cpus"])]
    pub restore: Option<PathBuf>,
    /// Its first file system
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub initrd: Option<PathBuf>,
    /// Its command line
    #[arg(long, value_name = "TEXT", default_value = "console=ttyS0")]
    pub append: String,
    /// Its memory, MiB [default: 256; of the test guest 4]
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u32>,
    /// Its processors
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub cpus: u8,
    /// A disk: a file with its bytes; can be given more than once
    #[arg(long, value_name = "FILE")]
    pub disk: Vec<PathBuf>,
    /// A disk that the guest may not write; stands behind the others
    #[arg(long, value_name = "FILE")]
    pub disk_read_only: Vec<PathBuf>,
    /// Pairs of queues of each NIC: the guest can use as many processors for frames
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=PAIRS_MAX as i64))]
    pub queues: u16,
    /// Its NICs on vhost-user ports instead of taps: frames stay in user space
    #[arg(long, conflicts_with = "queues")]
    pub vhost_user: bool,
}

/// MiB of a guest with a kernel of somebody's, and of the test guest.
const MEMORY_MIB: [u32; 2] = [256, 4];

impl MachineArgs {
    /// Its memory, MiB.
    pub fn memory_mib(&self) -> u32 {
        let [usual, test] = MEMORY_MIB;
        self.memory.unwrap_or(if self.kernel.is_some() { usual } else { test })
    }
}
