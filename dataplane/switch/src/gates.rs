//! The gate of uplinks: an XDP program in front of the filter that drops what can never be allowed,
//! before there is a packet buffer, and that sends datagrams of known connections straight to taps.
//! Where it cannot be had the filter does all of it, as ever.
//!
//! It runs in the driver of hardware, which has no large frames to lose by it. Drivers that are
//! software hand over frames that are still to be segmented: with a native program their other end
//! segments them, and the generic one, which comes behind the packet buffer, copies them; so they
//! get a gate only by request.

use std::collections::BTreeMap;

use aya::programs::{Xdp, XdpMode};
use portcullis_ports::{
    ethtool::{self, Driver},
    link,
};

use crate::{
    Switch,
    bpffs::Bpffs,
    code::Code,
    error::{Error, Result},
    lanes,
    maps::{Maps, name},
    place::table_index,
    spec::{Gate, PortKind, PortSpec},
    status::{GateMode, GateStatus, NoGate},
    switch::Port,
    uplink,
    xdp::XdpLinks,
};

/// Drivers of devices that somebody else plays, and may fill with frames still to be segmented.
/// (Those without a bus are software of this host.)
const PLAYED: [&str; 6] = ["tun", "virtio_net", "vif", "hv_netvsc", "vmxnet3", "ena"];

/// The gates of one switch.
pub struct Gates {
    pub(crate) links: XdpLinks,
    /// Why uplinks that should have one have none.
    refused: BTreeMap<String, String>,
}

impl Gates {
    /// Those pinned at `bpffs`.
    pub fn new(bpffs: &Bpffs) -> Self {
        Self { links: XdpLinks::new(bpffs.gates(), "gate"), refused: BTreeMap::new() }
    }

    /// Makes the programs take over everywhere; gates of interfaces that are gone are forgotten.
    pub fn take_over(&self, code: &mut Code) -> Result<()> {
        for port in self.links.ports()? {
            // Without an interface either program finds that.
            let mode = gate_of(&port)?.unwrap_or(GateMode::Native);
            self.links.replace(program(code, mode).0, &port)?;
        }
        Ok(())
    }
}

/// May the driver of this port hide VLAN tags from a gate? Where it is to have one, the NIC is made
/// to leave them in, if it can.
pub fn hides_tags(bpffs: &Bpffs, spec: &PortSpec) -> Result<bool> {
    let PortKind::Uplink { xdp, .. } = &spec.kind else { return Ok(false) };
    let driver = ethtool::driver(&spec.name)?;
    if driver.bus.is_empty() || mode(*xdp, &driver).is_err() {
        return Ok(true);
    }
    Ok(!uplink::shows_tags(bpffs, &spec.name)?)
}

/// How an uplink with this driver gets its gate, or why it gets none.
fn mode(wanted: Gate, driver: &Driver) -> std::result::Result<GateMode, NoGate> {
    let hardware = !driver.bus.is_empty() && !PLAYED.contains(&driver.name.as_str());
    match wanted {
        Gate::Auto if hardware => Ok(GateMode::Native),
        Gate::Auto => Err(NoGate::Segments { driver: driver.name.clone() }),
        Gate::Native => Ok(GateMode::Native),
        Gate::Generic => Ok(GateMode::Generic),
        Gate::Off => Err(NoGate::Off),
    }
}

impl Switch {
    /// Gives every open uplink the gate that it is to have. One that cannot be had is no error: the
    /// filter is there.
    pub(crate) fn set_gates(&mut self) {
        let uplinks = self.state.ports.iter().filter(|p| p.place.is_ok());
        let uplinks: Vec<PortSpec> = uplinks.map(|p| p.spec.clone()).collect();
        for spec in uplinks {
            let PortKind::Uplink { xdp, .. } = &spec.kind else { continue };
            match self.set_gate(&spec.name, *xdp) {
                Ok(()) => self.gates.refused.remove(&spec.name),
                Err(e) => self.gates.refused.insert(spec.name, e.to_string()),
            };
        }
    }

    fn set_gate(&mut self, port: &str, wanted: Gate) -> Result<()> {
        let Ok(mode) = mode(wanted, &ethtool::driver(port)?) else {
            return self.gates.links.close(port);
        };
        if gate_of(port)?.is_some_and(|is| is != mode) {
            self.gates.links.close(port)?;
        }
        let (program, mode) = program(&mut self.code, mode);
        self.gates.links.open(program, port, mode)
    }

    /// What there is to tell of an uplink's gate.
    pub(crate) fn gate_status(&self, port: &Port) -> Option<GateStatus> {
        let PortKind::Uplink { xdp, .. } = &port.spec.kind else { return None };
        let name = &port.spec.name;
        let has = self.gates.links.is_open(name);
        let is = gate_of(name).ok().flatten().filter(|_| has);
        let why = || match mode(*xdp, &ethtool::driver(name).unwrap_or_default()) {
            Err(why) => why,
            Ok(_) => match self.gates.refused.get(name) {
                Some(error) => NoGate::Refused { error: error.clone() },
                None => NoGate::Closed,
            },
        };
        Some(GateStatus {
            mode: is,
            none: is.is_none().then(why),
            hides_tags: port.hides_tags,
            dropped: dropped(&self.maps, port.ifindex).unwrap_or_default(),
            sent: lanes::taken(&self.maps, port.ifindex).unwrap_or_default(),
        })
    }
}

/// The program of a mode, and the kernel's word for the mode.
const fn program(code: &mut Code, mode: GateMode) -> (&mut Xdp, XdpMode) {
    match mode {
        GateMode::Native => (&mut code.gate, XdpMode::Driver),
        GateMode::Generic => (&mut code.gate_generic, XdpMode::Skb),
    }
}

/// How the XDP program in front of an interface runs, if there is one.
fn gate_of(port: &str) -> Result<Option<GateMode>> {
    let xdp = link::find(port)?.and_then(|link| link.xdp);
    Ok(xdp.map(|xdp| if xdp.native { GateMode::Native } else { GateMode::Generic }))
}

/// Frames that the gate of an interface has dropped.
fn dropped(maps: &Maps, ifindex: u32) -> Result<u64> {
    let of_each = maps.gate_hits.get(&table_index(ifindex), 0);
    Ok(of_each.map_err(Error::map("read", name::GATE_HITS))?.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_has_one_by_itself_and_the_rest_by_request() {
        let driver = |name: &str, bus: &str| Driver { name: name.into(), bus: bus.into() };
        let ice = driver("ice", "0000:3b:00.0");
        let others =
            [driver("veth", ""), driver("tun", "tap"), driver("virtio_net", "0000:00:03.0")];
        assert_eq!(mode(Gate::Auto, &ice), Ok(GateMode::Native));
        for other in &others {
            assert!(matches!(mode(Gate::Auto, other), Err(NoGate::Segments { .. })));
            assert_eq!(mode(Gate::Native, other), Ok(GateMode::Native));
        }
        assert_eq!(mode(Gate::Generic, &ice), Ok(GateMode::Generic));
        assert_eq!(mode(Gate::Off, &ice), Err(NoGate::Off));
    }
}
