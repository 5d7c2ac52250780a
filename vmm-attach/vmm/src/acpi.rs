//! ACPI tables: hardware-reduced, with the processors, the interrupt controllers, the serial
//! console and the virtio devices (ACPI 6.5, section 5.2).

use acpi_tables::{
    Aml, aml,
    fadt::{FADTBuilder, Flags},
    gas::{AccessSize, AddressSpace, GAS},
    madt::{EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic},
    rsdp::Rsdp,
    sdt::Sdt,
    xsdt::XSDT,
};
use vm_memory::{Address, Bytes, GuestAddress};

use crate::{
    error::{Error, Result},
    layout::{
        ACPI, ACPI_END, IO_APIC, LOCAL_APIC, RESET, SERIAL, SERIAL_IRQ, SLEEP, VIRTIO, VIRTIO_IRQ,
        VIRTIO_SIZE,
    },
    memory::Memory,
    power::{RESET_VALUE, SLEEP_OFF},
};

const OEM: [u8; 6] = *b"PORTCU";
const TABLE: [u8; 8] = *b"PORTCVMM";
const REVISION: u32 = 1;
/// Bytes of a table's header.
const HEADER: u32 = 36;
/// The DSDT's revision: 64-bit integers.
const DSDT_REVISION: u8 = 2;
/// No keyboard controller to look for, no VGA, no clock of a PC (ACPI 6.5, section 5.2.9.3).
const BOOT_ARCHITECTURE: u16 = 1 << 2 | 1 << 5;

/// Writes the tables for so many processors and virtio devices; the root pointer stands first.
pub fn write(memory: &Memory, processors: u8, devices: usize) -> Result<()> {
    let root = GuestAddress(ACPI.raw_value() + Rsdp::len().next_multiple_of(16) as u64);
    let mut area = Area { memory, next: root };
    let dsdt = area.put(&dsdt(devices))?;
    let fadt = area.put(&fadt(dsdt))?;
    let madt = area.put(&madt(processors))?;
    let mut xsdt = XSDT::new(OEM, TABLE, REVISION);
    for table in [fadt, madt] {
        xsdt.add_entry(table.raw_value());
    }
    let xsdt = area.put(&xsdt)?;
    Area { memory, next: ACPI }.put(&Rsdp::new(OEM, xsdt.raw_value())).map(drop)
}

/// Memory for tables.
struct Area<'a> {
    memory: &'a Memory,
    next: GuestAddress,
}

impl Area<'_> {
    fn put(&mut self, table: &dyn Aml) -> Result<GuestAddress> {
        let mut bytes = Vec::new();
        table.to_aml_bytes(&mut bytes);
        let at = self.next;
        let end = at.unchecked_add(bytes.len() as u64);
        if end > ACPI_END {
            return Err(Error::Memory { what: "too many devices for the ACPI tables".into() });
        }
        self.memory.write_slice(&bytes, at).map_err(Error::memory("ACPI tables"))?;
        self.next = GuestAddress(end.raw_value().next_multiple_of(16));
        Ok(at)
    }
}

fn fadt(dsdt: GuestAddress) -> impl Aml {
    let port = |port: u64| GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, port);
    let mut fadt = FADTBuilder::new(OEM, TABLE, REVISION)
        .dsdt_64(dsdt.raw_value())
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton);
    fadt.iapc_boot_arch = BOOT_ARCHITECTURE.into();
    fadt.reset_reg = port(RESET);
    fadt.reset_value = RESET_VALUE;
    fadt.sleep_control_reg = port(SLEEP);
    fadt.sleep_status_reg = port(SLEEP + 1);
    fadt.finalize()
}

fn madt(processors: u8) -> MADT {
    let mut madt = MADT::new(OEM, TABLE, REVISION, LocalInterruptController::Address(LOCAL_APIC));
    for id in 0..processors {
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, IO_APIC, 0));
    madt
}

/// Interrupts are edges, as the eventfds behind them are.
fn interrupt(number: u32) -> aml::Interrupt {
    aml::Interrupt::new(true, true, false, false, number)
}

fn dsdt(devices: usize) -> Sdt {
    let mut bytes = Vec::new();
    bytes.extend(console());
    for device in 0..devices {
        bytes.extend(virtio(device));
    }
    let off = aml::Package::new(vec![&SLEEP_OFF, &0_u8, &0_u8, &0_u8]);
    aml::Name::new("_S5_".into(), &off).to_aml_bytes(&mut bytes);
    let mut dsdt = Sdt::new(*b"DSDT", HEADER, DSDT_REVISION, OEM, TABLE, REVISION);
    dsdt.append_slice(&bytes);
    dsdt
}

fn console() -> Vec<u8> {
    let name = aml::Name::new("_HID".into(), &aml::EISAName::new("PNP0501"));
    let number = aml::Name::new("_UID".into(), &aml::ZERO);
    let (ports, irq) = (SERIAL as u16, interrupt(SERIAL_IRQ));
    let ports = aml::IO::new(ports, ports, 0, 8);
    let resources = aml::ResourceTemplate::new(vec![&irq, &ports]);
    let resources = aml::Name::new("_CRS".into(), &resources);
    let mut bytes = Vec::new();
    aml::Device::new("_SB_.COM1".into(), vec![&name, &number, &resources]).to_aml_bytes(&mut bytes);
    bytes
}

/// A device of virtio's on MMIO, by the name that Linux' driver looks for.
fn virtio(number: usize) -> Vec<u8> {
    let start = VIRTIO + VIRTIO_SIZE * number as u64;
    let name = aml::Name::new("_HID".into(), &"LNRO0005");
    let own = aml::Name::new("_UID".into(), &number);
    let coherent = aml::Name::new("_CCA".into(), &aml::ONE);
    let range = aml::Memory32Fixed::new(true, start as u32, VIRTIO_SIZE as u32);
    let irq = interrupt(VIRTIO_IRQ + number as u32);
    let resources = aml::ResourceTemplate::new(vec![&range, &irq]);
    let resources = aml::Name::new("_CRS".into(), &resources);
    let path = format!("_SB_.V{number:03}");
    let mut bytes = Vec::new();
    aml::Device::new(path.as_str().into(), vec![&name, &own, &coherent, &resources])
        .to_aml_bytes(&mut bytes);
    bytes
}
