//! Drivers that lie: rings that loop, tables and lengths beyond the memory, indices that jump,
//! registers and features in any order, all of it while devices work, through the real transport.
//! Nothing panics or stands still, no byte outside the guest's memory changes, and a device whose
//! driver is honest goes on.
#![allow(unsafe_code)]

use std::{
    fs::File,
    net::UdpSocket,
    panic, slice,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use portcullis_lab::{Lab, Space, patience, process::wait_for, random::Random, sys};
use virtio_queue::desc::split::Descriptor;
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap, MmapRegion,
};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{Device, block::Block, mmio::Transport, net::Net, rng::Rng};
use crate::{bus::Device as _, config::Disk, memory::Memory};

/// Bytes of a guest's memory, and of what is watched on either side of it.
const SIZE: usize = 256 << 10;
/// What stands there.
const GUARD: u8 = 0xa5;
/// Steps of a driver before its device is taken away.
const STEPS: usize = 60;
/// Drivers, each with a device of its own.
const DRIVERS: usize = 150;
/// Where queues are if they are where they should be: so far from each other, with the tables of
/// descriptors first, the available ring and the used ring behind it.
const QUEUE: u64 = 0x4000;
/// Most of a device: two pairs of a network card, and its queue for orders.
const QUEUES: usize = 5;
const AVAILABLE: u64 = 0x1000;
const USED: u64 = 0x2000;
/// Behind them: buffers.
const BUFFERS: u64 = QUEUES as u64 * QUEUE;
/// Registers (section 4.2.2) that a driver may write.
const REGISTERS: &[u64] = &[
    0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0xc0,
    0x100,
];
const FEATURES_OK: u32 = 1 | 2 | 8;
/// "Use so many pairs" (section 5.1.6.5.5), the number in the upper half.
const PAIRS: u32 = 4;
const DRIVER_OK: u32 = FEATURES_OK | 4;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A guest's memory, in the middle of memory that is nobody's.
struct Watched {
    outer: GuestMemoryMmap<()>,
    memory: Memory,
}

impl Watched {
    fn new() -> Self {
        let outer = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 3 * SIZE)]).unwrap();
        outer.write_slice(&[GUARD; 3 * SIZE], GuestAddress(0)).unwrap();
        let inner = outer.get_host_address(GuestAddress(SIZE as u64)).unwrap();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: the middle of the mapping above, which lives as long: they are dropped together,
        // and no device is left then.
        let inner = unsafe {
            MmapRegion::build_raw(inner, SIZE, libc::PROT_READ | libc::PROT_WRITE, flags)
        };
        let region = GuestRegionMmap::new(inner.unwrap(), GuestAddress(0)).unwrap();
        Self { outer, memory: Memory::from_regions(vec![region]).unwrap() }
    }

    fn check(&self) {
        let mut bytes = vec![0; SIZE];
        for start in [0, 2 * SIZE as u64] {
            self.outer.read_slice(&mut bytes, GuestAddress(start)).unwrap();
            assert!(bytes.iter().all(|byte| *byte == GUARD), "somebody wrote beside the memory");
        }
    }
}

/// What devices are made of.
struct Site {
    /// In which the tap is.
    space: Space,
    tap: File,
    /// The queues of another one.
    wide: [File; 2],
    disk: File,
    _lab: Lab,
}

impl Site {
    fn new() -> Self {
        let lab = Lab::new("hostile").unwrap();
        let space = lab.space("guest").unwrap();
        let tap = space.enter(|| sys::open_tap("t0")).unwrap();
        space.ip("tuntap add dev t1 mode tap multi_queue vnet_hdr").unwrap();
        let wide = [(); 2].map(|()| space.enter(|| sys::open_tap("t1")).unwrap());
        for (tap, number) in [("t0", 9), ("t1", 10)] {
            space.ip(&format!("addr add 10.{number}.0.1/24 dev {tap}")).unwrap();
            space.ip(&format!("link set {tap} up")).unwrap();
        }
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(1 << 20).unwrap();
        Self { space, tap, wide, disk, _lab: lab }
    }

    fn device(&self, random: &mut Random) -> Box<dyn Device> {
        match random.below(4) {
            0 => Box::new(Rng::new().unwrap()),
            1 => {
                let (file, writable) = (self.disk.try_clone().unwrap(), random.one_in(2));
                Box::new(Block::new(Disk { file, writable }).unwrap())
            }
            _ => {
                let wide = random.one_in(2);
                let taps = if wide { &self.wide[..] } else { slice::from_ref(&self.tap) };
                let taps = taps.iter().map(|tap| tap.try_clone().unwrap()).collect();
                let mtu = *random.pick(&[68, 1500, 9000, 65_535]);
                Box::new(Net::new(taps, [2; 6], mtu).unwrap())
            }
        }
    }

