//! Guests as `qemu-server/VMID.conf` and `lxc/VMID.conf` declare them, and the networks that
//! follow.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    SourceText,
    finding::{Finding, Remark},
    names::Names,
    program::Place,
    site::{self, Site, is_mac},
};

/// A guest.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its number.
    pub vmid: u32,
    /// Its name in the policy.
    pub name: String,
    /// Where its file begins.
    pub place: Place,
    /// Its NICs, by number.
    pub nics: Vec<Nic>,
}

/// A NIC.
#[derive(Clone, Debug)]
pub struct Nic {
    /// Its number: 0 of `net0`.
    pub number: u32,
    /// Where it is declared.
    pub place: Place,
    /// How.
    pub text: String,
    /// Its MAC.
    pub mac: Option<String>,
    /// Its bridge.
    pub bridge: String,
    /// Its VLAN tag.
    pub tag: Option<u16>,
    /// Is it behind the firewall?
    pub firewall: bool,
    /// Its addresses with the prefixes of their subnets.
    pub addrs: Vec<IpNet>,
}

impl Nic {
    /// As the user says it: `vmbr0` or `vmbr0.20`.
    pub fn interface(&self) -> String {
        match self.tag {
            Some(tag) => format!("{}.{tag}", self.bridge),
            None => self.bridge.clone(),
        }
    }
}

/// Reads a guest's configuration; snapshots behind it are not its present.
pub fn parse(
    source: &SourceText,
    vmid: u32,
    names: &mut Names,
    findings: &mut Vec<Finding>,
) -> Machine {
    let file: std::sync::Arc<str> = source.name.as_str().into();
    let mut place = Place { file, line: 1, column: 1 };
    let mut machine = Machine { vmid, name: String::new(), place: place.clone(), nics: Vec::new() };
    let mut addresses: Vec<(u32, Vec<IpNet>)> = Vec::new();
    let mut wanted = vmid.to_string();
    for (i, raw) in source.text.lines().enumerate() {
        place.line = i as u32 + 1;
        let text = raw.trim();
        if text.starts_with('[') {
            break;
        }
        let Some((key, value)) = text.split_once(':').filter(|_| !text.starts_with('#')) else {
            continue;
        };
        let value = value.trim();
        let numbered = |stem: &str| key.strip_prefix(stem).and_then(|n| n.parse::<u32>().ok());
        if matches!(key, "name" | "hostname") {
            wanted = value.to_owned();
        } else if let Some(number) = numbered("net") {
            match nic(number, value, &place, text) {
                Ok(nic) => machine.nics.push(nic),
                Err(remark) => findings.push(Finding::new(remark, &place, text)),
            }
        } else if let Some(number) = numbered("ipconfig") {
            match cloud_addresses(value) {
                Ok(addrs) => addresses.push((number, addrs)),
                Err(remark) => findings.push(Finding::new(remark, &place, text)),
            }
        }
    }
    for (number, addrs) in addresses {
        if let Some(nic) = machine.nics.iter_mut().find(|nic| nic.number == number) {
            nic.addrs.extend(addrs);
        }
    }
    machine.nics.sort_by_key(|nic| nic.number);
    machine.name = names.take(&wanted, "guest");
    machine
}

fn nic(number: u32, value: &str, place: &Place, text: &str) -> Result<Nic, Remark> {
    let mut nic = Nic {
        number,
        place: place.clone(),
        text: text.to_owned(),
        mac: None,
        bridge: String::new(),
        tag: None,
        firewall: false,
        addrs: Vec::new(),
    };
    for part in value.split(',') {
        let Some((key, value)) = part.split_once('=') else { continue };
        match key {
            "bridge" => nic.bridge = value.to_owned(),
            "firewall" => nic.firewall = value == "1",
            "tag" => {
                let tag = value.parse::<u16>().ok().filter(|tag| (1..=4094).contains(tag));
                let expected = "a VLAN id from 1 to 4094";
                let bad = || Remark::BadWord { got: value.to_owned(), expected };
                nic.tag = Some(tag.ok_or_else(bad)?);
            }
            "ip" | "ip6" => nic.addrs.extend(address(value)?),
            _ if is_mac(value) => nic.mac = Some(value.to_lowercase()),
            _ => {}
        }
    }
    if nic.bridge.is_empty() {
        return Err(Remark::Missing { what: format!("the bridge of net{number}") });
    }
    Ok(nic)
}

fn cloud_addresses(value: &str) -> Result<Vec<IpNet>, Remark> {
    let mut addrs = Vec::new();
    for part in value.split(',') {
        if let Some(("ip" | "ip6", value)) = part.split_once('=') {
            addrs.extend(address(value)?);
        }
    }
    Ok(addrs)
}

