//! The 64-bit boot protocol of Linux (Documentation/arch/x86/boot.rst and zero-page.rst).

use linux_loader::{
    configurator::{BootConfigurator, BootParams, linux::LinuxBootConfigurator},
    loader::bootparam::{boot_e820_entry, boot_params, setup_header},
};
use vm_memory::Address;

use super::{Initramfs, Range};
use crate::{
    error::{Error, Result},
    layout::{ACPI, COMMAND_LINE, ZERO_PAGE},
    memory::Memory,
};

/// "HdrS": there is a header.
const HEADER_MAGIC: u32 = 0x5372_6448;
const BOOT_FLAG: u16 = 0xaa55;
/// A loader without a number of its own.
const LOADER_OTHER: u8 = 0xff;
/// Least alignment that any kernel asks for, for a file that does not say.
const ALIGNMENT: u32 = 0x0100_0000;

/// Writes `boot_params`.
pub fn write(
    memory: &Memory,
    header: setup_header,
    initramfs: Initramfs,
    command_line_size: usize,
    map: &[Range],
) -> Result<()> {
    let mut params = boot_params { hdr: header, ..boot_params::default() };
    params.hdr.header = HEADER_MAGIC;
    params.hdr.boot_flag = BOOT_FLAG;
    params.hdr.type_of_loader = LOADER_OTHER;
    if params.hdr.kernel_alignment == 0 {
        params.hdr.kernel_alignment = ALIGNMENT;
    }
    params.hdr.cmd_line_ptr = COMMAND_LINE.raw_value() as u32;
    params.hdr.cmdline_size = command_line_size as u32 + 1;
    params.hdr.ramdisk_image = initramfs.address as u32;
    params.hdr.ramdisk_size = initramfs.size as u32;
    params.acpi_rsdp_addr = ACPI.raw_value();
    for (entry, range) in params.e820_table.iter_mut().zip(map) {
        *entry = boot_e820_entry { addr: range.start, size: range.size, r#type: range.kind as u32 };
    }
    params.e820_entries = map.len() as u8;
    LinuxBootConfigurator::write_bootparams(&BootParams::new(&params, ZERO_PAGE), memory)
        .map_err(Error::memory("boot_params"))
}
