//! Small frames, many of them: what opens the fast lane of a tap and keeps it open.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use portcullis_lab::process::wait_for;

use crate::{
    site::Site,
    wire::{Talk, complete},
};

const PORT: u16 = 9_999;
const TICK: Duration = Duration::from_millis(1);
/// Frames a tick: twice what opens a lane, and four times what keeps it open.
const OPENING: usize = 20;
const KEEPING: usize = 4;

/// Runs `inside` while the lane of the first tap is open.
pub fn with_lane<T>(site: &Site, inside: impl FnOnce() -> T) -> T {
    let (t1, t2) = (site.station("t1"), site.station("t2"));
    let talk = Talk::new(t1.place(false), t2.place(false), PORT);
    // Only a connection that both have spoken on is for the lane.
    t1.end.send(&complete(talk.udp(b"hello"))).unwrap();
    t2.end.send(&complete(talk.back().udp(b"hello"))).unwrap();
    let small = complete(talk.udp(&[7; 40]));
    let (stop, pace) = (AtomicBool::new(false), AtomicUsize::new(OPENING));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..pace.load(Ordering::Relaxed) {
                    // A queue that is full for a moment is nothing to a flood.
                    let _ = t1.end.send(&small);
                }
                next += TICK;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        // Whatever fails: the flood ends, or the scope would not.
        let _end = Stop(&stop);
        wait_for("the fast lane", 10, || has_lane(site)).unwrap();
        pace.store(KEEPING, Ordering::Relaxed);
        let result = inside();
        assert!(has_lane(site), "the lane was closed meanwhile");
        result
    })
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn has_lane(site: &Site) -> bool {
    site.host.status().unwrap().port("t1").is_some_and(|port| port["lane"] == true)
}
