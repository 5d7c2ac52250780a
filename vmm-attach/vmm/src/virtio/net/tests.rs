use std::{
    fs::File,
    net::{Ipv4Addr, UdpSocket},
};

use portcullis_lab::{Lab, Space, process::wait_for, sys};
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::*;
use crate::{bus::Device as _, memory::Memory, virtio::mmio::Transport};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FEATURES_OK: u32 = 1 | 2 | 8;
const DRIVER_OK: u32 = FEATURES_OK | 4;
/// Where each queue is: so far from the next, with its three parts behind each other.
const QUEUE: u64 = 0x1000;
const AVAILABLE: u64 = 0x400;
const USED: u64 = 0x800;
const SIZE: u16 = 16;
/// Behind them, a page for each buffer of each queue.
const BUFFERS: u64 = 0x10_000;
const PAGE: u64 = 0x1000;
/// The queue for orders of a card with two pairs.
const CONTROL: usize = 4;
/// May be read, continues; is written.
const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// A driver of a card with two pairs, on a tap with two queues.
struct Driver {
    memory: Memory,
    transport: Transport,
    orders: u16,
}

impl Driver {
    fn new(taps: &[File], features: &[u32], queues: usize) -> Self {
        let memory = Memory::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        let taps = taps.iter().map(|tap| tap.try_clone().unwrap()).collect();
        let device = Box::new(Net::new(taps, MAC, 1500).unwrap());
        let line = EventFd::new(EFD_NONBLOCK).unwrap();
        let mut transport = Transport::new(device, memory.clone(), line).unwrap();
        let mut write = |register: u64, value: u32| transport.write(register, &value.to_le_bytes());
        write(0x70, 3);
        let wanted = features.iter().fold(0, |word, bit| word | 1 << bit);
        for (register, value) in [(0x24, 0), (0x20, wanted), (0x24, 1), (0x20, 1)] {
            write(register, value);
        }
        write(0x70, FEATURES_OK);
        for queue in 0..queues {
            let start = (queue as u64 * QUEUE) as u32;
            let places =
                [(0x80, start), (0x90, start + AVAILABLE as u32), (0xa0, start + USED as u32)];
            write(0x30, queue as u32);
            write(0x38, SIZE.into());
            places.iter().for_each(|(register, place)| write(*register, *place));
            write(0x44, 1);
        }
        let driver = Self { memory, transport, orders: 0 };
        // What is received: every buffer of both first queues of a pair.
        (0..queues).step_by(PAIR).filter(|queue| *queue != CONTROL).for_each(|q| driver.offer(q));
        driver.ready()
    }

    fn offer(&self, queue: usize) {
        for slot in 0..SIZE {
            let buffer = BUFFERS + (queue as u64 * u64::from(SIZE) + u64::from(slot)) * PAGE;
            self.put(queue, slot, Descriptor::new(buffer, PAGE as u32, WRITE, 0));
            self.write(queue, AVAILABLE + 4 + 2 * u64::from(slot), slot);
        }
        self.write(queue, AVAILABLE + 2, SIZE);
    }

    fn ready(mut self) -> Self {
        self.transport.write(0x70, &DRIVER_OK.to_le_bytes());
        let mut status = [0; 4];
        self.transport.read(0x70, &mut status);
        assert_eq!(u32::from_le_bytes(status), DRIVER_OK, "the device could not start");
        self
    }

    fn put(&self, queue: usize, slot: u16, descriptor: Descriptor) {
        let at = queue as u64 * QUEUE + 16 * u64::from(slot);
        self.memory.write_obj(descriptor, GuestAddress(at)).unwrap();
    }

    fn write(&self, queue: usize, offset: u64, value: u16) {
        let at = GuestAddress(queue as u64 * QUEUE + offset);
        self.memory.write_obj(value, at).unwrap();
    }

    /// Chains that came back in a queue.
    fn used(&self, queue: usize) -> u16 {
        self.memory.read_obj(GuestAddress(queue as u64 * QUEUE + USED + 2)).unwrap()
    }

    /// Gives an order; what is answered.
    fn order(&mut self, order: &[u8]) -> u8 {
        let (text, answer) = (GuestAddress(0xf000), GuestAddress(0xf100));
        self.memory.write_slice(order, text).unwrap();
        self.memory.write_obj(0xff_u8, answer).unwrap();
        self.put(CONTROL, 0, Descriptor::new(text.0, order.len() as u32, NEXT, 1));
        self.put(CONTROL, 1, Descriptor::new(answer.0, 1, WRITE, 0));
        self.write(CONTROL, AVAILABLE + 4 + 2 * u64::from(self.orders % SIZE), 0);
        self.orders += 1;
        self.write(CONTROL, AVAILABLE + 2, self.orders);
        self.transport.ring_bells();
        wait_for("an answer", 10, || self.used(CONTROL) == self.orders).unwrap();
        self.memory.read_obj(answer).unwrap()
    }
}

