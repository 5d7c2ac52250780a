//! What a machine is to be.

use std::{
    fs::File,
    os::fd::{BorrowedFd, RawFd},
    path::PathBuf,
};

use crate::{
    error::{Error, Result},
    layout::{COMMAND_LINE_MAX, VIRTIO_MAX},
};

/// Least and most memory of a guest, MiB.
const MEMORY_MIB: std::ops::RangeInclusive<u32> = 1..=1 << 20;
/// Most virtual processors: what one-byte APIC ids name.
const PROCESSORS_MAX: u8 = 254;

/// A machine.
#[derive(Debug)]
pub struct Config {
    /// A bzImage, or an ELF file with a PVH note or for the 64-bit boot protocol of Linux.
    pub kernel: PathBuf,
    /// Its first file system.
    pub initramfs: Option<PathBuf>,
    /// Its command line.
    pub command_line: String,
    /// Virtual processors.
    pub processors: u8,
    /// Memory, MiB.
    pub memory_mib: u32,
    /// Network cards.
    pub nics: Vec<Nic>,
    /// Disks.
    pub disks: Vec<Disk>,
}

/// A network card.
#[derive(Debug)]
pub struct Nic {
    /// The tap behind it, open, with a header of 12 bytes in front of each frame (`IFF_VNET_HDR`).
    pub tap: File,
    /// Its address.
    pub mac: [u8; 6],
    /// Largest packet that the guest is told of, bytes.
    pub mtu: u16,
}

impl Nic {
    /// One whose tap somebody has opened for this process, under this number.
    ///
    /// # Errors
    /// If nothing is open there.
    #[allow(unsafe_code)]
    pub fn inherited(tap: RawFd, mac: [u8; 6], mtu: u16) -> Result<Self> {
        // SAFETY: borrowed for one call, which fails for a number that names nothing.
        let tap = unsafe { BorrowedFd::borrow_raw(tap) }.try_clone_to_owned();
        let tap = tap.map_err(Error::system("an inherited tap"))?;
        Ok(Self { tap: tap.into(), mac, mtu })
    }
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
        let devices = self.nics.len() + self.disks.len() + 1;
        if devices > VIRTIO_MAX {
            return wrong(format!("{devices} devices: there is room for {VIRTIO_MAX}"));
        }
        if self.command_line.len() >= COMMAND_LINE_MAX || self.command_line.contains('\0') {
            let most = COMMAND_LINE_MAX - 1;
            return wrong(format!("a command line has at most {most} bytes, none of them zero"));
        }
        Ok(())
    }
}
