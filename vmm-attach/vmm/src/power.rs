//! The ways in which a guest switches itself off or starts anew.

use std::sync::mpsc::Sender;

use crate::{bus::Device, machine::End};

/// `SLP_EN` with the type that `_S5` names (ACPI 6.5, section 4.8.3.7).
const SLEEP_ENABLE: u8 = 1 << 5;
/// The sleep type of "off": what `_S5` says.
pub const SLEEP_OFF: u8 = 5;
/// What is written to the sleep control register to switch the machine off.
pub const SWITCH_OFF: u8 = SLEEP_ENABLE | SLEEP_OFF << 2;
/// What the reset register wants (our FADT says so).
pub const RESET_VALUE: u8 = 1;
/// Offset of the command register of the keyboard controller.
const COMMAND: u64 = 4;
/// Its command that pulses the processor's reset line.
const PULSE: u8 = 0xfe;

/// Sleep control, sleep status, and the reset register behind them.
pub struct Power(pub Sender<End>);

impl Device for Power {
    fn read(&mut self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let end = match (offset, data.first()) {
            (0, Some(&SWITCH_OFF)) => End::Off,
            (8, Some(&RESET_VALUE)) => End::Reboot,
            _ => return,
        };
        // Nobody listens any more: it is ending already.
        let _ = self.0.send(end);
    }
}

/// A keyboard controller without a keyboard: it only resets.
pub struct Keyboard(pub Sender<End>);

impl Device for Keyboard {
    fn read(&mut self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if offset == COMMAND && data.first() == Some(&PULSE) {
            let _ = self.0.send(End::Reboot);
        }
    }
}
