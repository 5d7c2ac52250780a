//! The first instructions, and those that run when an interrupt comes.
//!
//! The monitor enters in long mode, with the first GiB mapped to itself and `boot_params` in RSI
//! (Linux' Documentation/arch/x86/boot.rst, "64-bit Boot Protocol").

use core::arch::global_asm;

// Page tables that are ready when the image is loaded: the first GiB, and the fourth, where the
// devices are, uncached. Pages of 2 MiB (Intel SDM 3A, section 4.5).
global_asm!(
    ".section .data.tables, \"aw\"",
    ".balign 4096",
    "table_top: .quad table_middle + 3",
    ".fill 511, 8, 0",
    "table_middle: .quad table_first + 3, 0, 0, table_fourth + 3",
    ".fill 508, 8, 0",
    "table_first:",
    ".set page, 0",
    ".rept 512",
    ".quad (page << 21) + 0x83",
    ".set page, page + 1",
    ".endr",
    "table_fourth:",
    ".rept 512",
    ".quad (page << 21) + 0xc0000000 - (512 << 21) + 0x93",
    ".set page, page + 1",
    ".endr",
);

global_asm!(
    ".section .bss.stack, \"aw\", @nobits",
    ".balign 16",
    "stack: .space 65536",
    "stack_end:",
    ".section .text.start, \"ax\"",
    ".global start",
    "start:",
    "cld",
    "lea rax, [table_top]",
    "mov cr3, rax",
    "lea rsp, [stack_end]",
    "mov rdi, rsi",
    "call {main}",
    "ud2",
    main = sym crate::main,
);

// An interrupt is only ever taken while `wait` waits, so its end needs no IRET, which KVM's
// emulator does not know in long mode: it takes the stack of `wait` back and returns to who called
// that, with interrupts off (the gate has done that).
global_asm!(
    ".section .text.wait, \"ax\"",
    ".global wait_for_interrupt",
    "wait_for_interrupt:",
    "sti",
    "hlt",
    "cli",
    "ret",
    ".global interrupted",
    "interrupted:",
    "mov rsp, [rsp + 24]",
    "ret",
    // What should never happen: the stack tells what.
    ".global faulted",
    "faulted:",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {fault}",
    fault = sym crate::fault,
);
