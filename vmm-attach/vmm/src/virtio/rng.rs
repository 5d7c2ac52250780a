//! Entropy (section 5.4).

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsRawFd, RawFd},
};

use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;

use super::{
    Device, Ready, Ring,
    ring::buffers,
    worker::{Work, Worker},
};

/// What never blocks once the machine has started.
const SOURCE: &str = "/dev/urandom";
/// Bytes for one request: a guest that wants more asks again.
const MOST: usize = 4096;

/// A source of entropy.
pub struct Rng {
    source: File,
    worker: Option<Worker<Filler>>,
}

impl Rng {
    /// One that draws on the kernel's.
    pub fn new() -> io::Result<Self> {
        Ok(Self { source: File::open(SOURCE)?, worker: None })
    }
}

impl Device for Rng {
    fn kind(&self) -> u32 {
        VIRTIO_ID_RNG
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![64]
    }

    fn read_config(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn start(&mut self, ready: Ready) -> io::Result<()> {
        let source = self.source.try_clone()?;
        self.worker = Some(Worker::start("rng", Filler { source, ready })?);
        Ok(())
    }

    fn stop(&mut self) -> Vec<Ring> {
        let work = self.worker.take().and_then(Worker::stop);
        work.map(|work| work.ready.rings).unwrap_or_default()
    }
}

struct Filler {
    source: File,
    ready: Ready,
}

impl Work for Filler {
    fn sources(&self) -> Vec<(RawFd, u64)> {
        vec![(self.ready.rings[0].bell.as_raw_fd(), 0)]
    }

    fn handle(&mut self, _: u64) {
        let Self { source, ready } = self;
        let _ = ready.rings[0].bell.read();
        ready.serve(0, |memory, chain| {
            let mut bytes = [0; MOST];
            let (filled, mut written) = (source.read(&mut bytes).unwrap_or(0), 0);
            for buffer in buffers(memory, chain, true).into_iter().flatten() {
                let part = buffer.len().min(filled - written);
                buffer.copy_from(&bytes[written..written + part]);
                written += part;
            }
            written as u32
        });
    }
}
