//! One line a step on standard error, so that a person sees where a run is.

use std::time::Instant;

/// Counts steps.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    done: usize,
    steps: usize,
}

impl Progress {
    /// A run of that many steps.
    pub fn new(steps: usize) -> Self {
        Self { start: Instant::now(), done: 0, steps }
    }

    /// The next step begins.
    pub fn step(&mut self, what: std::fmt::Arguments<'_>) {
        self.done += 1;
        let seconds = self.start.elapsed().as_secs();
        eprintln!("[{:>3}/{} {seconds:>4} s] {what}", self.done, self.steps);
    }

    /// Seconds since the first step.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}
