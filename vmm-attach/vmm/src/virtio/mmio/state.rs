//! A device that stands still: what it is at one moment, and how another one becomes it.

use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK,
    VIRTIO_CONFIG_S_FAILED, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
};
use virtio_queue::{Queue, QueueState, QueueT};

use super::Transport;
use crate::error::{Error, Result};

/// Every bit that a status can have (section 2.1).
const STATUS: u32 = VIRTIO_CONFIG_S_ACKNOWLEDGE
    | VIRTIO_CONFIG_S_DRIVER
    | VIRTIO_CONFIG_S_FEATURES_OK
    | VIRTIO_CONFIG_S_DRIVER_OK
    | VIRTIO_CONFIG_S_NEEDS_RESET
    | VIRTIO_CONFIG_S_FAILED;
/// Bytes of a configuration that are compared: all that any device here has.
const CONFIG: usize = 64;

/// A device and its registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    kind: u32,
    config: Vec<u8>,
    features: u64,
    status: u32,
    interrupt: u32,
    /// Which half of the features is shown, which is written, and which queue is.
    selected: [u32; 3],
    queues: Vec<QueueData>,
    /// What the device itself would have to know.
    own: u64,
}

/// A queue (section 2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueData {
    size: u16,
    ready: bool,
    event_index: bool,
    descriptors: u64,
    driver: u64,
    device: u64,
    next_available: u16,
    next_used: u16,
}

impl QueueData {
    fn of(queue: &Queue) -> Self {
        let state = queue.state();
        Self {
            size: state.size,
            ready: state.ready,
            event_index: state.event_idx_enabled,
            descriptors: state.desc_table,
            driver: state.avail_ring,
            device: state.used_ring,
            next_available: state.next_avail,
            next_used: state.next_used,
        }
    }

    fn queue(self, max_size: u16) -> Result<Queue> {
        let state = QueueState {
            max_size,
            next_avail: self.next_available,
            next_used: self.next_used,
            event_idx_enabled: self.event_index,
            size: self.size,
            ready: self.ready,
            desc_table: self.descriptors,
            avail_ring: self.driver,
            used_ring: self.device,
        };
        Queue::try_from(state).map_err(|error| Error::state(format!("a queue: {error}")))
    }
}

impl Transport {
    /// Does no more work until it is to [go on](Self::go_on).
    pub fn stand_still(&mut self) {
        if std::mem::replace(&mut self.still, true) {
            return;
        }
        let rings = self.device.stop();
        if rings.is_empty() && self.works() {
            // What it did when it failed, nobody knows.
            self.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        }
        for (queue, ring) in self.queues.iter_mut().zip(rings) {
            *queue = ring.queue;
        }
    }

    /// Goes on where it stood.
    pub fn go_on(&mut self) {
        let still = std::mem::take(&mut self.still);
        if still && self.works() && self.start().is_err() {
            self.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        }
    }

    /// Has it a driver that it works for?
    fn works(&self) -> bool {
        let broken = VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED;
        self.status & (VIRTIO_CONFIG_S_DRIVER_OK | broken) == VIRTIO_CONFIG_S_DRIVER_OK
    }

    /// Does somebody outside this process write into the guest's memory for it?
    pub fn is_foreign(&self) -> bool {
        self.device.is_foreign()
    }

    fn config(&self) -> Vec<u8> {
        let mut config = vec![0; CONFIG];
        self.device.read_config(0, &mut config);
        config
    }

    /// What it is while it [stands still](Self::stand_still).
    pub fn save(&self) -> State {
        State {
            kind: self.device.kind(),
            config: self.config(),
            features: self.driver_features,
            status: self.status,
            interrupt: self.interrupt.status(),
            selected: [self.device_select, self.driver_select, self.queue_select],
            queues: self.queues.iter().map(QueueData::of).collect(),
            own: self.device.own(),
        }
    }

    /// Becomes another one, which stands still.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let wrong = |what: &str| Err(Error::state(format!("a device: {what}")));
        if state.kind != self.device.kind() || state.config != self.config() {
            return wrong("it is another one here (kind, MAC, MTU, or size of a disk)");
        }
        if state.features & !self.offered() != 0 {
            return wrong("its driver uses a feature that it does not have here");
        }
        if state.status & !STATUS != 0 || state.queues.len() != self.queues.len() {
            return wrong("there is no such status, or no such queue");
        }
        let queues = self.queues.iter().zip(&state.queues);
        let queues = queues.map(|(queue, data)| data.queue(queue.max_size()));
        let queues: Vec<_> = queues.collect::<Result<_>>()?;
        let broken = |queue: &Queue| queue.ready() && !queue.is_valid(&self.memory);
        if queues.iter().any(broken) {
            return wrong("a queue is not in its machine's memory");
        }
        if !self.device.restore(state.own) {
            return wrong("its driver has ordered what cannot be done here");
        }
        self.queues = queues;
        (self.status, self.driver_features, self.still) = (state.status, state.features, true);
        [self.device_select, self.driver_select, self.queue_select] = state.selected;
        self.interrupt.restore(state.interrupt);
        Ok(())
    }
}
