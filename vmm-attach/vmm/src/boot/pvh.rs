//! The PVH boot protocol (Xen's `public/arch-x86/hvm/start_info.h`).

use linux_loader::{
    configurator::{BootConfigurator, BootParams, pvh::PvhBootConfigurator},
    loader::elf::start_info::{hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info},
};
use vm_memory::Address;

use super::{Initramfs, Range};
use crate::{
    error::{Error, Result},
    layout::{ACPI, COMMAND_LINE, MEMORY_MAP, MODULES, START_INFO},
    memory::Memory,
};

/// `XEN_HVM_START_MAGIC_VALUE`.
const MAGIC: u32 = 0x336e_c578;
/// With a memory map.
const VERSION: u32 = 1;

/// Writes `hvm_start_info` and what it points to.
pub fn write(memory: &Memory, initramfs: Initramfs, map: &[Range]) -> Result<()> {
    let has_module = initramfs.size > 0;
    let info = hvm_start_info {
        magic: MAGIC,
        version: VERSION,
        nr_modules: has_module.into(),
        modlist_paddr: if has_module { MODULES.raw_value() } else { 0 },
        cmdline_paddr: COMMAND_LINE.raw_value(),
        rsdp_paddr: ACPI.raw_value(),
        memmap_paddr: MEMORY_MAP.raw_value(),
        memmap_entries: map.len() as u32,
        ..hvm_start_info::default()
    };
    let entry = |range: &Range| hvm_memmap_table_entry {
        addr: range.start,
        size: range.size,
        type_: range.kind as u32,
        reserved: 0,
    };
    let entries: Vec<_> = map.iter().map(entry).collect();
    let mut params = BootParams::new(&info, START_INFO);
    params.set_sections(&entries, MEMORY_MAP);
    if has_module {
        let module = hvm_modlist_entry {
            paddr: initramfs.address,
            size: initramfs.size,
            ..hvm_modlist_entry::default()
        };
        params.set_modules(&[module], MODULES);
    }
    PvhBootConfigurator::write_bootparams(&params, memory).map_err(Error::memory("start info"))
}
