//! The serial console.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use vm_superio::{
    Serial as Uart, Trigger,
    serial::{NoEvents, SerialState},
};
use vmm_sys_util::eventfd::EventFd;

use crate::{
    bus::Device,
    error::{Error, Result},
};

/// Raises the console's interrupt.
pub struct Interrupt(pub EventFd);

impl Trigger for Interrupt {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// What a console writes to.
pub type Output = Box<dyn Write + Send>;

/// A 16550A: eight ports.
pub struct Serial(Uart<Interrupt, NoEvents, Output>);

/// What a console is at one moment: its registers, and what was typed and not yet read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    divisor: [u8; 2],
    interrupt_enable: u8,
    interrupt_identification: u8,
    line_control: u8,
    line_status: u8,
    modem_control: u8,
    modem_status: u8,
    scratch: u8,
    typed: Vec<u8>,
}

impl Serial {
    /// A console whose guest writes to `output`.
    pub fn new(interrupt: EventFd, output: Output) -> Self {
        Self(Uart::new(Interrupt(interrupt), output))
    }

    /// A console that was another one.
    pub fn restored(interrupt: EventFd, output: Output, state: &State) -> Result<Self> {
        let state = SerialState {
            baud_divisor_low: state.divisor[0],
            baud_divisor_high: state.divisor[1],
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            in_buffer: state.typed.clone(),
        };
        let uart = Uart::from_state(&state, Interrupt(interrupt), NoEvents, output);
        uart.map(Self).map_err(|error| Error::state(format!("its console: {error:?}")))
    }

    /// What it is now.
    pub fn save(&self) -> State {
        let state = self.0.state();
        State {
            divisor: [state.baud_divisor_low, state.baud_divisor_high],
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            typed: state.in_buffer,
        }
    }

    /// Room for bytes to the guest.
    pub fn room(&self) -> usize {
        self.0.fifo_capacity()
    }

    /// Bytes to the guest, at most as many as there is [`room`](Self::room) for.
    pub fn type_in(&mut self, bytes: &[u8]) {
        // It refuses only what there is no room for, and an interrupt that cannot be raised is
        // one of a machine that ends.
        let _ = self.0.enqueue_raw_bytes(bytes);
    }
}

impl Device for Serial {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        if let [byte] = data {
            *byte = self.0.read(offset as u8);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if let [byte] = data {
            // An output that is closed takes nothing away from the guest.
            let _ = self.0.write(offset as u8, *byte);
        }
    }
}
