//! A guest on no operating system, for tests that need many and cheap ones: it answers ARP,
//! neighbours, ping, echoes over TCP and UDP, and a tiny web server; it asks DHCP for its address,
//! takes orders on its console, one on a line, and answers each with a JSON object on a line.
//!
//! It is small and boots in milliseconds also where every instruction is emulated: it has no
//! allocator, fills no memory with zeros, and stops its processor when there is nothing to do.

#![no_std]
#![no_main]

mod caller;
mod clock;
mod console;
mod cpu;
mod frames;
mod lie;
mod neighbours;
mod nic;
mod order;
mod parameters;
mod room;
mod services;
mod stack;
mod start;
mod virtio;

use core::panic::PanicInfo;

use crate::{
    console::{Console, Text},
    nic::Nic,
    order::{ORDERS, Order},
    parameters::Parameters,
    stack::Stack,
};

/// The keyboard controller's commands, and the one that resets.
const KEYBOARD: u16 = 0x64;
const RESET: u8 = 0xfe;

/// The first function; `boot_params` is that of Linux' 64-bit boot protocol.
extern "C" fn main(boot_params: usize) -> ! {
    cpu::set_up_interrupts();
    clock::start();
    // SAFETY: `start` hands over what the monitor has left.
    let parameters = unsafe { Parameters::read(boot_params) };
    let nic = parameters.devices().find_map(|(at, line)| Nic::find(at, line));
    let Some(nic) = nic else { panic!("there is no network card") };
    let mut stack = Stack::new(nic, &parameters);
    let mut console = Console::new();
    let ms = clock::now_ns() / 1_000_000;
    say!("\"event\":\"up\",\"mac\":\"{}\",\"ms\":{ms}", stack.mac());
    loop {
        stack.work();
        if !stack.caller.is_busy()
            && let Some(line) = console.line()
        {
            match Order::parse(line) {
                Some(Order::Off) => switch_off(&parameters),
                Some(Order::Reboot) => reset(),
                Some(order) => stack.obey(order),
                None if line.is_empty() => {}
                None => {
                    let line = Text(line.as_bytes());
                    say!(
                        "\"error\":\"no such order\",\"order\":\"{line}\",\"orders\":\"{ORDERS}\""
                    );
                }
            }
            continue;
        }
        stack.rest();
    }
}

fn switch_off(parameters: &Parameters) -> ! {
    say!("\"event\":\"off\"");
    if let Some((port, value)) = parameters.power_off() {
        cpu::write_port(port, value);
    }
    cpu::stop()
}

fn reset() -> ! {
    say!("\"event\":\"reboot\"");
    cpu::write_port(KEYBOARD, RESET);
    cpu::stop()
}

/// An exception: `start.rs` gives what the processor has left on the stack, where an error code
/// may stand first.
extern "C" fn fault(stack: &[u64; 6]) -> ! {
    panic!("an exception; the stack is {stack:x?}")
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let at = info.location().map_or(0, |location| location.line());
    let file = info.location().map_or("", |location| location.file());
    say!("\"event\":\"panic\",\"what\":\"{}\",\"file\":\"{file}\",\"line\":{at}", info.message());
    cpu::write_port(KEYBOARD, RESET);
    cpu::stop()
}
