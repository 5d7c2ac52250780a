//! Other builds of the `portcullis` program: the BPF object that it carries is changed in place.
//! (Instructions: RFC 9669.)

use std::{fs, ops::Range, path::Path};

use object::{Object, ObjectSection, ObjectSymbol, read::elf::ElfFile64};

/// Bytes of an instruction.
const INSTRUCTION: usize = 8;
/// JEQ and JNE between two registers, 64 and 32 bits wide.
const EQUALITIES: [u8; 4] = [0x1d, 0x5d, 0x1e, 0x5e];
/// `dst = src`, 64 bits wide.
const MOVE: u8 = 0xbf;
/// How an ELF file for BPF begins: 64 bits, little endian; the machine's number comes later.
const MAGIC: &[u8] = b"\x7fELF\x02\x01\x01";
const MACHINE_AT: usize = 18;
const MACHINE_BPF: [u8; 2] = 247_u16.to_le_bytes();

/// Writes a build whose filter has other instructions and the same meaning: where it asks whether
/// two registers are equal, it asks so the other way round.
pub fn harmless(program: &Path, to: &Path) {
    change(program, to, |filter| {
        for instruction in filter.chunks_exact_mut(INSTRUCTION) {
            if EQUALITIES.contains(&instruction[0]) {
                instruction[1] = instruction[1].rotate_left(4);
            }
        }
    });
}

/// Writes a build whose filter begins with a copy of a register that holds nothing.
pub fn refused(program: &Path, to: &Path) {
    change(program, to, |filter| {
        let first = &mut filter[..INSTRUCTION];
        assert_eq!(first[0], MOVE, "{first:02x?}");
        first[1] = first[1] & 0x0f | 0x90;
    });
}

fn change(program: &Path, to: &Path, edit: impl Fn(&mut [u8])) {
    // A copy has the permissions, too.
    fs::copy(program, to).unwrap();
    let mut bytes = fs::read(program).unwrap();
    let before = bytes.clone();
    for filter in filters(&before) {
        edit(&mut bytes[filter]);
    }
    assert_ne!(before, bytes, "nothing was changed");
    fs::write(to, bytes).unwrap();
}

/// Where the instructions of the program `ingress` are, in each embedded object that has one.
fn filters(program: &[u8]) -> Vec<Range<usize>> {
    let begins = (0..program.len() - 64).filter(|at| program[*at..].starts_with(MAGIC));
    let objects = begins.filter(|at| program[at + MACHINE_AT..].starts_with(&MACHINE_BPF));
    objects.filter_map(|at| Some((at, filter(&program[at..])?))).map(shifted).collect()
}

fn shifted((by, range): (usize, Range<usize>)) -> Range<usize> {
    by + range.start..by + range.end
}

fn filter(object: &[u8]) -> Option<Range<usize>> {
    let elf = ElfFile64::<object::LittleEndian>::parse(object).ok()?;
    let ingress = elf.symbol_by_name("ingress")?;
    let section = elf.section_by_index(ingress.section_index()?).ok()?;
    let at = (section.file_range()?.0 + ingress.address()) as usize;
    Some(at..at + ingress.size() as usize)
}
