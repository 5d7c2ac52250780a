//! A program that gives a frame the ports of the next connection and then jumps to the program
//! under test, so that BPF_PROG_TEST_RUN goes through many flows without leaving the kernel.
//!
//! It is a few dozen instructions written down by hand: whatever it costs is measured apart, with
//! the empty program behind it, and subtracted.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::{
    error::Error,
    frame::{CLIENT_PORTS, Direction, FIRST_SERVER_PORT, SERVER_PORTS},
    sys::{self, TestRun},
};

/// What the walker returns when it could not jump.
const NO_JUMP: i32 = -1;

/// A walker and the program behind it.
pub struct Walker {
    program: OwnedFd,
    state: OwnedFd,
    /// Holds the program under test.
    _jumps: OwnedFd,
}

impl Walker {
    /// A walker in front of `target`, for frames whose ports stand at `ports_at`.
    pub fn new(target: BorrowedFd<'_>, ports_at: usize) -> Result<Self, Error> {
        let create = |what, value_size| {
            sys::map_create(what, value_size, 1)
                .map_err(|e| Error::system("making a map for the walker", e))
        };
        let state = create(sys::ARRAY, size_of::<State>() as u32)?;
        let jumps = create(sys::PROG_ARRAY, 4)?;
        let code = code(sys::number(&state), sys::number(&jumps), ports_at as i16);
        let program = sys::program_load(&code).map_err(|(cause, log)| Error::Verifier {
            program: "walker",
            cause,
            log,
        })?;
        sys::map_update(&jumps, 0, &sys::number(&target).to_ne_bytes())
            .map_err(|e| Error::system("putting a program behind the walker", e))?;
        Ok(Self { program, state, _jumps: jumps })
    }

    /// Runs over `frame` `repeat` times, as connections `first`, `first + 1`, ... and after
    /// `count` of them again from `first`.
    pub fn run(
        &self,
        frame: &[u8],
        ifindex: u32,
        direction: Direction,
        (first, count): (u32, u32),
        repeat: u32,
    ) -> Result<TestRun, Error> {
        let state = State {
            next: first.into(),
            end: u64::from(first) + u64::from(count),
            first: first.into(),
            reply: (direction == Direction::Reply).into(),
        };
        sys::map_update(&self.state, 0, &state.bytes())
            .and_then(|()| sys::test_run(self.program.as_fd(), frame, ifindex, repeat))
            .map_err(|e| Error::system("BPF_PROG_TEST_RUN of the walker", e))
    }
}

/// The walker's map value; the code below knows the order.
#[derive(Clone, Copy)]
struct State {
    next: u64,
    end: u64,
    first: u64,
    reply: u64,
}

impl State {
    fn bytes(self) -> [u8; size_of::<Self>()] {
        let words = [self.next, self.end, self.first, self.reply].map(u64::to_ne_bytes);
        std::array::from_fn(|i| words[i / 8][i % 8])
    }
}

/// Operation codes (linux/bpf.h; Documentation/bpf/standardization/instruction-set.rst).
mod op {
    pub const LD_IMM64: u8 = 0x18;
    pub const LDX_W: u8 = 0x61;
    pub const LDX_DW: u8 = 0x79;
    #[cfg(test)]
    pub const LDX_H: u8 = 0x69;
    pub const ST_W: u8 = 0x62;
    pub const STX_H: u8 = 0x6b;
    pub const STX_DW: u8 = 0x7b;
    pub const MOV: u8 = 0xbf;
    pub const MOV_IMM: u8 = 0xb7;
    pub const ADD_IMM: u8 = 0x07;
    pub const AND_IMM: u8 = 0x57;
    pub const OR_IMM: u8 = 0x47;
    pub const RSH_IMM: u8 = 0x77;
    pub const TO_BE: u8 = 0xdc;
    pub const JA: u8 = 0x05;
    pub const JEQ_IMM: u8 = 0x15;
    pub const JNE_IMM: u8 = 0x55;
    pub const JGT: u8 = 0x2d;
    pub const JLT: u8 = 0xad;
    pub const CALL: u8 = 0x85;
    pub const EXIT: u8 = 0x95;
}

const MAP_LOOKUP: i32 = 1;
const TAIL_CALL: i32 = 12;
/// Source register of LD_IMM64 that makes its number a map descriptor.
const MAP_FD: u8 = 1;
/// Offsets in `struct __sk_buff`.
const DATA: i16 = 76;
const DATA_END: i16 = 80;

/// One instruction: operation, destination, source, offset, immediate.
fn insn(op: u8, dst: u8, src: u8, offset: i16, imm: i32) -> u64 {
    u64::from(op)
        | u64::from(src << 4 | dst) << 8
        | u64::from(offset as u16) << 16
        | u64::from(imm as u32) << 32
}

