//! Where things are in a guest's physical memory.

use vm_memory::GuestAddress;

/// Global descriptor table of the boot processor.
pub const GDT: GuestAddress = GuestAddress(0x500);
/// `hvm_start_info` of a PVH boot.
pub const START_INFO: GuestAddress = GuestAddress(0x6000);
/// Module list of a PVH boot.
pub const MODULES: GuestAddress = GuestAddress(0x6040);
/// Memory map of a PVH boot.
pub const MEMORY_MAP: GuestAddress = GuestAddress(0x6100);
/// Linux' `boot_params` ("zero page").
pub const ZERO_PAGE: GuestAddress = GuestAddress(0x7000);
/// Top of a stack for the first instructions.
pub const STACK: GuestAddress = GuestAddress(0x8ff0);
/// Page tables that map the first GiB to itself: three pages.
pub const PAGE_TABLES: GuestAddress = GuestAddress(0x9000);
/// The kernel's command line.
pub const COMMAND_LINE: GuestAddress = GuestAddress(0x2_0000);
/// Most bytes of a command line, its end included (Linux' `COMMAND_LINE_SIZE` on x86).
pub const COMMAND_LINE_MAX: usize = 2048;
/// End of the memory below the video and firmware area.
pub const LOW_END: GuestAddress = GuestAddress(0x9_fc00);
/// The ACPI tables, the root pointer first: in the area where firmware keeps it.
pub const ACPI: GuestAddress = GuestAddress(0xe_0000);
/// End of the area of the tables.
pub const ACPI_END: GuestAddress = GuestAddress(0x10_0000);
/// Where kernels are loaded.
pub const KERNEL: GuestAddress = GuestAddress(0x10_0000);

/// Below 4 GiB, memory ends here at the latest: above are devices.
pub const GAP: GuestAddress = GuestAddress(0xc000_0000);
/// And goes on here.
pub const GAP_END: GuestAddress = GuestAddress(0x1_0000_0000);

/// The first virtio device.
pub const VIRTIO: u64 = 0xd000_0000;
/// Bytes between one virtio device and the next.
pub const VIRTIO_SIZE: u64 = 0x1000;
/// Interrupt of the first virtio device; the others follow.
pub const VIRTIO_IRQ: u32 = 5;
/// Most virtio devices: one interrupt each, and the I/O APIC has 24.
pub const VIRTIO_MAX: usize = 24 - VIRTIO_IRQ as usize;

/// Ports of the first serial console.
pub const SERIAL: u64 = 0x3f8;
/// Its interrupt.
pub const SERIAL_IRQ: u32 = 4;
/// Sleep control and sleep status of hardware-reduced ACPI (ACPI 6.5, section 4.8.3.7).
pub const SLEEP: u64 = 0x600;
/// Reset register (ACPI 6.5, section 4.8.3.6).
pub const RESET: u64 = 0x608;
/// The keyboard controller, which old ways to reboot ask for a reset.
pub const KEYBOARD: u64 = 0x60;

/// Three pages that KVM needs on some processors, where no guest looks.
pub const TSS: usize = 0xfffb_d000;
/// One page more.
pub const IDENTITY_MAP: u64 = 0xfffb_c000;
/// The local APICs (Intel SDM 3A, section 11.4.1).
pub const LOCAL_APIC: u32 = 0xfee0_0000;
/// The I/O APIC.
pub const IO_APIC: u32 = 0xfec0_0000;
