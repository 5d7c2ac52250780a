//! Guests whose driver is DPDK's, at the sockets of a switch.

use std::{thread, time::Duration};

use nix::sys::signal::Signal;

use super::{
    RINGS, ours,
    peer::send,
    testpmd::{Driver, Forwarder},
};
use crate::world::Ends;

/// A switch with such guests. They look at their rings without end, so they rest in between.
pub struct Driven {
    driver: Driver,
    /// The switch, if it has to be told to rest.
    busy: Option<u32>,
    _switch: Box<dyn std::any::Any>,
}

impl Driven {
    /// At testpmd.
    pub fn of_testpmd() -> anyhow::Result<Self> {
        let switch = Forwarder::start("testpmd-switch")?;
        switch.wait()?;
        let driver = Driver::start("testpmd-bare", &switch.sockets, &Ends::switched())?;
        Self { driver, busy: Some(switch.running.0.id()), _switch: Box::new(switch) }.rest()
    }

    /// At Portcullis.
    pub fn of_ours() -> anyhow::Result<Self> {
        let host = ours::serve("portcullis-driven", RINGS)?;
        let driver = Driver::start("testpmd-own", &ours::sockets(&host), &Ends::switched())?;
        Self { driver, busy: None, _switch: Box::new(host) }.rest()
    }

    fn rest(self) -> anyhow::Result<Self> {
        self.signal(Signal::SIGSTOP)?;
        Ok(self)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.busy.into_iter().chain([self.driver.id()]).try_for_each(|pid| send(pid, signal))
    }

    /// Millions of frames a second that come to the second guest.
    pub fn rate(&mut self, reading: Duration) -> anyhow::Result<f64> {
        self.signal(Signal::SIGCONT)?;
        let (before, start) = self.driver.received()?;
        thread::sleep(reading);
        let (after, end) = self.driver.received()?;
        self.signal(Signal::SIGSTOP)?;
        anyhow::ensure!(after > before, "no frame goes round");
        Ok((after - before) as f64 / (end - start).as_secs_f64() / 1e6)
    }
}
