//! Other builds of the programs: BPF objects, by themselves or inside the `portcullis` program, are
//! changed in place. (Instructions: RFC 9669.)

use std::{fs, ops::Range, path::Path};

use object::{Object, ObjectSection, ObjectSymbol, read::elf::ElfFile64};

use crate::{Error, Result};

/// The programs that are attached to something: filter, fast lane, and gate in both its forms.
pub const HOOKS: [&str; 4] = ["ingress", "lane", "gate", "gate_generic"];

/// Bytes of an instruction.
const INSTRUCTION: usize = 8;
/// JEQ and JNE between two registers, 64 and 32 bits wide.
const EQUALITIES: [u8; 4] = [0x1d, 0x5d, 0x1e, 0x5e];
/// `r0 = r9`, 64 bits wide.
const FROM_NOTHING: [u8; INSTRUCTION] = [0xbf, 0x90, 0, 0, 0, 0, 0, 0];
/// How an ELF file for BPF begins: 64 bits, little endian; the machine's number comes later.
const MAGIC: &[u8] = b"\x7fELF\x02\x01\x01";
const MACHINE_AT: usize = 18;
const MACHINE_BPF: [u8; 2] = 247_u16.to_le_bytes();
/// Bytes of such a file's head.
const HEAD: usize = 64;

/// A build in which each of [`HOOKS`] has other instructions and the same meaning: where it asks
/// whether two registers are equal, it asks so the other way round.
pub fn harmless(build: &[u8]) -> Vec<u8> {
    edit(build, &HOOKS, |code| {
        for instruction in code.chunks_exact_mut(INSTRUCTION) {
            if EQUALITIES.contains(&instruction[0]) {
                instruction[1] = instruction[1].rotate_left(4);
            }
        }
    })
}

/// A build in which this program begins with a copy of a register that holds nothing.
pub fn refused(build: &[u8], program: &str) -> Vec<u8> {
    edit(build, &[program], |code| code[..INSTRUCTION].copy_from_slice(&FROM_NOTHING))
}

/// Writes the `portcullis` program with the objects of another build in it.
///
/// # Errors
/// Files that cannot be read or written.
pub fn write(program: &Path, to: &Path, other: impl Fn(&[u8]) -> Vec<u8>) -> Result<()> {
    // A copy has the permissions, too.
    fs::copy(program, to).map_err(Error::file(to))?;
    let bytes = fs::read(program).map_err(Error::file(program))?;
    fs::write(to, other(&bytes)).map_err(Error::file(to))
}

/// Every object of a build, with other instructions in these programs.
fn edit(build: &[u8], programs: &[&str], edit: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = build.to_vec();
    let objects = objects(build);
    for program in programs {
        let all =
            objects.iter().filter_map(|at| Some((*at, instructions(&build[*at..], program)?)));
        let mut changed = false;
        for (at, code) in all {
            let code = at + code.start..at + code.end;
            edit(&mut bytes[code.clone()]);
            changed |= bytes[code.clone()] != build[code];
        }
        assert!(changed, "nothing of {program} was changed");
    }
    bytes
}

/// Where objects for BPF begin.
fn objects(build: &[u8]) -> Vec<usize> {
    let begins = (0..build.len() - HEAD).filter(|at| build[*at..].starts_with(MAGIC));
    begins.filter(|at| build[at + MACHINE_AT..].starts_with(&MACHINE_BPF)).collect()
}

/// Where the instructions of a program are in an object, if it has one.
fn instructions(object: &[u8], program: &str) -> Option<Range<usize>> {
    let elf = ElfFile64::<object::LittleEndian>::parse(object).ok()?;
    let symbol = elf.symbol_by_name(program)?;
    let section = elf.section_by_index(symbol.section_index()?).ok()?;
    let at = (section.file_range()?.0 + symbol.address()) as usize;
    Some(at..at + symbol.size() as usize)
}
