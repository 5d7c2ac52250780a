//! The project itself, set up as its daemon does it: a compiled policy, the real switch.

use std::{
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use portcullis_image::Image;
use portcullis_pipeline::LAYOUT_VERSION;
use portcullis_policy::{Sources, compile};
use portcullis_switch::{Config, PortKind, PortSpec, Switch};

use super::Peer;
use crate::{
    error::Error,
    netns::Namespace,
    scratch, sys,
    tap::Tap,
    testrun::Subject,
    workload::{self, CLIENT, SERVER},
    world::{Attached, Ends, GUEST_PORT, Medium, PORTS, Topology, World},
    yardstick::{Hook, ifindex},
};

/// Connections that a switch holds unless it is told otherwise: what is forwarded is measured so.
pub(super) const FLOWS: u32 = 262_144;
/// Connections for TEST_RUN: twice the most that are ever resident there.
const MANY_FLOWS: u32 = 1 << 21;

/// A compiled policy of some size.
#[derive(Clone)]
pub struct Policy {
    /// What the switch gets.
    pub image: Arc<Image>,
    /// How many rules it has.
    pub rules: u32,
    /// Are client and server in one network?
    pub topology: Topology,
    /// How long it took to compile, ms.
    pub compile_ms: f64,
}

impl Policy {
    /// Writes and compiles a policy of `rules` rules.
    pub fn compile(rules: u32, topology: Topology) -> Result<Self, Error> {
        let ends = match topology {
            Topology::Switched => Ends::switched(),
            // The router's MACs follow from the policy; the policy does not depend on them.
            Topology::Routed => Ends::routed(Default::default()),
        };
        Self::of(workload::policy(rules, &ends, topology), rules, topology)
    }

    /// Compiles a text that has this many rules, and client and server among its guests.
    pub fn of(text: String, rules: u32, topology: Topology) -> Result<Self, Error> {
        let start = Instant::now();
        let compiled = compile(&Sources::new([("bench.yaml", text)]))
            .map_err(|diagnostics| Error::Policy { text: diagnostics.render(false) })?;
        Ok(Self {
            image: Arc::new(compiled.image),
            rules,
            topology,
            compile_ms: start.elapsed().as_secs_f64() * 1e3,
        })
    }

    fn ends(&self) -> Ends {
        let macs: Vec<_> = self.image.networks.iter().map(|n| n.gateway_mac.octets()).collect();
        match self.topology {
            Topology::Switched => Ends::switched(),
            Topology::Routed => Ends::routed([macs[0], macs[1]]),
        }
    }
}

/// Portcullis with one policy.
pub struct Portcullis {
    /// The policy.
    pub policy: Policy,
    /// Do its taps have the fast lane?
    pub lane: bool,
}

impl Portcullis {
    /// Its row with the fast lane.
    pub const LANE: &'static str = "portcullis-lane";
    /// Its row between two guests of one network.
    pub const SWITCHED: &'static str = "portcullis";
    /// Its row as gateway of two networks.
    pub const ROUTED: &'static str = "portcullis-routed";
}

impl Peer for Portcullis {
    fn name(&self) -> &'static str {
        match self.policy.topology {
            Topology::Switched if self.lane => Self::LANE,
            Topology::Switched => Self::SWITCHED,
            Topology::Routed => Self::ROUTED,
        }
    }

    fn rules(&self) -> u32 {
        self.policy.rules
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn hook(&self) -> Hook {
        if self.lane { Hook::Xdp } else { Hook::Tcx }
    }

    fn build(&self, medium: Medium) -> Result<World, Error> {
        let namespace = Namespace::new()?;
        let (mut running, attached) = Running::between(&namespace, &self.policy, medium, FLOWS)?;
        if self.lane && medium == Medium::Taps {
            running.open_lanes()?;
        }
        Ok(World { attached, ends: self.policy.ends(), _keep: Box::new(running), namespace })
    }
}

/// A switch that forwards. Dropping it removes everything of it.
pub struct Running {
    pub(super) switch: Option<Switch>,
    pub(super) config: Config,
    specs: Vec<PortSpec>,
    pub(super) namespace: Namespace,
    ends: Ends,
}

impl Running {
    /// Starts a switch on taps whose flow table has room for everything that TEST_RUN needs.
    pub fn for_testrun(namespace: &Namespace, policy: &Policy) -> Result<(Self, Attached), Error> {
        Self::between(namespace, policy, Medium::Taps, MANY_FLOWS)
    }

    /// Starts a switch with a tap of the same name for each of these guests of the policy.
    pub fn on_taps(
        namespace: &Namespace,
        policy: &Policy,
        guests: &[&str],
    ) -> Result<(Self, Vec<Tap>), Error> {
        let specs = guests.iter().map(|name| spec(name, PortKind::Tap { queues: 1 }, name));
        let running = Self::start(namespace, policy, specs.collect(), FLOWS)?;
        let taps = guests.iter().map(|name| Tap::open(namespace, name));
        Ok((running, taps.collect::<Result<_, _>>()?))
    }

    /// Starts a switch with the policy and a port for each end.
    fn between(
        namespace: &Namespace,
        policy: &Policy,
        medium: Medium,
        flows: u32,
    ) -> Result<(Self, Attached), Error> {
        let guests = match medium {
            Medium::Taps => None,
            Medium::Guests => Some([Namespace::new()?, Namespace::new()?]),
        };
        let running = Self::start(namespace, policy, specs(guests.as_ref()), flows)?;
        let attached = match guests {
            Some([client, server]) => Attached::Guests(client, server),
            None => {
                Attached::Taps(Tap::open(namespace, PORTS[0])?, Tap::open(namespace, PORTS[1])?)
            }
        };
        Ok((running, attached))
    }

    /// Starts a switch with the policy and these ports.
    pub(super) fn start(
        namespace: &Namespace,
        policy: &Policy,
        specs: Vec<PortSpec>,
        flows: u32,
    ) -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("switch{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let config = Config::new(scratch::directory(&name));
        let config = Config { flows, instance: name, ..config };
        let (namespace, ends) = (namespace.try_clone()?, policy.ends());
        let mut running = Self { switch: None, config: config.clone(), specs, namespace, ends };
        let (switch, _) = running.namespace.run(|| Ok(Switch::start(config)?))?;
        running.switch = Some(switch);
        running.install(policy)?;
        Ok(running)
    }

    /// What logged rules have told since the last call: how many events.
    pub fn events(&mut self) -> usize {
        self.switch.as_mut().map_or(0, |switch| switch.events().len())
    }

    /// Puts another policy in force.
    pub fn install(&mut self, policy: &Policy) -> Result<(), Error> {
        let (image, specs) = (Arc::clone(&policy.image), &self.specs);
        let Some(switch) = &mut self.switch else { return Ok(()) };
        self.namespace.run(|| Ok(switch.install(image, specs, &[]).map(drop)?))
    }

    /// Gives both taps the fast lane.
    fn open_lanes(&mut self) -> Result<(), Error> {
        let Some(switch) = &mut self.switch else { return Ok(()) };
        self.namespace.run(|| {
            for port in PORTS {
                switch.set_lane(port, true)?;
            }
            Ok(())
        })
    }

    /// What TEST_RUN needs to know of it.
    pub fn subject<'a>(&self, namespace: &'a Namespace) -> Result<Subject<'a>, Error> {
        let version = self.config.run_dir.join(format!("bpf/v{LAYOUT_VERSION}"));
        let [client, server] = PORTS.map(|port| self.namespace.run(|| ifindex(port)));
        Ok(Subject {
            namespace,
            program: pinned(code(&version)?.join("ingress"))?,
            flows: pinned(version.join("maps/FLOWS"))?,
            generation: pinned(version.join("maps/GENERATION"))?,
            ifindex: [client?, server?],
            ends: self.ends,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.switch = None;
        let config = &self.config;
        if let Err(error) = self.namespace.run(|| Ok(Switch::remove(config).map(drop)?)) {
            eprintln!("removing a switch: {error}");
        }
    }
}

/// A port for each end.
fn specs(guests: Option<&[Namespace; 2]>) -> Vec<PortSpec> {
    let kind = |i: usize| match guests {
        None => PortKind::Tap { queues: 1 },
        Some(guests) => PortKind::Veth {
            netns: Some(guests[i].path()),
            peer: GUEST_PORT.to_owned(),
            configure: true,
        },
    };
    [CLIENT, SERVER]
        .into_iter()
        .enumerate()
        .map(|(i, guest)| spec(PORTS[i], kind(i), guest))
        .collect()
}

pub(super) fn spec(port: &str, kind: PortKind, guest: &str) -> PortSpec {
    PortSpec { name: port.to_owned(), kind, guest: Some(guest.to_owned()), network: None }
}

/// The directory of the only programs pinned in `version`.
pub(super) fn code(version: &std::path::Path) -> Result<PathBuf, Error> {
    let entries =
        std::fs::read_dir(version).map_err(|e| Error::system(version.display().to_string(), e))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.join("ingress").exists())
        .ok_or_else(|| {
            let what = format!("the switch's programs in {}", version.display());
            Error::system(what, std::io::ErrorKind::NotFound)
        })
}

pub(super) fn pinned(path: PathBuf) -> Result<OwnedFd, Error> {
    sys::object_get(&path).map_err(|e| Error::system(path.display().to_string(), e))
}
