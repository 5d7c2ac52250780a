//! The queue for orders (section 5.1.6.5): a driver says how many pairs it uses.

use std::{
    fs::File,
    os::fd::{AsRawFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use virtio_bindings::virtio_net::{
    VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, VIRTIO_NET_ERR, VIRTIO_NET_OK,
};

use super::tap;
use crate::virtio::{
    Ready,
    ring::{Buffer, buffers},
    worker::Work,
};

/// Class, command, and a number of pairs (`struct virtio_net_ctrl_mq`).
const ORDER: usize = 4;

/// Takes orders.
pub struct Control {
    /// With one queue.
    pub ready: Ready,
    /// Queues of the tap, the first of which are used.
    pub taps: Vec<File>,
    /// How many.
    pub used: Arc<AtomicU16>,
}

impl Work for Control {
    fn sources(&self) -> Vec<(RawFd, u64)> {
        vec![(self.ready.rings[0].bell.as_raw_fd(), 0)]
    }

    fn handle(&mut self, _: u64) {
        let Self { ready, taps, used } = self;
        let _ = ready.rings[0].bell.read();
        ready.serve(0, |memory, chain| {
            let order: Option<Vec<_>> =
                buffers(memory, chain.clone(), false).map(Iterator::collect);
            let obeyed = order.is_some_and(|order| obey(&order, taps, used));
            let answer = if obeyed { VIRTIO_NET_OK } else { VIRTIO_NET_ERR } as u8;
            let mut places = buffers(memory, chain, true).into_iter().flatten();
            let place = places.find(|place| !place.is_empty());
            place.map_or(0, |place| {
                place.copy_from(&[answer]);
                1
            })
        });
    }
}

/// Does what is ordered; false: it is nothing that can be done.
fn obey(order: &[Buffer<'_>], taps: &[File], used: &AtomicU16) -> bool {
    let (mut bytes, mut filled) = ([0; ORDER], 0);
    for part in order {
        filled += part.copy_to(&mut bytes[filled..]);
    }
    let length: usize = order.iter().map(Buffer::len).sum();
    let [class, command, low, high] = bytes;
    let pairs = u16::from_le_bytes([low, high]);
    let known = length == ORDER
        && u32::from(class) == VIRTIO_NET_CTRL_MQ
        && u32::from(command) == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET
        && (1..=taps.len()).contains(&pairs.into());
    if !known || tap::use_queues(taps, pairs.into()).is_err() {
        return false;
    }
    used.store(pairs, Ordering::SeqCst);
    true
}
