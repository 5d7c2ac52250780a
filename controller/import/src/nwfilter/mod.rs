//! libvirt: domains, the networks that they are in, and the filters that they use (nwfilter).
//!
//! A filter is about one NIC. Its rules about frames (`mac`, `ip`, `ipv6`) and its rules about
//! connections (`tcp`, `udp`, `icmp`, `all`, ...) have to let a connection pass both; what no
//! rule decides passes. Where no domain is given, the first file's filter is for every guest
//! that the user names.

mod draft;
mod filter;
mod instance;
mod judge;
mod network;
mod parse;

use filter::{Instance, Interface, Reference};
use instance::{Maker, Variables};

use crate::{
    SourceText,
    finding::{Finding, Remark},
    names::Names,
    program::Place,
    prove::Judge,
    site::{self, Options, Realm, Site, pair},
    translate::{Draft, ImportError, Imported, Source, translate},
};

/// Translates filters, domains and networks.
///
/// # Errors
/// [`ImportError`].
pub fn import(files: &[SourceText], options: &Options) -> Result<Imported, ImportError> {
    let mut findings = Vec::new();
    let mut site = options.site(&mut findings);
    let mut read = parse::Read::default();
    files.iter().for_each(|file| parse::parse(file, &mut read, &mut findings));
    let mut variables = Variables::new();
    for text in &options.variables {
        match pair("--variable", text) {
            Ok((name, value)) => {
                variables.entry(name.to_owned()).or_default().push(value.to_owned());
            }
            Err(finding) => findings.push(*finding),
        }
    }
    for (i, filter) in read.filters.iter().enumerate() {
        if read.filters[..i].iter().any(|f| f.name == filter.name) {
            let what = format!("the filter `{}`", filter.name);
            findings.push(Finding::anywhere(Remark::Twice { what }));
        }
    }
    let ports = ports(&mut site, &read, files, &mut findings);
    let mut instances = Vec::new();
    for port in ports {
        instances.push(port.fill(&site, &read, &variables, &mut findings));
    }
    if instances.is_empty() && findings.is_empty() {
        let what = "for which guests the filter is".to_owned();
        let help = "give the domains' XML too (`virsh dumpxml GUEST`), or \
                    `--guest NAME=NETWORK,ADDRESS`";
        findings.push(Finding::anywhere(Remark::NotSaid { what }).help(help));
    }
    let names = read.filters.iter().map(|f| f.name.clone()).collect();
    let guests = site.guests.iter().map(|guest| guest.name.clone()).collect();
    translate(&Nwfilter { instances, names, guests }, &site, findings)
}

/// A NIC and the filter that is for it.
struct Port {
    guest: usize,
    nic: usize,
    place: Place,
    text: String,
    filter: Option<Reference>,
}

impl Port {
    fn fill(
        self,
        site: &Site,
        read: &parse::Read,
        variables: &Variables,
        findings: &mut Vec<Finding>,
    ) -> Instance {
        let nic = &site.guests[self.guest].nics[self.nic];
        let mut variables = variables.clone();
        if !nic.addrs.is_empty() {
            let own = || nic.addrs.iter().map(ToString::to_string).collect();
            variables.entry("IP".into()).or_insert_with(own);
        }
        let instance = Instance {
            guest: self.guest,
            nic: self.nic,
            filtered: self.filter.is_some(),
            place: Some(self.place),
            text: self.text,
            ..Instance::default()
        };
        let mut maker = Maker::new(&read.filters, nic.mac.clone(), findings, instance);
        if let Some(reference) = &self.filter {
            maker.reference(reference, &variables, 0);
        }
        maker.finish()
    }
}

