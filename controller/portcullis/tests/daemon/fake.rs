//! A peer of the kernel switch: the same rules, in memory, and failures on demand.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use portcullis::dataplane::{DataPlane, Launcher};
use portcullis_image::Image;
use portcullis_switch::{
    Closed, Config, Counters, Event, EventCounts, Flow, FlowStatus, Hook, Installed, LaneChange,
    Origin, PortKind, PortSpec, PortStatus, RemoveReport, StartReport, SweepReport, SwitchStatus,
};

/// The kernel: outlives every daemon.
#[derive(Clone, Default)]
pub struct World(Arc<Mutex<Kernel>>);

#[derive(Default)]
pub struct Kernel {
    pub ports: BTreeMap<String, PortSpec>,
    pub generation: u32,
    pub image: Option<Arc<Image>>,
    pub host: Vec<IpAddr>,
    pub installs: u32,
    pub sweeps: u32,
    /// What was told, and not yet asked for.
    pub events: Vec<Event>,
    /// What runs.
    pub flows: Vec<Flow>,
    pub starts: u32,
    /// Interfaces that somebody else made.
    pub nics: Vec<String>,
    /// What fails, until it is taken out: `start`, `install`, `attach`, `detach`, `remove`, ...
    pub broken: Vec<&'static str>,
    /// How long an install takes.
    pub delay: Duration,
    /// Is an install going on? Two at once would be a bug of the daemon.
    busy: bool,
}

impl World {
    pub fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn breaks(&self, what: &'static str) {
        self.kernel().broken.push(what);
    }

    pub fn mend(&self) {
        self.kernel().broken.clear();
    }

