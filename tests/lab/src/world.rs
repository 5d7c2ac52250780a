//! The DMZ of `policies/dmz.yaml` on this machine: a host, its guests on real ports, and a world
//! behind an uplink.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    Error, Lab, Result, Space,
    host::Host,
    probe::{Probe, SMB, SSH},
    server::{Server, UdpEcho},
    sums,
    tap::Pump,
    vhost::Monitor,
    vm::Vm,
};

/// The host's end of the cable to the world.
pub const UPLINK: &str = "up0";
/// A host out there, in the subnets of the external network but declared nowhere.
pub const WORLD: [&str; 2] = ["203.0.113.100", "fd00:30::100"];
/// Its way in.
const WORLD_GATEWAY: [&str; 2] = ["203.0.113.1", "fd00:30::1"];

/// How a guest meets the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nic {
    /// A tap and a pump: as a virtual machine does.
    Tap,
    /// A vhost-user socket and a front end: as a virtual machine does whose frames stay in user
    /// space.
    Vhost,
    /// A veth pair into its namespace: as a container does.
    Veth,
}

/// The guests of the policy and the ports that they get here.
const GUESTS: [(&str, Nic); 6] = [
    ("pc1", Nic::Tap),
    ("pc2", Nic::Veth),
    ("files", Nic::Veth),
    ("web1", Nic::Tap),
    ("app1", Nic::Veth),
    ("app2", Nic::Veth),
];

/// A guest that is attached.
#[derive(Debug)]
pub struct Guest {
    /// Its namespace.
    pub space: Space,
    /// Its port's interface on the host.
    pub port: String,
    /// Its MAC.
    pub mac: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its gateway's addresses.
    pub gateway: Vec<IpAddr>,
    /// The pump, if it sits on a tap.
    pub pump: Option<Pump>,
    /// Its virtual machine monitor, if it sits on a vhost-user socket.
    pub monitor: Option<Monitor>,
}

/// A guest that is a virtual machine of our own monitor.
#[derive(Debug)]
pub struct Machine {
    vm: RefCell<Vm>,
    addresses: Vec<IpAddr>,
    gateway: Vec<IpAddr>,
}

/// All of it. Dropping it removes all of it.
#[derive(Debug)]
pub struct Dmz {
    /// Guests that are virtual machines, by name.
    pub machines: BTreeMap<String, Machine>,
    servers: Vec<Server>,
    echoes: Vec<UdpEcho>,
    /// Guests by name.
    pub guests: BTreeMap<String, Guest>,
    /// The outside.
    pub world: Space,
    /// The hypervisor.
    pub host: Host,
    /// The policy's file.
    pub policy: PathBuf,
    /// Owner of all of it.
    pub lab: Lab,
}

impl Drop for Dmz {
    fn drop(&mut self) {
        sums::check_at_end(&self.host);
    }
}

/// UDP ports that an echo answers on everywhere, so that what does not come through was stopped.
pub const ECHO_PORTS: [u16; 3] = [53, 69, 8000];

impl Dmz {
    /// Brings the switch up, applies the example policy, attaches everybody. No servers yet.
    pub fn build(lab: Lab) -> Result<Self> {
        Self::build_with(lab, &example())
    }

    /// The same with a policy of one's own, for the same guests and networks.
    pub fn build_with(lab: Lab, policy: &Path) -> Result<Self> {
        let mut dmz = Self::empty(lab, policy)?;
        for (name, nic) in GUESTS {
            dmz.guests.insert(name.to_owned(), attach(&dmz.lab, &dmz.host, name, nic)?);
        }
        Ok(dmz)
    }

