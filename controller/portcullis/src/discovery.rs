//! What `discover` tells: guests and interfaces of this host, whether the policy in force knows them,
//! and what to write for those that it does not. Pure.

use std::collections::BTreeSet;

use portcullis_import::domain::Domain;
use serde::Serialize;
use vmm_attach::discover::{At, Backend, Interface, Machine};

use crate::{
    api::{Nic, Status},
    names,
};

/// One place where a guest is, or may be, plugged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// `tap`, `veth`, `macvtap`, `macvlan`, `vif`, `vhost-user`; `none` of a guest without any of
    /// these.
    pub kind: String,
    /// The interface, or the socket.
    pub device: Option<String>,
    /// What it is attached to.
    pub at: Place,
    /// What runs the guest, and its process.
    pub monitor: Option<Running>,
    /// What the monitor, or libvirt, calls the guest.
    pub guest: Option<String>,
    /// The guest's MAC, where somebody says it.
    pub mac: Option<String>,
    /// How the policy knows it.
    pub known: Known,
    /// What to write in the policy, under `guests:`.
    pub policy: Option<String>,
    /// What to do then.
    pub advice: Option<String>,
}

/// A monitor that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Running {
    /// What it is called.
    pub name: String,
    /// Its process.
    pub pid: u32,
}

/// What an interface is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "to", content = "name")]
pub enum Place {
    /// Nothing that is known.
    Nothing,
    /// The switch, as this port; closed ones too.
    Port(String),
    /// A bridge.
    Bridge(String),
    /// Open vSwitch.
    Ovs,
    /// A NIC that it stands on.
    Nic(String),
    /// Some other master.
    Master(String),
    /// Another switch of ours.
    OtherSwitch,
    /// A network that libvirt would plug it into.
    Libvirt(String),
}

/// How the policy in force knows a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Known {
    /// By its port.
    Port {
        /// The guest of the port.
        guest: Option<String>,
        /// Is it open?
        open: bool,
    },
    /// By its MAC.
    Mac {
        /// The guest with that MAC.
        guest: String,
        /// Its network.
        network: String,
    },
    /// By its name, but with another MAC.
    Name {
        /// The MAC that the policy gives it.
        mac: String,
    },
    /// Not at all.
    No,
}

/// Everything, those that the policy does not know first. `status`: of the switch, if one runs.
pub fn discover(
    interfaces: &[Interface],
    machines: &[Machine],
    domains: &[Domain],
    status: Option<&Status>,
) -> Vec<Entry> {
    let view = View { status };
    let mut entries: Vec<Entry> =
        interfaces.iter().map(|interface| view.interface(interface, machines, domains)).collect();
    let sockets = machines.iter().flat_map(|machine| {
        let paths = machine.nics.iter().filter_map(|nic| match &nic.backend {
            Backend::VhostUser(path) => Some((nic.mac.clone(), path.clone())),
            _ => None,
        });
        paths.map(move |(mac, path)| (machine, mac, path))
    });
    for (machine, mac, path) in sockets {
        let guest = machine.name.clone();
        entries.push(view.entry(
            "vhost-user",
            Some(path),
            Place::Nothing,
            Some(machine),
            guest,
            mac,
        ));
    }
    let shown: BTreeSet<u32> =
        entries.iter().filter_map(|e| Some(e.monitor.as_ref()?.pid)).collect();
    for machine in machines.iter().filter(|machine| !shown.contains(&machine.pid)) {
        let guest = guest_of(machine);
        entries.push(view.entry("none", None, Place::Nothing, Some(machine), guest, None));
    }
    let macs: BTreeSet<String> = entries.iter().filter_map(|entry| entry.mac.clone()).collect();
    for domain in domains {
        for interface in &domain.interfaces {
            let Some(mac) = interface.mac.as_ref().filter(|mac| !macs.contains(*mac)) else {
                continue;
            };
            let at = interface.source.clone().map_or(Place::Nothing, Place::Libvirt);
            let (guest, mac) = (Some(domain.name.clone()), Some(mac.clone()));
            entries.push(view.entry("none", interface.target.clone(), at, None, guest, mac));
        }
    }
    entries.sort_by_key(|entry| (entry.known != Known::No, entry.device.clone()));
    entries
}