    /// Lets frames come out of the taps.
    fn send(&self) {
        let sent = self.space.enter(|| {
            for to in ["10.9.0.255:9", "10.10.0.255:9"] {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.set_broadcast(true).unwrap();
                // A queue that is full takes nothing more.
                let _ = socket.send_to(&[7; 1200], to);
            }
            Ok(())
        });
        sent.unwrap();
    }
}

/// A driver that does whatever comes to its mind.
struct Liar<'a> {
    random: &'a mut Random,
    memory: &'a Memory,
    transport: Transport,
    index: u16,
}

impl Liar<'_> {
    fn step(&mut self, site: &Site) {
        match self.random.below(10) {
            0 => self.any_register(),
            1 => self.read(),
            2 | 3 => self.set_up(),
            4 => site.send(),
            5 => self.write(0x70, 0),
            _ => self.lie(),
        }
        if self.random.one_in(2) {
            self.transport.ring_bells();
        }
    }

    fn write(&mut self, register: u64, value: u32) {
        self.transport.write(register, &value.to_le_bytes());
    }

    fn any_register(&mut self) {
        let known = *self.random.pick(REGISTERS);
        let register = if self.random.one_in(8) { self.random.below(0x1000) as u64 } else { known };
        let length = *self.random.pick(&[1, 2, 4, 4, 4, 8]);
        let small = self.random.next_u64() % 16;
        let value = if self.random.one_in(2) { self.random.next_u64() } else { small };
        self.transport.write(register, &value.to_le_bytes()[..length]);
    }

    fn read(&mut self) {
        let (at, length) = (self.random.below(0x1000), *self.random.pick(&[1, 2, 4, 8]));
        self.transport.read(at as u64, &mut [0; 8][..length]);
    }

    /// What an honest driver does, but for a few mistakes.
    fn set_up(&mut self) {
        self.write(0x70, 0);
        self.write(0x70, 3);
        for half in 0..2 {
            self.write(0x14, half);
            let mut offered = [0; 4];
            self.transport.read(0x10, &mut offered);
            let chosen = self.random.next_u64() as u32 | half;
            let strange = if self.random.one_in(16) { u32::MAX } else { 0 };
            self.write(0x24, half);
            self.write(0x20, u32::from_le_bytes(offered) & chosen | strange);
        }
        self.write(0x70, FEATURES_OK);
        for queue in 0..QUEUES as u32 {
            self.write(0x30, queue);
            let size = *self.random.pick(&[1, 2, 16, 64, 128, 256, 256, 3, 0, 65_535]);
            self.write(0x38, size);
            let start = u64::from(queue) * QUEUE;
            for (register, usual) in
                [(0x80, start), (0x90, start + AVAILABLE), (0xa0, start + USED)]
            {
                let at = if self.random.one_in(24) { self.address() } else { usual };
                self.write(register, at as u32);
                self.write(register + 4, (at >> 32) as u32);
            }
            self.write(0x44, 1);
        }
        self.write(0x70, DRIVER_OK);
    }

    /// Somewhere: in the memory, at its end, or far away.
    fn address(&mut self) -> u64 {
        let inside = self.random.below(SIZE) as u64;
        let word = self.random.next_u64();
        *self.random.pick(&[
            inside,
            inside & !15,
            BUFFERS + inside % BUFFERS,
            SIZE as u64 - 1,
            SIZE as u64 - 16,
            SIZE as u64,
            u64::MAX - 8,
            word,
        ])
    }

    /// Descriptors, tables and indices.
    fn lie(&mut self) {
        let start = self.random.below(QUEUES) as u64 * QUEUE;
        for _ in 0..self.random.below(12) {
            let table = if self.random.one_in(4) { BUFFERS } else { start };
            let number = self.random.below(64) as u64;
            let descriptor = self.descriptor();
            let at = GuestAddress(table + 16 * number);
            self.memory.write_obj(descriptor, at).unwrap();
        }
        self.request();
        let heads = self.random.below(6) as u16;
        for _ in 0..heads {
            let slot = self.random.below(256) as u64;
            let head = self.random.next_u64() as u16;
            let head = if self.random.one_in(10) { head } else { head % 64 };
            self.memory.write_obj(head, GuestAddress(start + AVAILABLE + 4 + 2 * slot)).unwrap();
        }
        self.index = if self.random.one_in(10) {
            self.random.next_u64() as u16
        } else {
            self.index.wrapping_add(heads)
        };
        let flags = self.random.below(2) as u16;
        self.memory.write_obj(flags, GuestAddress(start + AVAILABLE)).unwrap();
        self.memory.write_obj(self.index, GuestAddress(start + AVAILABLE + 2)).unwrap();
    }

    fn descriptor(&mut self) -> Descriptor {
        let any = self.random.next_u64() as u32;
        let length = *self.random.pick(&[0, 1, 11, 12, 16, 64, 512, 4096, 65_536, u32::MAX, any]);
        let flags = self.random.below(8) as u16;
        let next = self.random.next_u64() as u16;
        let next = if self.random.one_in(8) { next } else { next % 64 };
        Descriptor::new(self.address(), length, flags, next)
    }

    /// What a disk would be asked, or ordered of a network card, somewhere among the buffers.
    fn request(&mut self) {
        let kind = *self.random.pick(&[
            0_u32,
            1,
            4,
            8,
            11,
            PAIRS | 1 << 16,
            PAIRS | 2 << 16,
            PAIRS | 3 << 16,
            u32::MAX,
        ]);
        let sector = *self.random.pick(&[0_u64, 1, 2047, 2048, u64::MAX / 512, u64::MAX]);
        let at = GuestAddress(BUFFERS + (self.random.below(64) * 16) as u64);
        self.memory.write_obj(kind, at).unwrap();
        self.memory.write_obj(sector, GuestAddress(at.0 + 8)).unwrap();
    }
}

