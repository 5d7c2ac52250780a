//! A closed loop between two taps on one thread: never more than a window of frames under way.
//!
//! The kernel forwards inside the generator's write(2), so one thread on one CPU measures the
//! generator and the switch together; two threads would only add wake-ups (facts/peers.md,
//! section 3).

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};

use crate::{
    error::Error,
    frame::{Template, VNET_HEADER, is_for},
    interrupt::Interrupt,
    tap::{READ_BUFFER, Tap},
};

/// Small frames under way at most.
pub const WINDOW: u64 = 256;
/// Super-packets under way at most: two megabytes, which a cache still holds.
pub const BULK_WINDOW: u64 = 32;
/// Frames written before the other end is read.
const BURST: u64 = 32;
/// How long a full window may stand still before its frames count as lost.
const PATIENCE: Duration = Duration::from_micros(500);

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// After that many frames.
    Frames(u64),
    /// After that time.
    Time(Duration),
}

/// Which connection each frame belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// The first one.
    pub first: u32,
    /// How many, in turn.
    pub count: u32,
}

impl Connections {
    /// The connection of a frame, by the number of the frame.
    pub fn nth(self, frame: u64) -> u32 {
        self.first.wrapping_add((frame % u64::from(self.count)) as u32)
    }
}

/// What a run counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Frames that the first tap took.
    pub sent: u64,
    /// Frames that came out of the other.
    pub received: u64,
    /// Bytes of these, without virtio-net headers.
    pub bytes: u64,
    /// The longest of these, bytes.
    pub longest: usize,
    /// Time it took.
    pub elapsed: Duration,
    /// CPU time of this thread: generator and forwarding.
    pub cpu: Duration,
}

impl Reading {
    /// Frames per second of the one core that the generator and the kernel's forwarding share. It
    /// is counted in CPU time: what another program takes of the core is not the peer's fault.
    pub fn rate(&self) -> f64 {
        self.received as f64 / self.cpu.as_secs_f64()
    }

    /// Frames per second by the clock on the wall.
    pub fn wall_rate(&self) -> f64 {
        self.received as f64 / self.elapsed.as_secs_f64()
    }

    /// Gigabits per second of the same core.
    pub fn gigabits(&self) -> f64 {
        self.bytes as f64 * 8e-9 / self.cpu.as_secs_f64()
    }

    /// CPU time per frame, ns.
    pub fn cpu_ns(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.received as f64
    }

    /// `Err` when more than one frame in fifty got lost: such a reading measures the losses.
    pub fn checked(self, what: &'static str) -> Result<Self, Error> {
        if self.received == 0 || self.received * 50 < self.sent * 49 {
            return Err(Error::Lost { what, sent: self.sent, received: self.received });
        }
        Ok(self)
    }
}

/// What is sent.
#[derive(Debug)]
pub struct Traffic {
    /// Every frame is this one with another connection.
    pub template: Template,
    /// Whose frames.
    pub connections: Connections,
    /// Address that they are sent to.
    pub receiver: Ipv4Addr,
    /// Frames under way at most.
    pub window: u64,
}

/// Sends `traffic` from one tap to the other until `limit`.
pub fn run(
    (from, to): (&Tap, &Tap),
    traffic: &mut Traffic,
    limit: Limit,
    interrupt: &Interrupt,
) -> Result<Reading, Error> {
    let Traffic { template, connections, receiver, window } = traffic;
    let mut sink = Sink { tap: to, receiver: *receiver, buffer: vec![0; READ_BUFFER] };
    let mut reading = Reading::default();
    let cpu_before = thread_cpu()?;
    let start = Instant::now();
    let mut under_way = 0;
    loop {
        let room = limit.room(reading.sent, start.elapsed());
        if room == 0 {
            break;
        }
        interrupt.check()?;
        for _ in 0..BURST.min(*window - under_way).min(room) {
            template.set_connection(connections.nth(reading.sent));
            if !from.write(template.with_vnet_header())? {
                break;
            }
            reading.sent += 1;
            under_way += 1;
        }
        under_way -= sink.drain(&mut reading)?.min(under_way);
        if under_way == *window {
            under_way -= sink.wait(&mut reading)?.unwrap_or(*window).min(under_way);
        }
    }
    while under_way > 0 {
        under_way -= sink.wait(&mut reading)?.unwrap_or(*window).min(under_way);
    }
    reading.elapsed = start.elapsed();
    reading.cpu = thread_cpu()? - cpu_before;
    Ok(reading)
}

