//! A vhost-user front end that lies at random: messages of any length about memory, queues and
//! features, with descriptors of any kind or none, and guests that write anything into their rings.

use std::{
    fs::File,
    io::{IoSlice, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::Duration,
};

use nix::{
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::{ControlMessage, MsgFlags, sendmsg},
    },
    unistd::pipe,
};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::{
    Error, Result,
    front::{Front, Layout, Queue, SIZE},
    random::Random,
};

/// Requests of the protocol (QEMU's "Vhost-user Protocol", section "Front-end message types").
const REQUESTS: u32 = 45;
const SET_FEATURES: u32 = 2;
const SET_OWNER: u32 = 3;
const SET_MEM_TABLE: u32 = 5;
const SET_LOG_BASE: u32 = 6;
const SET_VRING_NUM: u32 = 8;
const SET_VRING_ADDR: u32 = 9;
const SET_VRING_BASE: u32 = 10;
const GET_VRING_BASE: u32 = 11;
const SET_VRING_KICK: u32 = 12;
const SET_VRING_CALL: u32 = 13;
const SET_PROTOCOL_FEATURES: u32 = 16;
const SET_VRING_ENABLE: u32 = 18;
const GET_INFLIGHT_FD: u32 = 31;
const SET_INFLIGHT_FD: u32 = 32;
const ADD_MEM_REG: u32 = 37;
const REM_MEM_REG: u32 = 38;

