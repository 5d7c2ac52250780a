//! What is in memory when the first instruction of a guest runs.

mod linux;
mod pvh;
pub mod registers;

use std::{
    fs::File,
    io::{self, Cursor, Read, Seek},
    path::Path,
};

use linux_loader::{
    cmdline::Cmdline,
    loader::{
        BzImage, Elf, KernelLoader, PvhBootCapability, bootparam::setup_header, load_cmdline,
    },
};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend, ReadVolatile};

use crate::{
    config::{Image, Kernel},
    error::{Error, Result},
    layout::{
        ACPI_END, COMMAND_LINE, COMMAND_LINE_MAX, GAP, KERNEL, LOW_END, SLEEP, VIRTIO, VIRTIO_IRQ,
        VIRTIO_SIZE,
    },
    memory::{self, Memory},
    power::SWITCH_OFF,
};

/// From the beginning of a bzImage's protected-mode part to its 64-bit entry (Linux'
/// Documentation/arch/x86/boot.rst, "64-bit Boot Protocol").
const ENTRY_64: u64 = 0x200;
/// The first file system begins at a page.
const PAGE: u64 = 4096;

/// Where a guest begins, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// In long mode, with a pointer to `boot_params`.
    Linux64(GuestAddress),
    /// In protected mode without paging, with a pointer to `hvm_start_info` (the PVH boot protocol
    /// of Xen).
    Pvh(GuestAddress),
}

/// Where the first file system is: address and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Initramfs {
    address: u64,
    size: u64,
}

/// A range of the memory map that guests are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: u64,
    size: u64,
    kind: RangeKind,
}

/// The numbers are those of ACPI 6.5, table 15.5, as both boot protocols have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum RangeKind {
    Memory = 1,
    Reserved = 2,
}

/// Loads everything, for a machine of so many virtio devices; where the guest begins.
pub fn load(memory: &Memory, memory_mib: u32, given: &Kernel, devices: usize) -> Result<Entry> {
    let (entry, header, end) = kernel(memory, &given.image)?;
    let initramfs = given.initramfs.as_deref().map(|path| initramfs(memory, path, end));
    let initramfs = initramfs.transpose()?.unwrap_or_default();
    let mut line = Cmdline::new(COMMAND_LINE_MAX).map_err(Error::memory("a command line"))?;
    line.insert_str(&given.command_line).map_err(Error::memory("the command line"))?;
    if let Image::BuiltIn(_) = given.image {
        line.insert_str(places(devices)).map_err(Error::memory("the command line"))?;
    }
    load_cmdline(memory, COMMAND_LINE, &line).map_err(Error::memory("the command line"))?;
    let map = map(memory_mib);
    match entry {
        Entry::Linux64(_) => {
            let length =
                line.as_cstring().map_err(Error::memory("the command line"))?.count_bytes();
            linux::write(memory, header, initramfs, length, &map)?;
        }
        Entry::Pvh(_) => pvh::write(memory, initramfs, &map)?,
    }
    Ok(entry)
}

/// The entry, what the file says to its loader, and the end of the kernel.
fn kernel(memory: &Memory, image: &Image) -> Result<(Entry, setup_header, GuestAddress)> {
    let path = match image {
        Image::File(path) => path,
        Image::BuiltIn(image) => {
            return elf(memory, &mut Cursor::new(*image), Path::new("built in"));
        }
    };
    let mut file = open(path)?;
    if let Ok(loaded) = BzImage::load(memory, None, &mut file, Some(KERNEL)) {
        let entry = Entry::Linux64(loaded.kernel_load.unchecked_add(ENTRY_64));
        let header = loaded.setup_header.unwrap_or_default();
        let begin = KERNEL.raw_value().max(header.pref_address);
        has_room(memory, path, begin + u64::from(header.init_size))?;
        return Ok((entry, header, GuestAddress(loaded.kernel_end)));
    }
    let loaded = elf(memory, &mut file, path);
    // What is no kernel is told as that, whatever its length.
    if loaded.is_err() {
        let wrong = |source| Error::File { path: path.into(), source };
        let length = file.metadata().map_err(wrong)?.len();
        if is_kernel(&mut file).map_err(wrong)? {
            has_room(memory, path, KERNEL.raw_value() + length)?;
        }
    }
    loaded
}