/// Every NIC: those of the domains, or those of the guests that the user named.
fn ports(
    site: &mut Site,
    read: &parse::Read,
    files: &[SourceText],
    findings: &mut Vec<Finding>,
) -> Vec<Port> {
    let mut ports = Vec::new();
    if read.interfaces.is_empty() {
        let Some((filter, file)) = read.filters.first().zip(files.first()) else { return ports };
        let place = Place { file: file.name.as_str().into(), line: 1, column: 1 };
        for (guest, known) in site.guests.iter().enumerate() {
            for nic in 0..known.nics.len() {
                let (place, text) = (place.clone(), format!("<filter name='{}'>", filter.name));
                let (filter, variables) = (filter.name.clone(), Vec::new());
                let reference =
                    Reference { place: place.clone(), text: text.clone(), filter, variables };
                ports.push(Port { guest, nic, place, text, filter: Some(reference) });
            }
        }
        return ports;
    }
    let mut names = Names::default();
    site.networks.iter().for_each(|network| drop(names.take(&network.name, "network")));
    network::declare(&read.networks, site, &mut names, findings);
    let mut domains: Vec<(String, String)> = Vec::new();
    for interface in &read.interfaces {
        let name = match domains.iter().find(|(domain, _)| *domain == interface.domain) {
            Some((_, name)) => name.clone(),
            None => {
                let name = names.take(&interface.domain, "guest");
                domains.push((interface.domain.clone(), name.clone()));
                name
            }
        };
        if let Some((guest, nic)) = plug_in(site, interface, &name, &read.networks, findings) {
            let (place, text) = (interface.place.clone(), interface.text.clone());
            ports.push(Port { guest, nic, place, text, filter: interface.filter.clone() });
        }
    }
    ports
}

/// Adds a domain's interface to the site.
fn plug_in(
    site: &mut Site,
    interface: &Interface,
    name: &str,
    networks: &[network::Network],
    findings: &mut Vec<Finding>,
) -> Option<(usize, usize)> {
    let network = match network::find(interface, name, site, networks) {
        Ok(network) => network.name.clone(),
        Err(finding) => {
            findings.push(*finding);
            return None;
        }
    };
    let parameters = interface.filter.iter().flat_map(|f| &f.variables);
    let addrs = parameters.filter(|(name, _)| name == "IP").filter_map(|(_, ip)| ip.parse().ok());
    let mut addrs: Vec<_> = addrs.collect();
    if let (true, Some(mac)) = (addrs.is_empty(), &interface.mac) {
        addrs = network::leased(networks, mac);
    }
    let mut nic = site::Nic { network, mac: interface.mac.clone(), addrs };
    let Some(guest) = site.guests.iter().position(|guest| guest.name == name) else {
        let remark = format!("{}: {}", interface.place, interface.text);
        let guest = site::Guest { name: name.into(), nics: vec![nic], labels: vec![], remark };
        site.guests.push(guest);
        return Some((site.guests.len() - 1, 0));
    };
    let nics = &mut site.guests[guest].nics;
    match nics.iter().position(|n| n.network == nic.network) {
        // The user has said its addresses.
        Some(at) => {
            if nic.addrs.is_empty() {
                nic.addrs = nics[at].addrs.clone();
            }
            nics[at] = nic;
            Some((guest, at))
        }
        None => {
            nics.push(nic);
            Some((guest, nics.len() - 1))
        }
    }
}

/// What was read.
struct Nwfilter {
    instances: Vec<Instance>,
    /// Of the filters.
    names: Vec<String>,
    guests: Vec<String>,
}

impl Source for Nwfilter {
    fn title(&self) -> Vec<String> {
        let (what, names) = match self.names.as_slice() {
            [] => ("domains", &self.guests),
            _ => ("filters", &self.names),
        };
        vec![format!("Imported from libvirt's {what} {}.", names.join(", "))]
    }

    fn draft(&self, site: &Site, realm: &Realm, findings: &mut Vec<Finding>) -> Draft {
        draft::draft(&self.instances, site, realm, findings)
    }

    fn judge<'s>(&'s self, _: &'s Site, realm: &'s Realm) -> Box<dyn Judge + 's> {
        Box::new(judge::Walker::new(&self.instances, realm))
    }
}