/// What a monitor calls its guest; of Xen's without a name its number.
fn guest_of(machine: &Machine) -> Option<String> {
    machine.name.clone().or_else(|| machine.xen.map(|domain| format!("xen-{domain}")))
}

struct View<'s> {
    status: Option<&'s Status>,
}

impl View<'_> {
    fn interface(&self, interface: &Interface, machines: &[Machine], domains: &[Domain]) -> Entry {
        let name = interface.name.as_str();
        let holder = machines.iter().find_map(|machine| {
            let nic = machine.nics.iter().find(|nic| nic.tap() == Some(name))?;
            Some((machine, nic))
        });
        // libvirt notes the device of a running domain.
        let of_domain = domains.iter().find_map(|domain| {
            let own = |i: &&portcullis_import::domain::Interface| i.target.as_deref() == Some(name);
            Some((domain, domain.interfaces.iter().find(own)?))
        });
        let mac = holder.and_then(|(_, nic)| nic.mac.clone());
        let mac = mac.or_else(|| of_domain.and_then(|(_, interface)| interface.mac.clone()));
        let guest = of_domain.map(|(domain, _)| domain.name.clone());
        let guest = guest.or_else(|| guest_of(holder?.0)).or_else(|| xen_domain(name));
        let machine = holder.map(|(machine, _)| machine);
        let device = Some(interface.name.clone());
        self.entry(interface.kind, device, self.place(interface), machine, guest, mac)
    }

    fn place(&self, interface: &Interface) -> Place {
        if self.status.is_some_and(|s| s.ports.iter().any(|port| port.name == interface.name)) {
            return Place::Port(interface.name.clone());
        }
        match &interface.at {
            _ if interface.ours => Place::OtherSwitch,
            At::Nothing => Place::Nothing,
            At::Bridge(name) => Place::Bridge(name.clone()),
            At::OpenVSwitch => Place::Ovs,
            At::Other(kind, name) => Place::Master(format!("{kind} {name}")),
            At::On(name) => Place::Nic(name.clone()),
        }
    }

    fn entry(
        &self,
        kind: &str,
        device: Option<String>,
        at: Place,
        machine: Option<&Machine>,
        guest: Option<String>,
        mac: Option<String>,
    ) -> Entry {
        let known = self.known(&at, guest.as_deref(), mac.as_deref());
        let (policy, advice) = self.advice(kind, &known, guest.as_deref(), mac.as_deref());
        let running =
            |machine: &Machine| Running { name: machine.monitor.to_string(), pid: machine.pid };
        let (kind, monitor) = (kind.to_owned(), machine.map(running));
        Entry { kind, device, at, monitor, guest, mac, known, policy, advice }
    }

    fn nics(&self) -> &[Nic] {
        self.status.map_or(&[], |status| status.guests.as_slice())
    }

    fn known(&self, at: &Place, guest: Option<&str>, mac: Option<&str>) -> Known {
        let port = match at {
            Place::Port(name) => self.status.and_then(|s| s.ports.iter().find(|p| p.name == *name)),
            _ => None,
        };
        // A stranger has the filter, and nothing else of a port.
        if let Some(port) = port.filter(|port| port.kind != "stranger") {
            return Known::Port { guest: port.guest.clone(), open: port.open };
        }
        if let Some(nic) = self.nics().iter().find(|nic| mac == Some(&nic.mac)) {
            return Known::Mac { guest: nic.guest.clone(), network: nic.network.clone() };
        }
        match self.nics().iter().find(|nic| guest == Some(&nic.guest)) {
            Some(nic) => Known::Name { mac: nic.mac.clone() },
            None => Known::No,
        }
    }

    /// The line for the policy, and what to do with it.
    fn advice(
        &self,
        kind: &str,
        known: &Known,
        guest: Option<&str>,
        mac: Option<&str>,
    ) -> (Option<String>, Option<String>) {
        match known {
            Known::Port { .. } => (None, None),
            Known::Mac { guest, network } => (None, Some(attach(kind, guest, network))),
            Known::Name { mac: declared } => {
                let says =
                    mac.map_or("no MAC that is known".to_owned(), |mac| format!("MAC {mac}"));
                let text =
                    format!("the policy gives it {declared}, and it has {says}: make them equal");
                (None, Some(text))
            }
            Known::No if kind == "veth" && guest.is_none() => (None, None),
            Known::No => {
                let name = guest.map_or_else(|| "NAME".to_owned(), str::to_owned);
                let networks = self.status.map_or(&[][..], |status| &status.networks);
                let network = match networks {
                    [only] => only.name.as_str(),
                    _ => "NETWORK",
                };
                let mac = mac.map_or_else(String::new, |mac| format!(", mac: \"{mac}\""));
                let line = format!("{name}: {{ network: {network}, ip: auto{mac} }}");
                (Some(line), Some(attach(kind, &name, network)))
            }
        }
    }
}