/// An address with its prefix length; nothing where the guest finds it by itself.
fn address(value: &str) -> Result<Option<IpNet>, Remark> {
    if matches!(value, "dhcp" | "auto" | "manual") {
        return Ok(None);
    }
    let expected = "an address with its prefix length, dhcp, auto or manual";
    let bad = || Remark::BadWord { got: value.to_owned(), expected };
    value.parse().map(Some).map_err(|_| bad())
}

/// Adds the machines and their networks to what the user said. The user's word counts where
/// both say something.
pub fn add_to_site(
    site: &mut Site,
    machines: &[Machine],
    extra: &[(u32, u32, Vec<IpAddr>)],
    names: &mut Names,
    findings: &mut Vec<Finding>,
) {
    for network in &site.networks {
        names.take(&network.name, "network");
    }
    for machine in machines {
        for nic in &machine.nics {
            network_of(site, nic, machines, names, findings);
        }
    }
    for machine in machines {
        let known = site.guests.iter().position(|guest| guest.name == machine.name);
        let nics = machine.nics.iter().filter_map(|nic| {
            let name =
                &site.networks.iter().find(|n| n.interfaces.contains(&nic.interface()))?.name;
            let mut addrs: Vec<IpAddr> = nic.addrs.iter().map(IpNet::addr).collect();
            if addrs.is_empty() {
                let own = extra.iter().filter(|(v, n, _)| (*v, *n) == (machine.vmid, nic.number));
                addrs.extend(own.flat_map(|(.., addrs)| addrs));
            }
            Some(site::Nic { network: name.clone(), mac: nic.mac.clone(), addrs })
        });
        let mut guest = site::Guest {
            name: machine.name.clone(),
            nics: nics.collect(),
            labels: Vec::new(),
            remark: format!("{}: guest {}", machine.place.file, machine.vmid),
        };
        match known {
            // What the user said about its addresses fills in what the file does not say.
            Some(at) => {
                let said = site.guests.remove(at);
                for own in said.nics {
                    match guest.nics.iter_mut().find(|nic| nic.network == own.network) {
                        Some(nic) if !own.addrs.is_empty() => nic.addrs = own.addrs,
                        Some(_) => {}
                        None => guest.nics.push(own),
                    }
                }
                site.guests.insert(at, guest);
            }
            None => site.guests.push(guest),
        }
    }
}

/// Makes the network of a NIC, if nobody has.
fn network_of(
    site: &mut Site,
    nic: &Nic,
    machines: &[Machine],
    names: &mut Names,
    findings: &mut Vec<Finding>,
) {
    let interface = nic.interface();
    if site.networks.iter().any(|n| n.interfaces.contains(&interface)) {
        return;
    }
    let all = machines.iter().flat_map(|m| &m.nics).filter(|n| n.interface() == interface);
    let mut subnets: Vec<IpNet> = all.flat_map(|n| &n.addrs).map(IpNet::trunc).collect();
    subnets.sort_unstable();
    subnets.dedup();
    if subnets.is_empty() {
        let what = format!("which subnets are behind {interface}");
        let vlan = nic.tag.map_or("VLAN".to_owned(), |tag| tag.to_string());
        let help = format!("say it by `--network NAME={vlan},SUBNET,{interface}`");
        let finding = Finding::new(Remark::NotSaid { what }, &nic.place, &nic.text).help(help);
        findings.push(finding);
    }
    let vlan = nic.tag.unwrap_or_else(|| {
        let tagged = |vlan| machines.iter().flat_map(|m| &m.nics).any(|n| n.tag == Some(vlan));
        let taken = |vlan: &u16| site.networks.iter().any(|n| n.vlan == *vlan) || tagged(*vlan);
        let vlan = (1..=4094).find(|vlan| !taken(vlan)).unwrap_or(1);
        let what = format!("{interface} has no VLAN tag: here it is VLAN {vlan}");
        let help = format!("say another by `--network NAME=VLAN,SUBNET,{interface}`");
        let remark = Remark::Chosen { what };
        findings.push(Finding::new(remark, &nic.place, &nic.text).help(help));
        vlan
    });
    let what = format!(
        "nobody says that the switch routes for {interface}: its guests reach each other only"
    );
    let subnet = subnets.first().map_or_else(|| "SUBNET".to_owned(), IpNet::to_string);
    let help = format!("say `--network NAME={vlan},{subnet},gateway,{interface}` if it shall");
    findings.push(Finding::new(Remark::Chosen { what }, &nic.place, &nic.text).help(help));
    site.networks.push(site::Network {
        name: names.take(&interface.replace('.', "-"), "network"),
        vlan,
        subnets,
        interfaces: vec![interface.clone()],
        remark: format!("{}: {interface}", nic.place),
        ..site::Network::default()
    });
}
