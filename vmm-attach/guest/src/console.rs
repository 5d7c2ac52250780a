//! The serial console: a 16550A.

use core::fmt;

use crate::cpu;

const PORT: u16 = 0x3f8;
const INTERRUPTS: u16 = PORT + 1;
const MODEM: u16 = PORT + 4;
const LINE: u16 = PORT + 5;
/// Its line of the I/O APIC.
const IRQ: u8 = 4;
/// An interrupt for bytes that came.
const RECEIVED: u8 = 1;
/// Lets interrupts out.
const OUT_2: u8 = 8;
const HAS_BYTE: u8 = 1;
const HAS_ROOM: u8 = 1 << 5;
/// Bytes that there is room for when there is room.
const FIFO: usize = 16;
/// Longest order.
const ORDER_MAX: usize = 256;

/// What was typed so far.
pub struct Console {
    typed: [u8; ORDER_MAX],
    length: usize,
}

impl Console {
    /// One that interrupts when somebody types.
    pub fn new() -> Self {
        cpu::write_port(INTERRUPTS, RECEIVED);
        cpu::write_port(MODEM, OUT_2);
        cpu::listen(IRQ);
        Self { typed: [0; ORDER_MAX], length: 0 }
    }

    /// A whole line, if there is one. What is longer than any order is cut.
    pub fn line(&mut self) -> Option<&str> {
        while cpu::read_port(LINE) & HAS_BYTE != 0 {
            match cpu::read_port(PORT) {
                b'\n' | b'\r' => {
                    let length = core::mem::take(&mut self.length);
                    return Some(core::str::from_utf8(&self.typed[..length]).unwrap_or("?"));
                }
                byte => {
                    if let Some(at) = self.typed.get_mut(self.length) {
                        *at = byte;
                        self.length += 1;
                    }
                }
            }
        }
        None
    }
}

/// Writes to the console.
struct Writer;

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.as_bytes().chunks(FIFO) {
            while cpu::read_port(LINE) & HAS_ROOM == 0 {}
            part.iter().for_each(|byte| cpu::write_port(PORT, *byte));
        }
        Ok(())
    }
}

/// Bytes as a JSON string, without the quotation marks around it.
pub struct Text<'a>(pub &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !b"\"\\".contains(byte);
        let mut rest = self.0;
        while !rest.is_empty() {
            let length = rest.iter().position(|byte| !plain(byte)).unwrap_or(rest.len());
            // All of it is ASCII.
            f.write_str(core::str::from_utf8(&rest[..length]).unwrap_or_default())?;
            rest = &rest[length..];
            if let [strange, behind @ ..] = rest {
                write!(f, "\\u{strange:04x}")?;
                rest = behind;
            }
        }
        Ok(())
    }
}

/// Says one JSON object, with these members, on a line.
pub fn say(members: fmt::Arguments<'_>) {
    use fmt::Write as _;
    // The console takes everything.
    let _ = writeln!(Writer, "{{{members}}}");
}

/// Says one JSON object: its members are written as for `format!`.
#[macro_export]
macro_rules! say {
    ($($members:tt)*) => { $crate::console::say(format_args!($($members)*)) };
}