/// Does a file say that it is an ELF file, or a bzImage (Linux' Documentation/arch/x86/boot.rst, "The
/// Real-Mode Kernel Header": `HdrS` at 0x202)?
fn is_kernel(file: &mut File) -> io::Result<bool> {
    let mut head = Vec::new();
    file.rewind()?;
    file.by_ref().take(0x206).read_to_end(&mut head)?;
    Ok(head.starts_with(b"\x7fELF") || head.get(0x202..) == Some(b"HdrS"))
}

/// Complains if a kernel that needs all memory up to `end`, while it unpacks itself, has less.
fn has_room(memory: &Memory, path: &Path, end: u64) -> Result<()> {
    let last = memory.last_addr().raw_value();
    if end <= last.saturating_add(1) {
        return Ok(());
    }
    let (needed, there) = (end.div_ceil(1 << 20), (last + 1) >> 20);
    let what = format!("{} needs {needed} MiB, and there are {there}", path.display());
    Err(Error::Memory { what })
}

fn elf<F: Read + ReadVolatile + Seek>(
    memory: &Memory,
    file: &mut F,
    path: &Path,
) -> Result<(Entry, setup_header, GuestAddress)> {
    let wrong = |source| Error::Kernel { path: path.into(), source };
    let loaded = Elf::load(memory, None, file, Some(KERNEL)).map_err(wrong)?;
    let entry = match loaded.pvh_boot_cap {
        PvhBootCapability::PvhEntryPresent(entry) => Entry::Pvh(entry),
        _ => Entry::Linux64(loaded.kernel_load),
    };
    Ok((entry, setup_header::default(), GuestAddress(loaded.kernel_end)))
}

/// Where so many devices are, and how the machine is switched off: what ACPI tables would say.
fn places(devices: usize) -> String {
    let device = |number: usize| {
        let at = VIRTIO + VIRTIO_SIZE * number as u64;
        format!("virtio_mmio.device={VIRTIO_SIZE:#x}@{at:#x}:{} ", VIRTIO_IRQ as usize + number)
    };
    let devices: String = (0..devices).map(device).collect();
    format!("{devices}power_off={SLEEP:#x}:{SWITCH_OFF:#x}")
}

/// Puts the first file system at the end of the memory that is below the gap: behind the kernel,
/// which may need room for itself when it unpacks.
fn initramfs(memory: &Memory, path: &Path, kernel_end: GuestAddress) -> Result<Initramfs> {
    let mut file = open(path)?;
    let length = file.metadata().map(|metadata| metadata.len());
    let size = length.map_err(|source| Error::File { path: path.into(), source })?;
    let top = memory.last_addr().raw_value().min(GAP.raw_value() - 1) + 1;
    let address = top.checked_sub(size).map(|address| address / PAGE * PAGE);
    let address = address.filter(|address| *address >= kernel_end.raw_value());
    let address = address.ok_or_else(|| Error::Memory {
        what: format!("{} of {size} bytes does not fit: give it more", path.display()),
    })?;
    memory
        .read_exact_volatile_from(GuestAddress(address), &mut file, size as usize)
        .map_err(Error::memory("the first file system"))?;
    Ok(Initramfs { address, size })
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|source| Error::File { path: path.into(), source })
}

/// What a guest of so many MiB is told of its memory.
fn map(mib: u32) -> Vec<Range> {
    let range = |start, end: u64, kind| Range { start, size: end - start, kind };
    let (low, high) = (LOW_END.raw_value(), ACPI_END.raw_value());
    let mut map = vec![range(0, low, RangeKind::Memory), range(low, high, RangeKind::Reserved)];
    for (start, size) in memory::ranges(mib) {
        let (start, end) = (start.raw_value(), start.raw_value() + size as u64);
        map.push(range(start.max(high), end, RangeKind::Memory));
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_has_all_memory_but_the_firmwares() {
        let map = map(4096);
        assert!(map.windows(2).all(|pair| pair[0].start + pair[0].size <= pair[1].start));
        let of = |kind| map.iter().filter(|r| r.kind == kind).map(|r| r.size).sum::<u64>();
        assert_eq!(of(RangeKind::Memory) + of(RangeKind::Reserved), 4 << 30);
        assert_eq!(of(RangeKind::Reserved), ACPI_END.raw_value() - LOW_END.raw_value());
    }
}
