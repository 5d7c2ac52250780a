//! Which taps have the fast lane: those whose guests send many small and complete frames. Large
//! ones would be copied once more in front of it (a super-packet at half the rate), and those with
//! a checksum to finish only look at it, so they close it again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{Switch, error::Result, lanes, switch::Port, traffic};

/// Frames a second from which on a lane is opened, and below which it is closed.
const OPEN_PER_S: f64 = 10_000.0;
const CLOSE_PER_S: f64 = 1_000.0;
/// Mean length of the guest's frames, bytes: up to here a lane is opened, from here on closed.
const OPEN_BYTES: f64 = 512.0;
const CLOSE_BYTES: f64 = 1_024.0;
/// Part of a port's frames that must go by its lane.
const TAKEN: f64 = 0.5;
/// Looks in a row that must ask for a lane.
const LOOKS: u32 = 2;
/// How long a lane stays closed by which little went.
const PAUSE: Duration = Duration::from_secs(60);

/// What a tap's guest had sent when it was looked at last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    packets: u64,
    bytes: u64,
    /// Frames that went by the lane.
    taken: u64,
    /// Looks in a row that asked for a lane.
    asked: u32,
    /// No lane before this moment.
    not_before: Option<Instant>,
}

/// The looks at all taps, by interface index.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    at: Option<Instant>,
    ports: BTreeMap<u32, Look>,
}

/// A tap whose fast lane was opened or closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneChange {
    /// The port.
    pub port: String,
    /// Has it one now?
    pub open: bool,
}

impl Switch {
    /// Opens the fast lane of the taps for which it pays and closes it for those for which it
    /// does not; to be called about once a second. Says what changed.
    pub fn tune(&mut self) -> Result<Vec<LaneChange>> {
        let now = Instant::now();
        let passed_s = self.looks.at.map(|at| now.duration_since(at).as_secs_f64());
        self.looks.at = Some(now);
        let before = std::mem::take(&mut self.looks.ports);
        let is_tap = |p: &&Port| p.spec.kind.is_tap() && p.place.is_ok();
        let taps = self.state.ports.iter().filter(is_tap);
        let taps: Vec<(String, u32)> = taps.map(|p| (p.spec.name.clone(), p.ifindex)).collect();
        let mut changes = Vec::new();
        for (port, ifindex) in taps {
            let (packets, bytes) = traffic::sent(&self.maps, ifindex)?;
            let taken = lanes::taken(&self.maps, ifindex)?;
            let mut look = Look { packets, bytes, taken, ..Look::default() };
            if let (Some(then), Some(passed_s)) = (before.get(&ifindex), passed_s) {
                let is_open = self.lanes.is_open(&port);
                let open = look.wants(then, now, passed_s, is_open);
                if open != is_open {
                    self.set_lane(&port, open)?;
                    changes.push(LaneChange { port, open });
                }
            }
            self.looks.ports.insert(ifindex, look);
        }
        Ok(changes)
    }
}

impl Look {
    /// Is the port to have a lane, after what it sent since the look before?
    fn wants(&mut self, then: &Self, now: Instant, passed_s: f64, is_open: bool) -> bool {
        let packets = self.packets.saturating_sub(then.packets) as f64;
        let bytes = self.bytes.saturating_sub(then.bytes) as f64;
        let taken = self.taken.saturating_sub(then.taken) as f64;
        let (per_s, mean) = (packets / passed_s, bytes / packets.max(1.0));
        self.not_before = then.not_before.filter(|t| *t > now);
        if is_open {
            let busy = per_s >= CLOSE_PER_S && mean < CLOSE_BYTES;
            if busy && taken < packets * TAKEN {
                self.not_before = Some(now + PAUSE);
                return false;
            }
            return busy;
        }
        let asks = per_s >= OPEN_PER_S && mean <= OPEN_BYTES && self.not_before.is_none();
        self.asked = if asks { then.asked + 1 } else { 0 };
        self.asked >= LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port that sends so many frames of such a length in each second.
    struct Port {
        look: Look,
        now: Instant,
        open: bool,
    }

    impl Port {
        fn new() -> Self {
            Self { look: Look::default(), now: Instant::now(), open: false }
        }

        fn second(&mut self, packets: u64, length: u64, taken: u64) -> bool {
            let then = self.look;
            self.now += Duration::from_secs(1);
            let taken = if self.open { taken } else { 0 };
            self.look = Look {
                packets: then.packets + packets,
                bytes: then.bytes + packets * length,
                taken: then.taken + taken,
                ..Look::default()
            };
            self.open = self.look.wants(&then, self.now, 1.0, self.open);
            self.open
        }
    }

    #[test]
    fn many_small_frames_get_a_lane_after_two_looks() {
        let mut port = Port::new();
        assert!(!port.second(20_000, 64, 0));
        assert!(port.second(20_000, 64, 0));
        assert!(port.second(20_000, 64, 20_000));
        assert!(!Port::new().second(5_000, 64, 0));
        let mut large = Port::new();
        assert!((0..5).all(|_| !large.second(20_000, 1_514, 0)));
    }

    #[test]
    fn it_stays_until_frames_are_few_or_large() {
        for (packets, length, stays) in
            [(2_000, 64, true), (20_000, 800, true), (500, 64, false), (20_000, 30_000, false)]
        {
            let mut port = Port::new();
            port.second(20_000, 64, 0);
            assert!(port.second(20_000, 64, 0));
            assert_eq!(port.second(packets, length, packets), stays, "{packets} of {length}");
        }
    }

    #[test]
    fn a_lane_that_nobody_takes_pauses() {
        let mut port = Port::new();
        port.second(20_000, 64, 0);
        assert!(port.second(20_000, 64, 0));
        assert!(!port.second(20_000, 64, 100));
        assert!((0..59).all(|_| !port.second(20_000, 64, 0)));
        port.second(20_000, 64, 0);
        port.second(20_000, 64, 0);
        assert!(port.open);
    }
}
