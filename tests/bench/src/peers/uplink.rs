//! A switch with one uplink, a tap behind which the bench is everybody outside, and one guest.

use std::os::fd::OwnedFd;

use portcullis_pipeline::LAYOUT_VERSION;
use portcullis_switch::{Gate, PortKind, PortSpec, Traffic};

use super::portcullis::{FLOWS, Policy, Running, code, pinned, spec};
use crate::{error::Error, netns::Namespace, tap::Tap, workload::SERVER, yardstick::ifindex};

const UPLINK: &str = "up0";

/// All of it. Dropping it removes all of it.
pub struct Uplink {
    /// The outside.
    pub tap: Tap,
    /// What TEST_RUN needs.
    pub programs: Programs,
    running: Running,
    /// The guest.
    pub guest: Tap,
}

/// The programs of an uplink.
pub struct Programs {
    /// The program of the uplink's gate.
    pub gate: OwnedFd,
    /// The program of its filter.
    pub filter: OwnedFd,
    /// The table of denied sets.
    pub denied: OwnedFd,
    /// Interfaces of the uplink and the guest.
    pub ifindex: [u32; 2],
}

impl Running {
    /// Starts a switch whose policy has one guest, in the network of untagged frames.
    pub fn on_uplink(namespace: &Namespace, policy: &Policy, xdp: Gate) -> Result<Uplink, Error> {
        let tap = Tap::open(namespace, UPLINK)?;
        namespace.ip(&format!("link set {UPLINK} up\n"))?;
        let untagged = policy.image.networks.first().map(|network| network.name.clone());
        let kind = PortKind::Uplink { tagged: Vec::new(), untagged, xdp };
        let uplink = PortSpec { name: UPLINK.to_owned(), kind, guest: None, network: None };
        let specs = vec![uplink, spec(SERVER, PortKind::Tap { queues: 1 }, SERVER)];
        let running = Self::start(namespace, policy, specs, FLOWS)?;
        let guest = Tap::open(namespace, SERVER)?;
        let version = running.config.run_dir.join(format!("bpf/v{LAYOUT_VERSION}"));
        let code = code(&version)?;
        let [up, server] = [UPLINK, SERVER].map(|port| namespace.run(|| ifindex(port)));
        let programs = Programs {
            gate: pinned(code.join("gate"))?,
            filter: pinned(code.join("ingress"))?,
            denied: pinned(version.join("maps/DENIED"))?,
            ifindex: [up?, server?],
        };
        Ok(Uplink { tap, programs, running, guest })
    }
}

impl Uplink {
    /// What has passed the uplink, or not.
    pub fn traffic(&mut self) -> Result<Traffic, Error> {
        let Running { switch, namespace, .. } = &mut self.running;
        let Some(switch) = switch else { return Ok(Traffic::default()) };
        let ports = namespace.run(move || Ok(switch.counters()?.ports))?;
        let own = ports.into_iter().find(|port| port.name == UPLINK);
        Ok(own.and_then(|port| port.traffic).unwrap_or_default())
    }
}