    /// The same whose guests are virtual machines of our own monitor, with the built-in test guest:
    /// each has its address from DHCP, and answers on the ports of all servers.
    pub fn build_of_machines(lab: Lab) -> Result<Self> {
        let mut dmz = Self::empty(lab, &example())?;
        let echoes = ECHO_PORTS.map(|port| port.to_string()).join(",");
        let words = format!("tcp={SSH},{SMB} udp={echoes}");
        for (name, _) in GUESTS {
            let vm = Vm::start(&dmz.host, name, &words)?;
            vm.address()?;
            let Facts { addresses, gateway, .. } = Facts::of(&dmz.host, name)?;
            let machine = Machine { vm: RefCell::new(vm), addresses, gateway };
            dmz.machines.insert(name.to_owned(), machine);
        }
        Ok(dmz)
    }

    /// Everything but guests.
    fn empty(lab: Lab, policy: &Path) -> Result<Self> {
        let host = Host::new(&lab, "host")?;
        let world = cable(&lab, host.space())?;
        host.up()?;
        host.apply(policy)?;
        host.portcullis(&["attach", "uplink", UPLINK, "--untagged", "wan"])?;
        let (policy, guests, machines) = (policy.to_path_buf(), BTreeMap::new(), BTreeMap::new());
        let (servers, echoes) = (Vec::new(), Vec::new());
        Ok(Self { machines, servers, echoes, guests, world, host, policy, lab })
    }

    /// Tries to reach an address from a guest, `host` or `world`: did the answer come?
    pub fn tries(&self, from: &str, probe: Probe, to: IpAddr) -> Result<bool> {
        match self.machines.get(from) {
            Some(machine) => machine.vm.borrow_mut().tries(probe, to),
            None => probe.reaches(self.space(from)?, to),
        }
    }

    /// Starts every server everywhere: a refusal is then the switch's, never a missing server.
    pub fn serve(&mut self) -> Result<()> {
        let mut spaces = vec![self.host.space().clone(), self.world.clone()];
        spaces.extend(self.guests.values().map(|guest| guest.space.clone()));
        for space in &spaces {
            self.servers.push(Server::http(&self.lab, space, 80)?);
            self.servers.push(Server::ssh(&self.lab, space)?);
            for port in ECHO_PORTS {
                self.echoes.push(UdpEcho::start(space, port)?);
            }
        }
        for guest in ["files", "pc1"].iter().filter_map(|name| self.guests.get(*name)) {
            self.servers.push(Server::smb(&self.lab, &guest.space)?);
        }
        Ok(())
    }

    /// A guest.
    pub fn guest(&self, name: &str) -> Result<&Guest> {
        self.guests.get(name).ok_or_else(|| Error::TimedOut {
            what: format!("a guest with the name {name}"),
            seconds: 0,
        })
    }

    /// The namespace of a guest, of `host` or of `world`.
    pub fn space(&self, name: &str) -> Result<&Space> {
        match name {
            "host" => Ok(self.host.space()),
            "world" => Ok(&self.world),
            guest => Ok(&self.guest(guest)?.space),
        }
    }

    /// The address by which `from` would call `to`, in one of the families. The host is called
    /// by the gateway address of the caller's network.
    pub fn address(&self, from: &str, to: &str, v6: bool) -> Result<IpAddr> {
        let parse = |all: &[&str]| all.iter().filter_map(|a| a.parse().ok()).collect();
        let addresses: Vec<IpAddr> = match (from, to) {
            ("world", "host") => parse(&WORLD_GATEWAY),
            (guest, "host") => match self.machines.get(guest) {
                Some(machine) => machine.gateway.clone(),
                None => self.guest(guest)?.gateway.clone(),
            },
            (_, "world") => parse(&WORLD),
            (_, guest) => match self.machines.get(guest) {
                Some(machine) => machine.addresses.clone(),
                None => self.guest(guest)?.addresses.clone(),
            },
        };
        addresses.into_iter().find(|address| address.is_ipv6() == v6).ok_or_else(|| {
            Error::TimedOut { what: format!("an address of {to}, IPv6 {v6}"), seconds: 0 }
        })
    }
}

/// `policies/dmz.yaml` of the repository.
pub fn example() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = own.ancestors().nth(2).unwrap_or(own).join("policies/dmz.yaml");
    // As a person in the repository would name it, since all messages repeat the name.
    let here = std::env::current_dir().unwrap_or_default();
    file.strip_prefix(here).map(Path::to_path_buf).unwrap_or(file)
}