    fn works(&self, what: &'static str) -> Result<(), FakeError> {
        match self.kernel().broken.contains(&what) {
            true => Err(FakeError { what }),
            false => Ok(()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{what} does not work")]
pub struct FakeError {
    what: &'static str,
}

pub struct FakeLauncher(pub World);

impl Launcher for FakeLauncher {
    type Plane = FakePlane;
    type Error = FakeError;

    fn start(&self, _: Config) -> Result<(FakePlane, StartReport), FakeError> {
        self.0.works("start")?;
        let mut kernel = self.0.kernel();
        kernel.starts += 1;
        let report = StartReport {
            programs: if kernel.starts == 1 { Origin::Loaded } else { Origin::Reused },
            hook: Hook::Tcx,
            generation: kernel.generation,
            filtered: kernel.ports.keys().cloned().collect(),
            notices: vec![],
        };
        Ok((FakePlane(self.0.clone()), report))
    }

    fn remove(&self, _: &Config) -> Result<RemoveReport, FakeError> {
        self.0.works("remove")?;
        let mut kernel = self.0.kernel();
        let ports = std::mem::take(&mut kernel.ports);
        kernel.generation = 0;
        kernel.image = None;
        let (ours, uplinks): (Vec<_>, Vec<_>) = ports.into_values().partition(|p| p.kind.is_ours());
        let names = |ports: Vec<PortSpec>| ports.into_iter().map(|p| p.name).collect();
        Ok(RemoveReport { interfaces: names(ours), uplinks: names(uplinks), pins: 3 })
    }
}

pub struct FakePlane(World);

impl FakePlane {
    fn port(kernel: &Kernel, spec: &PortSpec) -> PortStatus {
        let nic = kernel.image.as_ref().and_then(|image| {
            image.nics.iter().find(|nic| Some(&nic.guest) == spec.guest.as_ref())
        });
        let closed = match (&kernel.image, nic, &spec.guest) {
            (None, ..) => Some(Closed::NoPolicy),
            (Some(_), None, Some(guest)) => Some(Closed::UnknownGuest { guest: guest.clone() }),
            _ => None,
        };
        PortStatus {
            name: spec.name.clone(),
            kind: spec.kind.word(),
            guest: spec.guest.clone(),
            networks: nic
                .and_then(|nic| Some(kernel.image.as_ref()?.network(nic.network)?.name.clone()))
                .into_iter()
                .collect(),
            mac: nic.map(|nic| nic.mac.to_string()),
            addresses: nic.map_or_else(Vec::new, |n| n.addrs.iter().map(|a| (*a).into()).collect()),
            ifindex: 7,
            open: closed.is_none(),
            closed,
            lane: false,
            gate: None,
            vhost: None,
            traffic: None,
            past: None,
            connections: None,
        }
    }
}

impl DataPlane for FakePlane {
    type Error = FakeError;

    fn install(
        &mut self,
        image: Arc<Image>,
        specs: &[PortSpec],
        host: &[IpAddr],
    ) -> Result<Installed, FakeError> {
        self.0.works("install")?;
        let delay = {
            let mut kernel = self.0.kernel();
            assert!(!kernel.busy, "two installs at once");
            kernel.busy = true;
            kernel.delay
        };
        std::thread::sleep(delay);
        let mut kernel = self.0.kernel();
        kernel.busy = false;
        kernel.installs += 1;
        kernel.generation += 1;
        kernel.image = Some(image);
        kernel.host = host.to_vec();
        kernel.ports = specs.iter().map(|s| (s.name.clone(), s.clone())).collect();
        let ports = specs.iter().map(|s| Self::port(&kernel, s)).collect();
        let (generation, validation) = (kernel.generation, Default::default());
        Ok(Installed { generation, ports, removed: vec![], validation })
    }

    fn tidy(&mut self) {}

    fn attach(&mut self, spec: &PortSpec) -> Result<PortStatus, FakeError> {
        self.0.works("attach")?;
        let mut kernel = self.0.kernel();
        let missing =
            matches!(spec.kind, PortKind::Uplink { .. }) && !kernel.nics.contains(&spec.name);
        if missing {
            return Err(FakeError { what: "an uplink without its NIC" });
        }
        kernel.ports.insert(spec.name.clone(), spec.clone());
        Ok(Self::port(&kernel, spec))
    }

    fn detach(&mut self, name: &str) -> Result<(), FakeError> {
        self.0.works("detach")?;
        self.0.kernel().ports.remove(name).map(drop).ok_or(FakeError { what: "a port of nobody" })
    }

    fn status(&self) -> Result<SwitchStatus, FakeError> {
        self.0.works("status")?;
        let kernel = self.0.kernel();
        Ok(SwitchStatus {
            generation: kernel.generation,
            hook: Hook::Tcx,
            networks: vec![],
            shared: vec![],
            ports: kernel.ports.values().map(|spec| Self::port(&kernel, spec)).collect(),
            traffic: Default::default(),
            drops: vec![],
            rules: vec![],
            events: self.event_counts()?,
            flows: FlowStatus { used: 0, capacity: 1024 },
            programs: vec![],
        })
    }

    fn lost(&self) -> Result<Vec<String>, FakeError> {
        let kernel = self.0.kernel();
        let uplinks = kernel.ports.values().filter(|p| matches!(p.kind, PortKind::Uplink { .. }));
        let lost = uplinks.filter(|port| !kernel.nics.contains(&port.name));
        Ok(lost.map(|port| port.name.clone()).collect())
    }

    fn counters(&mut self) -> Result<Counters, FakeError> {
        self.0.works("counters")?;
        let kernel = self.0.kernel();
        let ports = kernel.ports.values().map(|spec| Self::port(&kernel, spec)).collect();
        Ok(Counters { ports, ..Counters::default() })
    }

    fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.0.kernel().events)
    }

    fn event_counts(&self) -> Result<EventCounts, FakeError> {
        Ok(EventCounts { told: 0, suppressed: 7, lost: 1 })
    }

    fn flows(&self, each: &mut dyn FnMut(Flow)) -> Result<(), FakeError> {
        self.0.works("flows")?;
        self.0.kernel().flows.iter().cloned().for_each(each);
        Ok(())
    }

    fn look_after_engine(&mut self) -> Result<bool, FakeError> {
        Ok(false)
    }

    fn tune(&mut self) -> Result<Vec<LaneChange>, FakeError> {
        Ok(Vec::new())
    }

    fn sweep(&mut self) -> Result<SweepReport, FakeError> {
        self.0.works("sweep")?;
        self.0.kernel().sweeps += 1;
        Ok(SweepReport::default())
    }
}
