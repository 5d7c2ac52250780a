//! Registers of the boot processor, and the tables that they name.

use kvm_bindings::{Msrs, kvm_fpu, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuFd;
use vm_memory::{Address, Bytes, GuestAddress};

use super::Entry;
use crate::{
    error::{Error, Result},
    layout::{GDT, PAGE_TABLES, STACK, START_INFO, ZERO_PAGE},
    memory::Memory,
};

const PAGE: u64 = 4096;
/// Present and writable.
const TABLE: u64 = 3;
/// The same, a page of 2 MiB.
const LARGE: u64 = 0x83;
/// Protection enabled.
const CR0_PE: u64 = 1;
/// Extension type: always set.
const CR0_ET: u64 = 1 << 4;
/// Paging.
const CR0_PG: u64 = 1 << 31;
/// Physical address extension.
const CR4_PAE: u64 = 1 << 5;
/// Long mode enabled, and active.
const EFER_LONG: u64 = 1 << 8 | 1 << 10;
/// Always set.
const RFLAGS: u64 = 2;

/// Descriptors: none, code, data, task state.
fn descriptors(long: bool) -> [u64; 4] {
    // Intel SDM 3A, section 3.4.5: 4 GiB from 0, present, ring 0; the code 64-bit (L) or 32-bit (D).
    let code = if long { 0x00af_9b00_0000_ffff } else { 0x00cf_9b00_0000_ffff };
    [0, code, 0x00cf_9300_0000_ffff, 0x008f_8b00_0000_ffff]
}

fn segment(descriptors: &[u64; 4], index: u16) -> kvm_segment {
    let d = descriptors[usize::from(index)];
    let bit = |at: u32| (d >> at & 1) as u8;
    let limit = (d & 0xffff | d >> 32 & 0xf_0000) as u32;
    kvm_segment {
        base: d >> 16 & 0xff_ffff | d >> 32 & 0xff00_0000,
        limit: if bit(55) == 1 { limit << 12 | 0xfff } else { limit },
        selector: index * 8,
        type_: (d >> 40 & 0xf) as u8,
        present: bit(47),
        dpl: (d >> 45 & 3) as u8,
        db: bit(54),
        s: bit(44),
        l: bit(53),
        g: bit(55),
        avl: bit(52),
        unusable: 0,
        padding: 0,
    }
}

/// Sets everything that the boot processor needs for its first instruction.
pub fn set(vcpu: &VcpuFd, memory: &Memory, entry: Entry) -> Result<()> {
    let long = matches!(entry, Entry::Linux64(_));
    let descriptors = descriptors(long);
    write_tables(memory, &descriptors)?;
    let sregs = vcpu.get_sregs().map_err(Error::kvm("reading registers"))?;
    let sregs = special(sregs, &descriptors, long);
    vcpu.set_sregs(&sregs).map_err(Error::kvm("setting special registers"))?;
    vcpu.set_regs(&general(entry)).map_err(Error::kvm("setting registers"))?;
    // The state of FNINIT and of a reset MXCSR (Intel SDM 1, sections 8.1.5 and 10.2.3).
    let fpu = kvm_fpu { fcw: 0x37f, mxcsr: 0x1f80, ..kvm_fpu::default() };
    vcpu.set_fpu(&fpu).map_err(Error::kvm("setting the FPU"))
}

fn write_tables(memory: &Memory, descriptors: &[u64; 4]) -> Result<()> {
    let write = |address: GuestAddress, words: &[u64]| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        memory.write_slice(&bytes, address).map_err(Error::memory("tables for the processor"))
    };
    write(GDT, descriptors)?;
    let at = PAGE_TABLES.raw_value();
    write(PAGE_TABLES, &[(at + PAGE) | TABLE])?;
    write(GuestAddress(at + PAGE), &[(at + 2 * PAGE) | TABLE])?;
    let pages: Vec<u64> = (0..512).map(|page| page << 21 | LARGE).collect();
    write(GuestAddress(at + 2 * PAGE), &pages)
}

fn special(mut s: kvm_sregs, descriptors: &[u64; 4], long: bool) -> kvm_sregs {
    s.cs = segment(descriptors, 1);
    let data = segment(descriptors, 2);
    (s.ds, s.es, s.fs, s.gs, s.ss) = (data, data, data, data, data);
    s.tr = segment(descriptors, 3);
    s.gdt.base = GDT.raw_value();
    s.gdt.limit = size_of_val(descriptors) as u16 - 1;
    (s.idt.base, s.idt.limit) = (0, 0xffff);
    s.cr0 = CR0_PE | CR0_ET;
    if long {
        s.cr0 |= CR0_PG;
        s.cr3 = PAGE_TABLES.raw_value();
        s.cr4 |= CR4_PAE;
        s.efer |= EFER_LONG;
    }
    s
}

fn general(entry: Entry) -> kvm_regs {
    let regs = kvm_regs { rflags: RFLAGS, rsp: STACK.raw_value(), ..kvm_regs::default() };
    match entry {
        Entry::Linux64(at) => {
            kvm_regs { rip: at.raw_value(), rsi: ZERO_PAGE.raw_value(), rbp: regs.rsp, ..regs }
        }
        Entry::Pvh(at) => kvm_regs { rip: at.raw_value(), rbx: START_INFO.raw_value(), ..regs },
    }
}

/// Model-specific registers as firmware leaves them.
pub fn set_msrs(vcpu: &VcpuFd) -> Result<()> {
    // Fast strings; write-back memory wherever nothing else is said (MTRR default type); and what
    // system calls use, empty.
    const MISC_ENABLE: (u32, u64) = (0x1a0, 1);
    const MTRR_DEFAULT: (u32, u64) = (0x2ff, 1 << 11 | 6);
    const ZEROED: [u32; 9] = [
        0x174,
        0x175,
        0x176,
        0xc000_0081,
        0xc000_0082,
        0xc000_0083,
        0xc000_0084,
        0xc000_0102,
        0x10,
    ];
    let zeroed = ZEROED.map(|index| (index, 0));
    let all: Vec<kvm_msr_entry> = zeroed
        .into_iter()
        .chain([MISC_ENABLE, MTRR_DEFAULT])
        .map(|(index, data)| kvm_msr_entry { index, data, ..kvm_msr_entry::default() })
        .collect();
    let msrs = Msrs::from_entries(&all).expect("eleven registers");
    vcpu.set_msrs(&msrs).map(drop).map_err(Error::kvm("setting model-specific registers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_flat() {
        for long in [false, true] {
            let descriptors = descriptors(long);
            let code = segment(&descriptors, 1);
            assert_eq!((code.base, code.limit, code.s, code.present), (0, u32::MAX, 1, 1));
            assert_eq!((code.l, code.db), if long { (1, 0) } else { (0, 1) });
            assert_eq!((code.type_, segment(&descriptors, 2).type_), (0xb, 3));
            assert_eq!(segment(&descriptors, 3).s, 0, "a system segment");
        }
    }
}
