//! Virtio devices (Virtual I/O Device, version 1.2).

pub mod block;
#[cfg(test)]
mod hostile;
pub mod interrupt;
pub mod mmio;
pub mod net;
mod ring;
pub mod rng;
mod worker;

use std::io;

use self::ring::Chain;
pub use self::{interrupt::Interrupt, ring::Ring};
use crate::memory::Memory;

/// A device, behind a [`mmio::Transport`].
pub trait Device: Send {
    /// Its kind (section 5).
    fn kind(&self) -> u32;
    /// What it offers beside what every device here does.
    fn features(&self) -> u64;
    /// Largest sizes of its queues.
    fn queue_sizes(&self) -> Vec<u16>;
    /// How many of its queues, the first ones, a driver with these features sets up.
    fn queues_used(&self, _features: u64) -> usize {
        self.queue_sizes().len()
    }
    /// Its configuration (section 4.2.2, from offset 0x100 on). Behind its end there are zeros.
    fn read_config(&self, offset: u64, data: &mut [u8]);
    /// The driver is ready.
    fn start(&mut self, ready: Ready) -> io::Result<()>;
    /// Touches the guest's memory no more when this returns: its queues, where they stand now. None
    /// if it did not work, or failed.
    fn stop(&mut self) -> Vec<Ring>;
    /// Does somebody outside this process write into the guest's memory for it?
    fn is_foreign(&self) -> bool {
        false
    }
    /// There is no driver any more.
    fn reset(&mut self) {}
    /// What else it would have to know to go on elsewhere; what its driver has ordered, for example.
    fn own(&self) -> u64 {
        0
    }
    /// Takes over what [`own`](Self::own) was somewhere else; false: that is nothing for this device.
    fn restore(&mut self, own: u64) -> bool {
        own == 0
    }
}

/// What a device works with.
pub struct Ready {
    /// The guest's memory.
    pub memory: Memory,
    /// Its queues, in their order.
    pub rings: Vec<Ring>,
    /// What the driver has accepted.
    pub features: u64,
    /// How it calls the driver.
    pub interrupt: Interrupt,
}

impl Ready {
    /// Has the driver accepted this?
    pub fn has(&self, feature: u32) -> bool {
        self.features >> feature & 1 == 1
    }

    /// The same with these queues, for another thread.
    pub fn with(&self, rings: Vec<Ring>) -> io::Result<Self> {
        let (memory, interrupt) = (self.memory.clone(), self.interrupt.try_clone()?);
        Ok(Self { memory, rings, features: self.features, interrupt })
    }

    /// Takes every chain of a queue whose bell has rung; `answer` says how many bytes it has written
    /// into one.
    fn serve(&mut self, queue: usize, mut answer: impl FnMut(&Memory, Chain<'_>) -> u32) {
        let Self { memory, rings, interrupt, .. } = self;
        let ring = &mut rings[queue];
        let mut any = false;
        loop {
            ring.look(memory);
            while let Some(chain) = ring.next(memory) {
                let head = chain.head_index();
                let written = answer(memory, chain);
                ring.give_back(memory, head, written);
                any = true;
            }
            if !ring.listen(memory) {
                break;
            }
        }
        if any {
            ring.tell(memory, interrupt);
        }
    }
}

/// Copies what `config` has at `offset`.
fn read_from(config: &[u8], offset: u64, data: &mut [u8]) {
    data.fill(0);
    let rest = usize::try_from(offset).ok().and_then(|offset| config.get(offset..));
    for (to, from) in data.iter_mut().zip(rest.unwrap_or_default()) {
        *to = *from;
    }
}
