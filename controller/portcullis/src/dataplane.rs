//! The switch as the daemon sees it: a seam, so that the daemon can be tested without a kernel.

use std::{error::Error, net::IpAddr, path::PathBuf, sync::Arc};

use portcullis_image::Image;
use portcullis_switch::{
    self as switch, Config, Counters, Event, EventCounts, Flow, Installed, LaneChange, PortSpec,
    PortStatus, RemoveReport, StartReport, SweepReport, Switch, SwitchStatus, peer::Peer as _,
};
use portcullis_vhost_user::Client;

/// A switch that is running. All calls block.
pub trait DataPlane {
    /// Why it refuses.
    type Error: Error;

    /// Puts an image in force, for these ports; whole, or not at all.
    ///
    /// # Errors
    /// The generation before stays in force.
    fn install(
        &mut self,
        image: Arc<Image>,
        specs: &[PortSpec],
        host: &[IpAddr],
    ) -> Result<Installed, Self::Error>;

    /// Puts in order what a change has left, when nobody waits for an answer.
    fn tidy(&mut self);

    /// Makes a port, or takes over the one that exists.
    ///
    /// # Errors
    /// Nothing of the port is left.
    fn attach(&mut self, spec: &PortSpec) -> Result<PortStatus, Self::Error>;

    /// Removes a port.
    ///
    /// # Errors
    /// The port may be gone in part; it passes nothing.
    fn detach(&mut self, name: &str) -> Result<(), Self::Error>;

    /// What is.
    ///
    /// # Errors
    /// The kernel did not tell.
    fn status(&self) -> Result<SwitchStatus, Self::Error>;

    /// Ports whose interface is not there any more.
    ///
    /// # Errors
    /// The kernel did not tell.
    fn lost(&self) -> Result<Vec<String>, Self::Error>;

    /// What has passed the ports, those that are gone among them.
    ///
    /// # Errors
    /// The kernel did not tell.
    fn counters(&mut self) -> Result<Counters, Self::Error>;

    /// What was told about connections of logged rules since the last call.
    fn events(&mut self) -> Vec<Event>;

    /// How many there were, and how many are missing.
    ///
    /// # Errors
    /// The kernel did not tell.
    fn event_counts(&self) -> Result<EventCounts, Self::Error>;

    /// Shows every running connection.
    ///
    /// # Errors
    /// The kernel did not tell.
    fn flows(&self, each: &mut dyn FnMut(Flow)) -> Result<(), Self::Error>;

    /// Removes idle connections: a bounded number in one call.
    ///
    /// # Errors
    /// The kernel refused.
    fn sweep(&mut self) -> Result<SweepReport, Self::Error>;

    /// Starts the engine of vhost-user ports again if it has ended; true: it had.
    ///
    /// # Errors
    /// It does not start; those ports are closed.
    fn look_after_engine(&mut self) -> Result<bool, Self::Error>;

    /// Opens and closes the fast lane of taps as it pays; says what changed.
    ///
    /// # Errors
    /// The kernel refused; everything passes as before.
    fn tune(&mut self) -> Result<Vec<LaneChange>, Self::Error>;
}

/// Starts and removes switches.
pub trait Launcher: Send + 'static {
    /// What it starts.
    type Plane: DataPlane<Error = Self::Error>;
    /// Why it cannot.
    type Error: Error;

    /// Starts a switch, or takes over the one that is running.
    ///
    /// # Errors
    /// What was running is still running.
    fn start(&self, config: Config) -> Result<(Self::Plane, StartReport), Self::Error>;

    /// Removes everything of a switch, running or not.
    ///
    /// # Errors
    /// Something is left; trying again is safe.
    fn remove(&self, config: &Config) -> Result<RemoveReport, Self::Error>;
}

/// The kernel's switch.
#[derive(Clone, Copy, Debug)]
pub struct Kernel;

impl Launcher for Kernel {
    type Plane = Switch;
    type Error = switch::Error;

    fn start(&self, config: Config) -> Result<(Switch, StartReport), switch::Error> {
        let engine = engine(&config);
        let (mut switch, report) = Switch::start(config)?;
        switch.join(Box::new(engine));
        Ok((switch, report))
    }

    fn remove(&self, config: &Config) -> Result<RemoveReport, switch::Error> {
        // What it holds open goes with it.
        engine(config).end();
        Switch::remove(config)
    }
}

/// The engine of a switch: this program, told where the switch is.
fn engine(config: &Config) -> Client {
    let program = PathBuf::from("/proc/self/exe");
    let run_dir = config.run_dir.to_string_lossy().into_owned();
    let arguments = vec!["engine".to_owned(), "--run-dir".to_owned(), run_dir];
    Client::new(&config.run_dir, program, arguments)
}

impl DataPlane for Switch {
    type Error = switch::Error;

    fn install(
        &mut self,
        image: Arc<Image>,
        specs: &[PortSpec],
        host: &[IpAddr],
    ) -> Result<Installed, switch::Error> {
        Switch::install(self, image, specs, host)
    }

    fn tidy(&mut self) {
        Switch::tidy(self);
    }

    fn attach(&mut self, spec: &PortSpec) -> Result<PortStatus, switch::Error> {
        Switch::attach(self, spec)
    }

    fn detach(&mut self, name: &str) -> Result<(), switch::Error> {
        Switch::detach(self, name)
    }

    fn status(&self) -> Result<SwitchStatus, switch::Error> {
        Switch::status(self)
    }

    fn lost(&self) -> Result<Vec<String>, switch::Error> {
        Switch::lost(self)
    }

    fn counters(&mut self) -> Result<Counters, switch::Error> {
        Switch::counters(self)
    }

    fn events(&mut self) -> Vec<Event> {
        Switch::events(self)
    }

    fn event_counts(&self) -> Result<EventCounts, switch::Error> {
        Switch::event_counts(self)
    }

    fn flows(&self, each: &mut dyn FnMut(Flow)) -> Result<(), switch::Error> {
        Switch::flows(self, each)
    }

    fn look_after_engine(&mut self) -> Result<bool, switch::Error> {
        Switch::look_after_other_half(self)
    }

    fn tune(&mut self) -> Result<Vec<LaneChange>, switch::Error> {
        Switch::tune(self)
    }

    fn sweep(&mut self) -> Result<SweepReport, switch::Error> {
        Switch::sweep(self)
    }
}