/// The command that gives a guest its port, and what to do with it.
fn attach(kind: &str, guest: &str, network: &str) -> String {
    let port = names::tap_of(guest, 0);
    if kind == "veth" || kind == "macvlan" {
        return format!(
            "portcullis attach veth {port} --guest {guest} --network {network} --netns NS"
        );
    }
    format!(
        "portcullis attach tap {port} --guest {guest} --network {network}, and start it on that tap"
    )
}

/// Xen's domain in the name of its interface.
fn xen_domain(interface: &str) -> Option<String> {
    let is_xen = vmm_attach::strangers::is_vif(interface);
    let domain = interface.strip_prefix("vif")?.split('.').next()?;
    is_xen.then(|| format!("xen-{domain}"))
}

#[cfg(test)]
mod tests {
    use vmm_attach::discover::{Monitor, Nic as Plugged};

    use super::*;

    fn tap(name: &str, at: At) -> Interface {
        Interface { name: name.into(), kind: "tap", up: true, at, ours: false }
    }

    fn qemu(name: &str, mac: &str, backend: Backend) -> Machine {
        let nics = vec![Plugged { mac: Some(mac.into()), backend }];
        let name = Some(name.to_owned());
        Machine { pid: 7, name, nics, ..Machine::of(Monitor::Qemu) }
    }

    fn domain(xml: &str) -> Domain {
        Domain::read(xml).unwrap()
    }

    #[test]
    fn a_guest_that_nobody_declared_gets_its_line() {
        let machines = [qemu("web1", "52:54:00:00:00:01", Backend::Tap("t1".into()))];
        let found = discover(&[tap("t1", At::Bridge("br0".into()))], &machines, &[], None);
        let [entry] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(
            (entry.at.clone(), entry.known.clone()),
            (Place::Bridge("br0".into()), Known::No)
        );
        assert_eq!(entry.monitor.as_ref().unwrap().pid, 7);
        let line = "web1: { network: NETWORK, ip: auto, mac: \"52:54:00:00:00:01\" }";
        assert_eq!(entry.policy.as_deref(), Some(line));
        assert!(entry.advice.as_ref().unwrap().contains("attach tap web1 --guest web1"));
    }

    #[test]
    fn sockets_and_domains_are_entries_of_their_own() {
        let machines = [qemu("v", "52:54:00:00:00:02", Backend::VhostUser("/run/v.sock".into()))];
        let off = "<domain><name>off</name><devices><interface type='network'>\
                   <mac address='52:54:00:00:00:03'/><source network='default'/></interface>\
                   <interface type='bridge'><mac address='52:54:00:00:00:02'/></interface>\
                   </devices></domain>";
        let found = discover(&[], &machines, &[domain(off)], None);
        let [domain, socket] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(
            (socket.kind.as_str(), socket.device.as_deref()),
            ("vhost-user", Some("/run/v.sock"))
        );
        // What runs is told once.
        assert_eq!(domain.at, Place::Libvirt("default".into()));
        assert_eq!(domain.guest.as_deref(), Some("off"));
    }

    #[test]
    fn libvirt_and_xen_say_whose_a_device_is() {
        let xml = "<domain><name>db</name><devices><interface type='bridge'>\
                   <mac address='52:54:00:00:00:04'/><target dev='vnet0'/></interface></devices></domain>";
        let vif = Interface { kind: "vif", ..tap("vif3.0", At::OpenVSwitch) };
        let found = discover(&[tap("vnet0", At::Nothing), vif], &[], &[domain(xml)], None);
        let guests: Vec<_> = found.iter().map(|entry| entry.guest.as_deref()).collect();
        assert_eq!(guests, [Some("xen-3"), Some("db")]);
        assert_eq!(found[1].mac.as_deref(), Some("52:54:00:00:00:04"));
    }
}
