//! Virtual machines of a few instructions: kernels that speak to their serial console and end.

/// Where their code stands.
const CODE: u64 = 0x10_0000;
/// The serial console's first port.
const SERIAL: u16 = 0x3f8;
/// `PT_LOAD` and `PT_NOTE`, and a type of note: `XEN_ELFNOTE_PHYS32_ENTRY`.
const LOAD: u32 = 1;
const NOTE: u32 = 4;
const PHYS32_ENTRY: u32 = 18;

/// Stops until an interrupt comes: never.
pub const HALT: &[u8] = &[0xf4];
/// Without a table of interrupts, the first exception is the third at once.
pub const TRIPLE_FAULT: &[u8] = &[0x0f, 0x0b];
/// Goes round for ever.
pub const FOR_EVER: &[u8] = &[0xeb, 0xfe];

/// Keeps `m` in its page [`KEPT`] and `r` in a register, says `a`, waits for a key, and writes the
/// key and both, and another letter into the page.
pub const WAIT_FOR_A_KEY: &[u8] = &[
    0xc6, 0x04, 0x25, 0x00, 0x00, 0x20, 0x00, b'm', // mov byte [0x200000], 'm'
    0xb3, b'r', // mov bl, 'r'
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xb0, b'a', 0xee, // mov al, 'a'; out dx, al
    0x66, 0xba, 0xfd, 0x03, // again: mov dx, 0x3fd
    0xec, 0xa8, 0x01, // in al, dx; test al, 1
    0x74, 0xf7, // jz again
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xec, 0xee, // in al, dx; out dx, al
    0x88, 0xd8, 0xee, // mov al, bl; out dx, al
    0x8a, 0x04, 0x25, 0x00, 0x00, 0x20, 0x00, 0xee, // mov al, [0x200000]; out dx, al
    0x88, 0x04, 0x25, 0x01, 0x00, 0x20, 0x00, // mov [0x200001], al
];
/// Number of that page, of 4 KiB.
pub const KEPT: u64 = 0x200;

/// Writes a byte to a port, in protected mode as in long mode: `mov dx, port; mov al, byte; out
/// dx, al`.
pub fn out(port: u16, byte: u8) -> Vec<u8> {
    let [low, high] = port.to_le_bytes();
    vec![0x66, 0xba, low, high, 0xb0, byte, 0xee]
}

/// Writes text to the serial console.
pub fn say(text: &str) -> Vec<u8> {
    text.bytes().flat_map(|byte| out(SERIAL, byte)).collect()
}

/// Switches off: `_S5` of the tables that our monitor makes.
pub fn off() -> Vec<u8> {
    out(0x600, 1 << 5 | 5 << 2)
}

/// An ELF kernel of this code: for the 64-bit boot protocol of Linux, or with a note for PVH, which
/// begins in protected mode.
pub fn kernel(code: &[u8], pvh: bool) -> Vec<u8> {
    let note = if pvh { note() } else { Vec::new() };
    let headers: u16 = if pvh { 2 } else { 1 };
    let start = 64 + 56 * u64::from(headers);
    let mut file = Words(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec());
    // An executable for x86-64; where it begins, and where its headers are.
    file.halves(&[2, 62]).words(&[1]).longs(&[CODE, 64, 0]).words(&[0]);
    file.halves(&[64, 56, headers, 64, 0, 0]);
    let size = code.len() as u64;
    file.words(&[LOAD, 5]).longs(&[start, CODE, CODE, size, size, 4096]);
    if pvh {
        let (at, size) = (start + size, note.len() as u64);
        file.words(&[NOTE, 4]).longs(&[at, 0, 0, size, size, 4]);
    }
    [file.0, code.to_vec(), note].concat()
}

fn note() -> Vec<u8> {
    let mut note = Words(Vec::new());
    note.words(&[4, 4, PHYS32_ENTRY]).0.extend(b"Xen\0");
    note.words(&[CODE as u32]);
    note.0
}

/// Numbers, little-endian, one after the other.
struct Words(Vec<u8>);

impl Words {
    fn halves(&mut self, all: &[u16]) -> &mut Self {
        self.0.extend(all.iter().flat_map(|half| half.to_le_bytes()));
        self
    }

    fn words(&mut self, all: &[u32]) -> &mut Self {
        self.0.extend(all.iter().flat_map(|word| word.to_le_bytes()));
        self
    }

    fn longs(&mut self, all: &[u64]) -> &mut Self {
        self.0.extend(all.iter().flat_map(|long| long.to_le_bytes()));
        self
    }
}
