use proptest::prelude::*;
use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use virtio_queue::{
    Queue, QueueT,
    desc::{RawDescriptor, split::Descriptor as Split},
    mock::MockSplitQueue,
};
use vm_memory::GuestAddress;

use super::*;
use crate::{
    delivery::{Chains, Delivered, Frame},
    header::LENGTH,
};

const SIZE: u16 = 16;
/// Behind the queue's parts, where the mock puts its buffers.
const BUFFERS: u64 = 0x10_0000;
const BYTES: usize = 0x20_0000;
/// Where the mock has its available ring. Its used ring begins within that, so ours is elsewhere.
const AVAILABLE: u64 = SIZE as u64 * 16;
const USED_AT: u64 = 0x8000;
const NEXT: u16 = VRING_DESC_F_NEXT as u16;
const WRITE: u16 = VRING_DESC_F_WRITE as u16;

fn memory() -> Arc<Memory> {
    Arc::new(Memory::from_ranges(&[(GuestAddress(0), BYTES)]).unwrap())
}

fn ring(memory: &Arc<Memory>, direction: Direction, event_index: bool) -> Ring {
    let shape = Shape {
        size: SIZE,
        table: 0,
        available: AVAILABLE,
        used: USED_AT,
        event_index,
        indirect: true,
    };
    let kick = File::open("/dev/null").unwrap();
    Ring::new((Arc::clone(memory), Arc::default()), shape, direction, 0, kick, None).unwrap()
}

fn raw(address: u64, length: u32, flags: u16, next: u16) -> RawDescriptor {
    RawDescriptor::from(Split::new(address, length, flags, next))
}

/// Chains of these lengths, of buffers for this direction.
fn offer(memory: &Memory, chains: &[Vec<u32>], flags: u16) {
    let mock = MockSplitQueue::new(memory, SIZE);
    let mut at = 0;
    let mut all = Vec::new();
    for chain in chains {
        for (index, length) in chain.iter().enumerate() {
            let next = if index + 1 < chain.len() { NEXT } else { 0 };
            all.push(raw(BUFFERS + at * 0x1000, *length, flags | next, at as u16 + 1));
            at += 1;
        }
    }
    mock.add_desc_chains(&all, 0).unwrap();
}

#[test]
fn a_frame_in_several_buffers_is_shown_at_once() {
    let memory = memory();
    offer(&memory, &[vec![40], vec![30, 30], vec![100]], WRITE);
    let mut ring = ring(&memory, Direction::Write, false);
    let head: Vec<u8> = (0..100).collect();
    let mut chains = Chains::default();
    let mut deliver = |ring: &mut Ring, mergeable| {
        let mut bytes = [&[0; LENGTH], &head[..]].concat();
        let frame = Frame { bytes: &mut bytes, tail: None };
        let mut ring = ring.open().unwrap();
        let delivered = chains.deliver(&mut ring, frame, LENGTH, mergeable).unwrap();
        ring.publish().unwrap();
        delivered
    };
    assert_eq!(deliver(&mut ring, false), Delivered::NoRoom);
    assert_eq!(ring.next_available(), 0, "nothing was taken");
    assert_eq!(deliver(&mut ring, true), Delivered::Yes);
    let said = |at: u64| memory.read_obj::<u32>(GuestAddress(USED_AT + at)).unwrap();
    assert_eq!(said(0) >> 16, 3, "the index");
    let used: Vec<_> = (0..3).map(|at| (said(4 + 8 * at), said(8 + 8 * at))).collect();
    assert_eq!(used, [(0, 40), (1, 60), (3, 12)]);
    let mut got = vec![0; 28];
    memory.read_slice(&mut got, GuestAddress(BUFFERS + 12)).unwrap();
    assert_eq!(got, head[..28]);
    assert_eq!(memory.read_obj::<u16>(GuestAddress(BUFFERS + 10)).unwrap(), 3, "buffers");
    assert_eq!(deliver(&mut ring, true), Delivered::NoRoom);
}

#[test]
fn who_waits_is_told_and_who_looks_is_not() {
    for event_index in [false, true] {
        let memory = memory();
        let mut ring = ring(&memory, Direction::Read, event_index);
        let shape = ring.state.shape;
        let mut ring = ring.open().unwrap();
        let said = |at: u64| memory.read_obj::<u16>(GuestAddress(at)).unwrap();
        let place = shape.used + HEAD as u64 + u64::from(SIZE) * USED as u64;
        ring.look().unwrap();
        assert_eq!(said(shape.used), u16::from(!event_index));
        offer(&memory, &[vec![60], vec![60]], 0);
        let mut parts = Vec::new();
        while ring.take(&mut parts).unwrap().is_some() {}
        ring.listen().unwrap();
        assert_eq!(said(shape.used), 0);
        assert_eq!(said(place), if event_index { 2 } else { 0 });
    }
}