/// A tap with two queues, with an address at the other end.
fn tap() -> (Lab, Space, [File; 2]) {
    let lab = Lab::new("pairs").unwrap();
    let space = lab.space("guest").unwrap();
    space.ip("tuntap add dev t0 mode tap multi_queue vnet_hdr").unwrap();
    let taps = [(); 2].map(|()| space.enter(|| sys::open_tap("t0")).unwrap());
    // Nothing but what is sent here.
    space
        .enter(|| Ok(std::fs::write("/proc/sys/net/ipv6/conf/t0/disable_ipv6", "1")))
        .unwrap()
        .unwrap();
    space.ip("addr add 10.9.0.1/24 dev t0").unwrap();
    space.ip("link set t0 up").unwrap();
    (lab, space, taps)
}

/// Sends from so many ports, so that many go to either queue.
fn send(space: &Space, count: u16) {
    let sent = space.enter(|| {
        for port in 0..count {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 20_000 + port)).unwrap();
            socket.set_broadcast(true).unwrap();
            socket.send_to(b"x", "10.9.0.255:9").unwrap();
        }
        Ok(())
    });
    sent.unwrap();
}

const WIDE: &[u32] = &[VIRTIO_NET_F_MQ, VIRTIO_NET_F_CTRL_VQ];

#[test]
fn pairs_are_used_as_the_driver_orders() {
    let (_lab, space, taps) = tap();
    let mut driver = Driver::new(&taps, WIDE, 5);
    send(&space, 6);
    wait_for("frames in the first queue", 10, || driver.used(0) == 6).unwrap();
    assert_eq!(driver.used(2), 0, "nobody has asked for a second pair");
    assert_eq!(driver.order(&[4, 0, 2, 0]), 0);
    send(&space, 10);
    let all = |driver: &Driver| driver.used(0) + driver.used(2);
    wait_for("frames in both queues", 10, || all(&driver) == 16).unwrap();
    assert!(driver.used(2) > 0, "the kernel spreads flows over queues");
    let second = driver.used(2);
    assert_eq!(driver.order(&[4, 0, 1, 0]), 0);
    let room = SIZE - driver.used(0);
    send(&space, room);
    wait_for("frames in the first queue", 10, || driver.used(0) == SIZE).unwrap();
    assert_eq!(driver.used(2), second);
}

#[test]
fn orders_that_make_no_sense_are_refused() {
    let (_lab, _space, taps) = tap();
    let mut driver = Driver::new(&taps, WIDE, 5);
    let strange: [&[u8]; 6] =
        [&[4, 0, 0, 0], &[4, 0, 3, 0], &[4, 1, 1, 0], &[0, 0, 1, 0], &[4, 0, 1], &[4, 0, 1, 0, 0]];
    for order in strange {
        assert_eq!(driver.order(order), 1, "{order:?}");
    }
}

#[test]
fn a_driver_that_knows_one_pair_has_one() {
    let (_lab, space, taps) = tap();
    let driver = Driver::new(&taps, &[], 2);
    send(&space, 8);
    wait_for("frames in its only queue", 10, || driver.used(0) == 8).unwrap();
}

#[test]
fn another_card_goes_on_with_as_many_pairs() {
    let (_lab, space, taps) = tap();
    let mut driver = Driver::new(&taps, WIDE, 5);
    assert_eq!(driver.order(&[4, 0, 2, 0]), 0);
    // Who is paused and written down is told to stand still more than once.
    driver.transport.stand_still();
    driver.transport.stand_still();
    let state = driver.transport.save();
    let narrow = Box::new(Net::new(vec![taps[0].try_clone().unwrap()], MAC, 1500).unwrap());
    let transport = |device| {
        let line = EventFd::new(EFD_NONBLOCK).unwrap();
        Transport::new(device, driver.memory.clone(), line).unwrap()
    };
    assert!(transport(narrow).restore(&state).is_err());
    let taps = taps.iter().map(|tap| tap.try_clone().unwrap()).collect();
    let mut next = transport(Box::new(Net::new(taps, MAC, 1500).unwrap()));
    next.restore(&state).unwrap();
    next.go_on();
    send(&space, 12);
    wait_for("frames in both queues", 10, || driver.used(0) + driver.used(2) == 12).unwrap();
    assert!(driver.used(2) > 0);
}