/// The walker. r6: context, r7: connection, r8: the one after it, r9: is it a reply?
fn code(state: i32, jumps: i32, ports_at: i16) -> Vec<u64> {
    let server_shift = CLIENT_PORTS.trailing_zeros() as i32;
    vec![
        insn(op::MOV, 6, 1, 0, 0),
        insn(op::ST_W, 10, 0, -4, 0),
        insn(op::MOV, 2, 10, 0, 0),
        insn(op::ADD_IMM, 2, 0, 0, -4),
        insn(op::LD_IMM64, 1, MAP_FD, 0, state),
        0,
        insn(op::CALL, 0, 0, 0, MAP_LOOKUP),
        insn(op::JEQ_IMM, 0, 0, 33, 0), // no state: out
        insn(op::LDX_DW, 7, 0, 0, 0),
        insn(op::MOV, 8, 7, 0, 0),
        insn(op::ADD_IMM, 8, 0, 0, 1),
        insn(op::LDX_DW, 1, 0, 8, 0),
        insn(op::JLT, 8, 1, 1, 0), // not the end yet
        insn(op::LDX_DW, 8, 0, 16, 0),
        insn(op::STX_DW, 0, 8, 0, 0),
        insn(op::LDX_DW, 9, 0, 24, 0),
        insn(op::LDX_W, 2, 6, DATA, 0),
        insn(op::LDX_W, 3, 6, DATA_END, 0),
        insn(op::MOV, 4, 2, 0, 0),
        insn(op::ADD_IMM, 4, 0, 0, i32::from(ports_at) + 4),
        insn(op::JGT, 4, 3, 20, 0), // too short: out
        insn(op::MOV, 4, 7, 0, 0),  // r4: client port
        insn(op::AND_IMM, 4, 0, 0, CLIENT_PORTS as i32 - 1),
        insn(op::OR_IMM, 4, 0, 0, 0x8000),
        insn(op::TO_BE, 4, 0, 0, 16),
        insn(op::MOV, 5, 7, 0, 0), // r5: server port
        insn(op::RSH_IMM, 5, 0, 0, server_shift),
        insn(op::AND_IMM, 5, 0, 0, SERVER_PORTS as i32 - 1),
        insn(op::ADD_IMM, 5, 0, 0, i32::from(FIRST_SERVER_PORT)),
        insn(op::TO_BE, 5, 0, 0, 16),
        insn(op::JNE_IMM, 9, 0, 3, 0), // a reply
        insn(op::STX_H, 2, 4, ports_at, 0),
        insn(op::STX_H, 2, 5, ports_at + 2, 0),
        insn(op::JA, 0, 0, 2, 0),
        insn(op::STX_H, 2, 5, ports_at, 0),
        insn(op::STX_H, 2, 4, ports_at + 2, 0),
        insn(op::MOV, 1, 6, 0, 0),
        insn(op::LD_IMM64, 2, MAP_FD, 0, jumps),
        0,
        insn(op::MOV_IMM, 3, 0, 0, 0),
        insn(op::CALL, 0, 0, 0, TAIL_CALL),
        insn(op::MOV_IMM, 0, 0, 0, NO_JUMP), // out
        insn(op::EXIT, 0, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::{PORTS_AT, Segment, Template, ports},
        world::Ends,
    };

    /// A program that returns the 16 bits at `at` of its frame.
    fn word_at(at: i16) -> OwnedFd {
        sys::program_load(&[
            insn(op::LDX_W, 2, 1, DATA, 0),
            insn(op::LDX_W, 3, 1, DATA_END, 0),
            insn(op::MOV_IMM, 0, 0, 0, 0),
            insn(op::MOV, 4, 2, 0, 0),
            insn(op::ADD_IMM, 4, 0, 0, i32::from(at) + 2),
            insn(op::JGT, 4, 3, 2, 0),
            insn(op::LDX_H, 0, 2, at, 0),
            insn(op::TO_BE, 0, 0, 0, 16),
            insn(op::EXIT, 0, 0, 0, 0),
        ])
        .expect("the verifier accepts it")
    }

    #[test]
    fn every_run_sees_the_next_connection_and_the_last_is_followed_by_the_first() {
        let Ends { client, server } = Ends::switched();
        let frame = Template::tcp(client, server, Segment::Syn);
        let at = PORTS_AT as i16;
        for (offset, direction, is_client) in [
            (at, Direction::Forward, true),
            (at + 2, Direction::Forward, false),
            (at, Direction::Reply, false),
            (at + 2, Direction::Reply, true),
        ] {
            let target = word_at(offset);
            let walker = Walker::new(target.as_fd(), PORTS_AT).unwrap();
            for (repeat, expected) in [(1, 32_766), (3, 32_768), (5, 32_766), (7, 32_768)] {
                let run = walker.run(frame.frame(), 1, direction, (32_766, 4), repeat).unwrap();
                let (client_port, server_port) = ports(expected);
                let want = if is_client { client_port } else { server_port };
                assert_eq!(run.verdict, u32::from(want), "{direction:?} {offset} {repeat}");
            }
        }
    }
}