#[test]
fn lies_have_names() {
    let lie = |all: &[RawDescriptor]| {
        let memory = memory();
        MockSplitQueue::new(&*memory, SIZE).add_desc_chains(all, 0).unwrap();
        let mut ring = ring(&memory, Direction::Read, false);
        ring.open().unwrap().take(&mut Vec::new()).unwrap_err()
    };
    let indirect = VRING_DESC_F_INDIRECT as u16;
    assert_eq!(lie(&[raw(BUFFERS, 9, NEXT, 0)]), Lie::Endless);
    assert_eq!(lie(&[raw(BUFFERS, 9, NEXT, 16)]), Lie::Descriptor { index: 16, size: 16 });
    assert_eq!(lie(&[raw(BUFFERS, 9, WRITE, 0)]), Lie::Direction);
    let (address, length) = (BYTES as u64 - 8, 9);
    assert_eq!(lie(&[raw(address, length, 0, 0)]), Lie::Buffer { address, length });
    assert_eq!(lie(&[raw(u64::MAX, 9, 0, 0)]), Lie::Buffer { address: u64::MAX, length: 9 });
    assert_eq!(lie(&[raw(BUFFERS, 40, indirect, 0)]), Lie::Indirect { length: 40 });
    assert_eq!(lie(&[raw(BUFFERS, 32, indirect | NEXT, 1)]), Lie::Indirect { length: 32 });
}

proptest! {
    /// Honest chains are the same to another device's eyes.
    #[test]
    fn chains_are_what_they_are_to_another_device(
        chains in proptest::collection::vec(proptest::collection::vec(0_u32..5000, 1..4), 1..5),
        foresees: bool,
    ) {
        let memory = memory();
        offer(&memory, &chains, 0);
        let mut ring = ring(&memory, Direction::Read, false);
        let mut ring = ring.open().unwrap();
        let mut other: Queue = MockSplitQueue::new(&*memory, SIZE).create_queue().unwrap();
        while let Some(chain) = other.pop_descriptor_chain(&*memory) {
            let mut parts = Vec::new();
            if foresees {
                ring.foresee();
            }
            prop_assert_eq!(ring.take(&mut parts), Ok(Some(chain.head_index())));
            let expected: Vec<_> =
                chain.map(|d| Part { address: d.addr().0, length: d.len() }).collect();
            prop_assert_eq!(parts, expected);
        }
        prop_assert_eq!(ring.take(&mut Vec::new()), Ok(None));
    }

    /// Whatever stands in the ring: an end, and no part that is not in the memory.
    #[test]
    fn a_driver_may_write_anything(
        table in proptest::collection::vec(
            (prop_oneof![0_u64..BYTES as u64, any::<u64>()], prop_oneof![0_u32..300, any::<u32>()],
             0_u16..8, 0_u16..20), SIZE as usize),
        heads in proptest::collection::vec(0_u16..20, SIZE as usize),
        index in prop_oneof![0_u16..20, any::<u16>()],
        write: bool,
        foresees: bool,
    ) {
        let memory = memory();
        let direction = if write { Direction::Write } else { Direction::Read };
        let mut ring = ring(&memory, direction, true);
        let mock = MockSplitQueue::new(&*memory, SIZE);
        for ((address, length, flags, next), at) in table.into_iter().zip(0..) {
            mock.desc_table().store(at, raw(address, length, flags, next)).unwrap();
        }
        for (head, at) in heads.into_iter().zip(0..) {
            memory.write_obj(head, GuestAddress(AVAILABLE + 4 + 2 * at)).unwrap();
        }
        memory.write_obj(index, GuestAddress(AVAILABLE + 2)).unwrap();
        let mut parts = Vec::new();
        let map = Map::new(Arc::clone(&memory));
        let mut open = ring.open().unwrap();
        for _ in 0..=SIZE {
            if foresees {
                open.foresee();
            }
            match open.take(&mut parts) {
                Ok(Some(head)) => open.give(head, 0).unwrap(),
                Ok(None) | Err(_) => break,
            }
        }
        prop_assert!(parts.iter().all(|part| map.slice(part.address, part.length as usize).is_some()));
        open.publish().unwrap();
        open.call().unwrap();
        prop_assert!(ring.next_available() <= SIZE);
    }
}