/// The world, at the other end of a cable to the host.
fn cable(lab: &Lab, host: &Space) -> Result<Space> {
    let world = lab.space("world")?;
    let name = world.name().to_owned();
    host.ip(&format!("link add {UPLINK} type veth peer name eth0 netns {name}"))?;
    host.ip(&format!("link set {UPLINK} up"))?;
    let addresses = WORLD.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
    configure(&world, &addresses, &WORLD_GATEWAY.map(str::to_owned))?;
    Ok(world)
}

/// Attaches a guest and waits for nothing: its port is open when the command returns.
pub fn attach(lab: &Lab, host: &Host, name: &str, nic: Nic) -> Result<Guest> {
    let space = lab.space(name)?;
    let mut monitor = None;
    let (port, pump) = match nic {
        Nic::Veth => {
            let port = format!("v-{name}");
            let path = space.path();
            let path = path.to_string_lossy();
            host.portcullis(&["attach", "veth", &port, "--guest", name, "--netns", &path])?;
            (port, None)
        }
        Nic::Vhost => {
            let port = format!("u-{name}");
            host.portcullis(&["attach", "vhost-user", &port, "--guest", name])?;
            let mac = Facts::of(host, &port)?.mac;
            monitor = Some(Monitor::start(host.vhost_socket(&port), &space, "eth0", &mac)?);
            (port, None)
        }
        Nic::Tap => {
            let port = format!("t-{name}");
            host.portcullis(&["attach", "tap", &port, "--guest", name])?;
            let mac = Facts::of(host, &port)?.mac;
            let pump = Pump::start(host.space(), &port, &space, "eth0", &mac)?;
            (port, Some(pump))
        }
    };
    let facts = Facts::of(host, &port)?;
    if pump.is_some() || monitor.is_some() {
        // What DHCP would tell a virtual machine.
        let text = |all: &[IpAddr]| all.iter().map(IpAddr::to_string).collect::<Vec<_>>();
        configure(&space, &text(&facts.addresses), &text(&facts.gateway))?;
    }
    Ok(Guest {
        space,
        port,
        mac: facts.mac,
        addresses: facts.addresses,
        gateway: facts.gateway,
        pump,
        monitor,
    })
}

/// Gives `eth0` addresses and default routes. The subnets of the example are /24 and /64.
fn configure(space: &Space, addresses: &[String], gateways: &[String]) -> Result<()> {
    space.ip("link set eth0 up")?;
    for address in addresses {
        let v6 = address.contains(':');
        let (length, more) = if v6 { (64, " nodad") } else { (24, "") };
        space.ip(&format!("addr add {address}/{length} dev eth0{more}"))?;
    }
    for gateway in gateways {
        space.ip(&format!("route replace default via {gateway} dev eth0"))?;
    }
    Ok(())
}

/// What status says about a guest's port.
struct Facts {
    mac: String,
    addresses: Vec<IpAddr>,
    gateway: Vec<IpAddr>,
}

impl Facts {
    fn of(host: &Host, port: &str) -> Result<Self> {
        let status = host.status()?;
        let unclear = || Error::Output {
            command: format!("portcullis status (port {port})"),
            output: status.0.to_string(),
        };
        let entry = status.port(port).ok_or_else(unclear)?;
        let networks = status.0["networks"].as_array().ok_or_else(unclear)?;
        // A trunk may have no untagged network.
        let network = networks.iter().find(|n| n["name"] == entry["networks"][0]);
        Ok(Self {
            mac: entry["mac"].as_str().ok_or_else(unclear)?.to_owned(),
            addresses: addresses(&entry["addresses"]),
            gateway: network.map_or_else(Vec::new, |network| addresses(&network["gateway"])),
        })
    }
}

fn addresses(list: &Value) -> Vec<IpAddr> {
    let all = list.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(|address| address.as_str()?.parse().ok()).collect()
}
