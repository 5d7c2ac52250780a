//! What a machine is to be.

use std::{
    fs::File,
    io,
    os::{
        fd::{BorrowedFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    sync::Arc,
};

use crate::{
    error::{Error, Result},
    layout::{COMMAND_LINE_MAX, VIRTIO_MAX},
    snapshot::{Snapshot, State},
};

/// Least and most memory of a guest, MiB.
const MEMORY_MIB: std::ops::RangeInclusive<u32> = 1..=1 << 20;
/// Most virtual processors: what one-byte APIC ids name.
const PROCESSORS_MAX: u8 = 254;

/// Most pairs of queues of a network card: one for each processor is enough.
pub const PAIRS_MAX: usize = 64;

/// A machine.
pub struct Config {
    /// What it begins with.
    pub start: Start,
    /// Virtual processors.
    pub processors: u8,
    /// Memory, MiB.
    pub memory_mib: u32,
    /// Network cards.
    pub nics: Vec<Nic>,
    /// Disks.
    pub disks: Vec<Disk>,
}

/// What is in a machine's memory and processors when it first runs.
pub enum Start {
    /// A kernel at its beginning.
    Kernel(Kernel),
    /// What another machine was when it stood still.
    Snapshot(Box<Snapshot>),
}

/// A kernel, and what it is given.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What boots.
    pub image: Image,
    /// Its first file system.
    pub initramfs: Option<PathBuf>,
    /// Its command line.
    pub command_line: String,
}

/// What boots.
#[derive(Clone, Debug)]
pub enum Image {
    /// A bzImage, or an ELF file with a PVH note or for the 64-bit boot protocol of Linux.
    File(PathBuf),
    /// An ELF kernel for that protocol that knows no ACPI: its command line says where its devices
    /// are (`virtio_mmio.device=`, as Linux has it), and how it switches itself off
    /// (`power_off=PORT:VALUE`).
    BuiltIn(&'static [u8]),
}

/// A network card.
pub struct Nic {
    /// Who carries its frames.
    pub back: Back,
    /// Its address.
    pub mac: [u8; 6],
    /// Largest packet that the guest is told of, bytes.
    pub mtu: u16,
}

/// What is behind a network card.
pub enum Back {
    /// A tap, by each of its queues, at most [`PAIRS_MAX`]; a header of 12 bytes stands in front of
    /// each frame (`IFF_VNET_HDR`).
    Tap(Vec<File>),
    /// A vhost-user port.
    VhostUser(Arc<dyn Connect>),
}

/// Connects to a vhost-user port, at the start and whenever the connection is gone.
pub trait Connect: Send + Sync {
    /// A new connection.
    fn connect(&self) -> io::Result<UnixStream>;
}

/// What somebody has opened for this process, under this number.
///
/// # Errors
/// If nothing is open there.
#[allow(unsafe_code)]
pub fn inherited(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: borrowed for one call, which fails for a number that names nothing.
    let own = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned();
    own.map_err(Error::system("an inherited file"))
}

/// A disk.
#[derive(Debug)]
pub struct Disk {
    /// Its bytes.
    pub file: File,
    /// May it be written?
    pub writable: bool,
}

impl Config {
    /// Complains about what cannot be.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::Config { what });
        if !MEMORY_MIB.contains(&self.memory_mib) {
            let (least, most) = (MEMORY_MIB.start(), MEMORY_MIB.end());
            return wrong(format!("{} MiB of memory: say {least} to {most}", self.memory_mib));
        }
        if !(1..=PROCESSORS_MAX).contains(&self.processors) {
            return wrong(format!("{} processors: say 1 to {PROCESSORS_MAX}", self.processors));
        }
        let devices = self.devices();
        if devices > VIRTIO_MAX {
            return wrong(format!("{devices} devices: there is room for {VIRTIO_MAX}"));
        }
        let wide = |nic: &Nic| matches!(&nic.back, Back::Tap(queues) if queues.len() > PAIRS_MAX);
        if self.nics.iter().any(wide) {
            return wrong(format!("a network card has at most {PAIRS_MAX} pairs of queues"));
        }
        match &self.start {
            Start::Kernel(kernel) => kernel.check(),
            Start::Snapshot(snapshot) => self.fits(&snapshot.state),
        }
    }

    /// Complains if it is not what the other machine was.
    fn fits(&self, state: &State) -> Result<()> {
        let own = [self.memory_mib as usize, self.processors.into(), self.devices()];
        let other = [state.memory_mib as usize, state.processors.len(), state.devices.len()];
        let names = ["MiB of memory", "processors", "devices"];
        for ((own, other), name) in own.into_iter().zip(other).zip(names) {
            if own != other {
                return Err(Error::state(format!("it had {other} {name}, and here are {own}")));
            }
        }
        Ok(())
    }

    /// Virtio devices: one is the source of entropy.
    fn devices(&self) -> usize {
        self.nics.len() + self.disks.len() + 1
    }
}

impl Kernel {
    fn check(&self) -> Result<()> {
        if self.command_line.len() < COMMAND_LINE_MAX && !self.command_line.contains('\0') {
            return Ok(());
        }
        let most = COMMAND_LINE_MAX - 1;
        let what = format!("a command line has at most {most} bytes, none of them zero");
        Err(Error::Config { what })
    }
}