/// An honest driver of a device of its own: it is served.
struct Honest {
    memory: Memory,
    transport: Transport,
    asked: u16,
}

impl Honest {
    fn new() -> Self {
        let memory = Memory::from_ranges(&[(GuestAddress(0), SIZE)]).unwrap();
        let line = EventFd::new(EFD_NONBLOCK).unwrap();
        let device = Box::new(Rng::new().unwrap());
        let mut transport = Transport::new(device, memory.clone(), line).unwrap();
        let version_1 = [(0x70, 3), (0x24, 1), (0x20, 1), (0x70, FEATURES_OK)];
        let queue = [(0x38, 16), (0x90, AVAILABLE as u32), (0xa0, USED as u32), (0x44, 1)];
        for (register, value) in version_1.into_iter().chain(queue).chain([(0x70, DRIVER_OK)]) {
            transport.write(register, &u32::to_le_bytes(value));
        }
        let buffer = Descriptor::new(BUFFERS, 64, 2, 0);
        memory.write_obj(buffer, GuestAddress(0)).unwrap();
        Self { memory, transport, asked: 0 }
    }

    fn ask(&mut self) {
        self.asked += 1;
        self.memory.write_obj(self.asked, GuestAddress(AVAILABLE + 2)).unwrap();
        self.transport.ring_bells();
        let used = || self.memory.read_obj::<u16>(GuestAddress(USED + 2)).unwrap();
        wait_for("what an honest driver asked for", 10, || used() == self.asked).unwrap();
    }
}

fn play(site: &Site, drivers: usize) {
    let mut random = Random::new(0x686f_7374_696c_6521);
    let watched = Watched::new();
    let mut honest = Honest::new();
    for _ in 0..drivers {
        let device = site.device(&mut random);
        let line = EventFd::new(EFD_NONBLOCK).unwrap();
        let memory = &watched.memory;
        let transport = Transport::new(device, memory.clone(), line).unwrap();
        let mut liar = Liar { random: &mut random, memory, transport, index: 0 };
        for _ in 0..STEPS {
            liar.step(site);
        }
        drop(liar);
        watched.check();
        honest.ask();
    }
}

#[test]
fn a_driver_that_lies_hurts_nobody_else() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(info);
    }));
    let drivers = if patience::is_long() { 100 * DRIVERS } else { DRIVERS };
    let (sender, ended) = mpsc::channel();
    let liars = thread::spawn(move || {
        play(&Site::new(), drivers);
        sender.send(()).unwrap();
    });
    let limit = if patience::is_long() { 600 } else { 20 };
    let ended = ended.recv_timeout(patience::limit(Duration::from_secs(limit)));
    if ended == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("a device stands still");
    }
    liars.join().unwrap();
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "a device has panicked");
}
