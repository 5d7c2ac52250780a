//! Instructions that no language has, and the interrupt controllers.

use core::{arch::asm, ptr};

use crate::room::Room;

// SAFETY: `start.rs` has them, and says what they do.
unsafe extern "C" {
    fn wait_for_interrupt();
    safe fn interrupted();
    safe fn faulted();
}

/// The first interrupt vector that is no exception; those of lines follow it.
const VECTORS: u8 = 0x20;
/// Behind the lines of the I/O APIC: the timer's.
const TIMER_VECTOR: u8 = VECTORS + 24;
/// Spurious interrupts.
const SPURIOUS_VECTOR: u8 = 0xff;
/// The code segment that the monitor has made.
const CODE: u16 = 8;
/// Present, an interrupt gate (Intel SDM 3A, section 7.14.1).
const GATE: u16 = 0x8e00;

/// The local APIC (Intel SDM 3A, section 11.4.1) and its registers.
const LOCAL_APIC: usize = 0xfee0_0000;
const END_OF_INTERRUPT: usize = 0xb0;
const SPURIOUS: usize = 0xf0;
const TIMER: usize = 0x320;
const LINE_0: usize = 0x350;
const TIMER_COUNT: usize = 0x380;
const TIMER_DIVIDE: usize = 0x3e0;
const ENABLED: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const DIVIDE_BY_1: u32 = 0xb;
/// KVM's local APIC counts nanoseconds (`APIC_BUS_CYCLE_NS`).
const COUNTS_PER_US: u64 = 1000;

/// The I/O APIC (Intel 82093AA, section 3).
const IO_APIC: usize = 0xfec0_0000;
const IO_WINDOW: usize = 0x10;
const IO_REDIRECTIONS: u32 = 0x10;

/// `MSR_KVM_SYSTEM_TIME_NEW` (Linux' Documentation/virt/kvm/x86/msr.rst).
const SYSTEM_TIME: u32 = 0x4b56_4d01;

/// A gate of the interrupt descriptor table: two words of 64 bits.
type Gate = [u64; 2];
static GATES: Room<[Gate; 256]> = Room::new([[0; 2]; 256]);

/// Writes a byte to a port.
pub fn write_port(port: u16, byte: u8) {
    // SAFETY: no port of this machine writes to memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") byte, options(nomem, nostack)) }
}

/// Reads a byte from a port.
pub fn read_port(port: u16) -> u8 {
    let byte: u8;
    // SAFETY: as above.
    unsafe { asm!("in al, dx", in("dx") port, out("al") byte, options(nomem, nostack)) }
    byte
}

/// Ticks of the processor.
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Stops for ever.
pub fn stop() -> ! {
    loop {
        // SAFETY: nothing comes after it.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}

/// Lets KVM keep the time at this address, which it does from now on.
pub fn keep_time(at: usize) {
    let value = at as u64 | 1;
    // SAFETY: what is there is KVM's from now on: [`crate::clock`] says so.
    unsafe {
        asm!("wrmsr", in("ecx") SYSTEM_TIME, in("eax") value as u32,
            in("edx") (value >> 32) as u32, options(nostack));
    }
}

/// Gates, and an APIC that brings interrupts through them.
pub fn set_up_interrupts() {
    let gates = GATES.take();
    let gate = |handler: extern "C" fn()| -> Gate {
        let at = handler as usize as u64;
        let low = at & 0xffff | u64::from(CODE) << 16 | u64::from(GATE) << 32;
        [low | (at >> 16 & 0xffff) << 48, at >> 32]
    };
    let (exceptions, others) = gates.split_at_mut(VECTORS.into());
    exceptions.fill(gate(faulted));
    others[..usize::from(TIMER_VECTOR - VECTORS) + 1].fill(gate(interrupted));
    others[usize::from(SPURIOUS_VECTOR - VECTORS)] = gate(interrupted);
    let mut table = [0_u8; 10];
    table[..2].copy_from_slice(&(size_of_val(gates) as u16 - 1).to_le_bytes());
    table[2..].copy_from_slice(&(gates.as_ptr() as u64).to_le_bytes());
    // SAFETY: the table is static, and its handlers return as `start.rs` says.
    unsafe { asm!("lidt [{}]", in(reg) &table, options(readonly, nostack)) }
    // The old interrupt controllers are not used.
    write_port(0x21, 0xff);
    write_port(0xa1, 0xff);
    apic(LINE_0, MASKED);
    apic(SPURIOUS, ENABLED | u32::from(SPURIOUS_VECTOR));
    apic(TIMER_DIVIDE, DIVIDE_BY_1);
    apic(TIMER, TIMER_VECTOR.into());
}

/// Lets a line of the I/O APIC interrupt: edges, to the first processor.
pub fn listen(line: u8) {
    let entry = IO_REDIRECTIONS + 2 * u32::from(line);
    for (register, value) in [(entry + 1, 0), (entry, u32::from(VECTORS + line))] {
        write(IO_APIC, register);
        write(IO_APIC + IO_WINDOW, value);
    }
}

/// Waits for an interrupt, at most so long.
pub fn wait(us: u64) {
    let counts = us.saturating_mul(COUNTS_PER_US).clamp(1, u32::MAX.into());
    apic(TIMER_COUNT, counts as u32);
    // SAFETY: it takes one interrupt, and returns with interrupts off.
    unsafe { wait_for_interrupt() }
    apic(END_OF_INTERRUPT, 0);
}

fn apic(register: usize, value: u32) {
    write(LOCAL_APIC + register, value);
}

/// Writes a register of a device.
pub fn write(at: usize, value: u32) {
    // SAFETY: the addresses of devices hold nothing that Rust knows of.
    unsafe { ptr::with_exposed_provenance_mut::<u32>(at).write_volatile(value) }
}

/// Reads one.
pub fn read(at: usize) -> u32 {
    // SAFETY: as above.
    unsafe { ptr::with_exposed_provenance::<u32>(at).read_volatile() }
}