/// Reads all that is there; how many frames for `receiver` it was.
pub fn drain(tap: &Tap, receiver: Ipv4Addr) -> Result<u64, Error> {
    Sink { tap, receiver, buffer: vec![0; READ_BUFFER] }.drain(&mut Reading::default())
}

impl Limit {
    /// How many more frames may be sent.
    pub fn room(self, sent: u64, elapsed: Duration) -> u64 {
        match self {
            Self::Frames(all) => all.saturating_sub(sent),
            Self::Time(all) if elapsed < all => u64::MAX,
            Self::Time(_) => 0,
        }
    }
}

/// The reading end.
struct Sink<'a> {
    tap: &'a Tap,
    receiver: Ipv4Addr,
    buffer: Vec<u8>,
}

impl Sink<'_> {
    /// Reads all that is there; how many frames of ours it was.
    fn drain(&mut self, reading: &mut Reading) -> Result<u64, Error> {
        let mut arrived = 0;
        while let Some(bytes) = self.tap.read(&mut self.buffer)? {
            let frame = bytes.get(VNET_HEADER..).unwrap_or_default();
            if is_for(frame, self.receiver) {
                arrived += 1;
                reading.bytes += frame.len() as u64;
                reading.longest = reading.longest.max(frame.len());
            }
        }
        reading.received += arrived;
        Ok(arrived)
    }

    /// Reads until something arrives; `None` when nothing does and all under way is lost.
    fn wait(&mut self, reading: &mut Reading) -> Result<Option<u64>, Error> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let arrived = self.drain(reading)?;
            if arrived > 0 {
                return Ok(Some(arrived));
            }
        }
        Ok(None)
    }
}

/// CPU time of the calling thread. Without IRQ time accounting in the kernel it holds the softirqs
/// that ran on top of the thread as well, which is where veth and the backlog forward.
pub fn thread_cpu() -> Result<Duration, Error> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .map_err(|e| Error::system("reading the thread's CPU clock", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_come_in_turn() {
        let connections = Connections { first: 7, count: 3 };
        assert_eq!((0..5).map(|i| connections.nth(i)).collect::<Vec<_>>(), [7, 8, 9, 7, 8]);
    }

    #[test]
    fn a_limit_leaves_room_until_it_is_reached() {
        let second = Duration::from_secs(1);
        assert_eq!(Limit::Frames(10).room(4, second), 6);
        assert_eq!(Limit::Frames(10).room(11, second), 0);
        assert_eq!(Limit::Time(second).room(4, second / 2), u64::MAX);
        assert_eq!(Limit::Time(second).room(4, second), 0);
    }

    #[test]
    fn a_reading_with_losses_is_refused() {
        let reading = Reading { sent: 100, received: 99, ..Reading::default() };
        assert!(reading.checked("frames").is_ok());
        let lossy = Reading { sent: 100, received: 97, ..Reading::default() };
        assert!(matches!(lossy.checked("frames"), Err(Error::Lost { received: 97, .. })));
        assert!(Reading::default().checked("frames").is_err());
    }

    #[test]
    fn rates_are_per_received_frame() {
        let reading = Reading {
            sent: 1000,
            received: 1000,
            bytes: 64_000,
            longest: 64,
            elapsed: Duration::from_millis(1),
            cpu: Duration::from_micros(500),
        };
        assert!((reading.rate() - 2e6).abs() < 1.0);
        assert!((reading.wall_rate() - 1e6).abs() < 1.0);
        assert!((reading.gigabits() - 1.024).abs() < 1e-9);
        assert!((reading.cpu_ns() - 500.0).abs() < 1e-9);
    }
}