/// Version 1 of the protocol.
const VERSION: u32 = 1;
/// Most bytes of a message behind its header.
const BODY_MAX: usize = 4096 + 64;
/// Most descriptors beside one: more than a message can need.
const FILES_MAX: usize = 12;
/// Where a front end that tells the truth has its guest's memory.
const USER: u64 = 0x7f00_0000_0000;
/// Bytes of that memory.
const MEMORY: u64 = Layout::WIDE.memory();
/// Numbers at which things go wrong.
const NUMBERS: [u64; 22] = [
    0,
    1,
    2,
    3,
    15,
    0x100,
    0x101,
    0x400,
    0x1000,
    0x4000,
    0x8000,
    0xffff,
    0x1_0000,
    MEMORY - 1,
    MEMORY,
    MEMORY + 1,
    USER,
    USER + 0x4000,
    USER + MEMORY - 8,
    u32::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// One that lies.
pub struct Liar {
    random: Random,
    /// What it can put beside a message.
    files: Vec<OwnedFd>,
}

impl Liar {
    /// One whose lies come again with their seed.
    pub fn new(seed: u64) -> Result<Self> {
        let memory = File::from(
            memfd_create("liar", MFdFlags::MFD_CLOEXEC).map_err(Error::system("memfd"))?,
        );
        memory.set_len(MEMORY).map_err(Error::system("ftruncate"))?;
        let short = File::from(
            memfd_create("short", MFdFlags::MFD_CLOEXEC).map_err(Error::system("memfd"))?,
        );
        short.set_len(100).map_err(Error::system("ftruncate"))?;
        let null = File::open("/dev/null").map_err(Error::file("/dev/null"))?;
        let (read, write) = pipe().map_err(Error::system("pipe"))?;
        let files = vec![memory.into(), short.into(), null.into(), read, write];
        Ok(Self { random: Random::new(seed), files })
    }

    fn number(&mut self) -> u64 {
        match self.random.below(4) {
            0 => self.random.next_u64(),
            1 => self.random.next_u64() % MEMORY,
            _ => *self.random.pick(&NUMBERS),
        }
    }

    /// Speaks with the back end at `socket` until it is cut off, or has said enough.
    pub fn speak(&mut self, socket: &Path) -> Result<()> {
        let mut stream = UnixStream::connect(socket).map_err(Error::file(socket))?;
        let limit = Some(Duration::from_millis(50));
        stream.set_write_timeout(limit).map_err(Error::system("SO_SNDTIMEO"))?;
        stream
            .set_read_timeout(Some(Duration::from_millis(1)))
            .map_err(Error::system("SO_RCVTIMEO"))?;
        let kicks: Vec<EventFd> = (0..2).filter_map(|_| EventFd::new(EFD_NONBLOCK).ok()).collect();
        for (request, body, file) in self.truth(&kicks) {
            if self.random.one_in(12) {
                continue;
            }
            let (request, body) = self.bend(request, body);
            let files = self.beside(file);
            if !say(&stream, request, VERSION | self.wish(), &body, &files) {
                return Ok(());
            }
            kicks.iter().for_each(|kick| drop(kick.write(1)));
            // What it is told it does not read to the end, or not at all.
            let _ = stream.read(&mut [0; 64]);
        }
        for _ in 0..self.random.below(20) {
            let request = self.random.below(REQUESTS as usize) as u32;
            let body = self.body();
            let files = self.beside(None);
            if !say(&stream, request, self.random.below(16) as u32, &body, &files) {
                return Ok(());
            }
        }
        // The beginning of a message, and then silence or the end.
        let header = [SET_MEM_TABLE, VERSION, 8 + 32 * 8].map(u32::to_le_bytes);
        let cut = self.random.below(13).min(12);
        let _ = stream.write(&header.as_flattened()[..cut]);
        Ok(())
    }

    /// Wants an answer to each, or not.
    fn wish(&mut self) -> u32 {
        if self.random.one_in(3) { 1 << 3 } else { 0 }
    }

    /// What an honest front end would say, with what it would put beside it.
    fn truth(&mut self, kicks: &[EventFd]) -> Vec<(u32, Vec<u8>, Option<RawFd>)> {
        let words =
            |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        let pair = |a: u32, b: u32| [a.to_le_bytes(), b.to_le_bytes()].concat();
        let memory = Some(self.files[0].as_raw_fd());
        let region = words(&[1, 0, MEMORY, USER, 0]);
        let log = [1 << 26, 0][self.random.below(2)];
        let mut all = vec![
            (SET_OWNER, Vec::new(), None),
            (SET_FEATURES, words(&[1 << 32 | 1 << 30 | 1 << 29 | 1 << 28 | 1 << 15 | log]), None),
            (SET_PROTOCOL_FEATURES, words(&[1 << 1 | 1 << 3 | 1 << 12 | 1 << 15]), None),
            (SET_MEM_TABLE, region, memory),
            (SET_LOG_BASE, words(&[0x1000, 0]), memory),
            (GET_INFLIGHT_FD, words(&[0, 0, 2 | 256 << 16]), None),
            (SET_INFLIGHT_FD, words(&[0x4000, 0, 2 | 256 << 16]), memory),
            (ADD_MEM_REG, words(&[0, MEMORY, 0x1000, USER + MEMORY, 0]), memory),
        ];
        for (index, kick) in (0_u32..).zip(kicks) {
            let base = USER + 0x8000 * u64::from(index);
            let places = words(&[u64::from(index), base, base + 0x5000, base + 0x4000, 0x5000]);
            all.push((SET_VRING_NUM, pair(index, 256), None));
            all.push((SET_VRING_ADDR, places, None));
            all.push((SET_VRING_BASE, pair(index, 0), None));
            all.push((SET_VRING_CALL, words(&[index.into()]), Some(kick.as_raw_fd())));
            all.push((SET_VRING_KICK, words(&[index.into()]), Some(kick.as_raw_fd())));
            all.push((SET_VRING_ENABLE, pair(index, 1), None));
        }
        all.push((REM_MEM_REG, words(&[0, MEMORY, 0x1000, USER + MEMORY, 0]), None));
        all.push((GET_VRING_BASE, pair(self.random.below(3) as u32, 0), None));
        all
    }

    /// The message, or something like it.
    fn bend(&mut self, request: u32, mut body: Vec<u8>) -> (u32, Vec<u8>) {
        match self.random.below(10) {
            0 => body.truncate(self.random.below(body.len() + 1)),
            1 => return (self.random.below(REQUESTS as usize) as u32, body),
            2 | 3 => {
                let words = body.len() / 8;
                let at = 8 * self.random.below(words);
                if words > 0 {
                    let number = self.number().to_le_bytes();
                    body[at..at + 8].copy_from_slice(&number);
                }
            }
            _ => {}
        }
        (request, body)
    }

    fn body(&mut self) -> Vec<u8> {
        let words = match self.random.below(8) {
            0 => BODY_MAX / 8,
            1 => 0,
            _ => self.random.below(12),
        };
        let mut body: Vec<u8> = (0..words).flat_map(|_| self.number().to_le_bytes()).collect();
        body.truncate(body.len() - self.random.below(body.len().min(8) + 1));
        body
    }

    /// Descriptors: mostly the right one; or none, too many, others.
    fn beside(&mut self, right: Option<RawFd>) -> Vec<RawFd> {
        match self.random.below(8) {
            0 => Vec::new(),
            1 => {
                let count = self.random.below(FILES_MAX);
                (0..count).map(|_| self.random.pick(&self.files).as_raw_fd()).collect()
            }
            _ => right.into_iter().collect(),
        }
    }

    /// Connects honestly, and is a guest that writes what it likes into its queues.
    pub fn drive(&mut self, socket: &Path) -> Result<()> {
        let without = if self.random.one_in(2) { 1 << 29 } else { 0 };
        let mut front = Front::connect(socket, without)?;
        let (send, receive) = (front.send.take(), front.receive.take());
        let queues = [send.map(|queue| queue.0), receive.map(|queue| queue.0)];
        for mut queue in queues.into_iter().flatten() {
            for _ in 0..self.random.below(40) {
                self.scribble(&mut queue);
            }
        }
        if self.random.one_in(10) {
            front.take_memory_back();
        }
        Ok(())
    }

    /// One thing that a driver does.
    fn scribble(&mut self, queue: &mut Queue) {
        let size = SIZE as usize;
        match self.random.below(8) {
            0..4 => {
                let index = self.random.below(size) as u16;
                let (address, length) = (self.number(), self.number() as u32);
                let flags = self.random.below(8) as u16;
                let next = self.random.below(size + size / 8) as u16;
                queue.describe(index, address, length, flags, next);
            }
            4 | 5 => queue.offer(self.random.below(size + 2) as u16),
            6 => queue.available += self.number() as u16 % 400,
            _ => {}
        }
        queue.publish();
        queue.insist();
    }
}

/// Sends a message; false: nobody takes it any more.
fn say(stream: &UnixStream, request: u32, flags: u32, body: &[u8], files: &[RawFd]) -> bool {
    let header = [request, flags, body.len() as u32].map(u32::to_le_bytes);
    let whole = [header.as_flattened(), body].concat();
    let beside = [ControlMessage::ScmRights(files)];
    let beside = if files.is_empty() { &[][..] } else { &beside };
    let bytes = [IoSlice::new(&whole)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(stream.as_fd().as_raw_fd(), &bytes, beside, flags, None).is_ok()
}
