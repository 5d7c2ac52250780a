//! `libvirt-hook`: a domain's interfaces get their ports before it runs, and lose them at its end
//! (libvirt.org/hooks.html, `/etc/libvirt/hooks/qemu`).
//!
//! Nothing is printed on standard output: libvirt would take it for the domain's new XML.

use std::io::{self, Read};

use portcullis_import::domain::{Domain, Interface};
use portcullis_switch::{PortKind, PortSpec};
use serde_json::Value;

use super::{Context, Outcome, plug, remark};
use crate::{
    api::{Nic, Port, Request, Response},
    cli::door::{HookArgs, Operation},
    client,
    error::Error,
    names,
};

/// Does what libvirt tells about a domain.
pub fn hook(args: &HookArgs, context: &Context) -> Result<Outcome, Error> {
    let domain = || read(&args.domain);
    match args.operation() {
        // Before anything of it exists: an error here keeps it from starting.
        Some(Operation::Prepare) => attach(&domain()?, context)?,
        // It comes from another host or from a file, and is prepared afterwards.
        Some(Operation::Migrate | Operation::Restore) => drop(wanted(&domain()?, context)?),
        Some(Operation::Stopped | Operation::Release) => detach(&domain()?, context)?,
        // It runs, and an error would make libvirt end it.
        Some(Operation::Reconnect | Operation::Attach) => {
            if let Err(error) = domain().and_then(|domain| attach(&domain, context)) {
                remark(&format!("{}: {error}", args.domain));
            }
        }
        None => {}
    }
    Ok(Outcome::fine("", Value::Null))
}

/// The domain's XML, from standard input.
fn read(name: &str) -> Result<Domain, Error> {
    let bad = |why| Error::BadDomain { name: name.to_owned(), why };
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(|error| bad(error.to_string()))?;
    Domain::read(&text).map_err(|error| bad(error.to_string()))
}

/// Is it for us: an interface whose device somebody else than libvirt makes?
fn is_ours(interface: &Interface) -> bool {
    interface.kind == "ethernet" && !interface.managed
}

/// The ports that a domain needs, under the policy in force, and those that there are.
fn wanted(domain: &Domain, context: &Context) -> Result<(Vec<PortSpec>, Vec<Port>), Error> {
    let needs_us = domain.interfaces.iter().any(is_ours);
    let status = match plug::status(context) {
        Ok(status) => status,
        // What is not on the switch runs without it.
        Err(error @ Error::NoDaemon { .. }) if !needs_us => {
            remark(&format!("{}: {error}, so its MACs were not looked at", domain.name));
            return Ok((Vec::new(), Vec::new()));
        }
        Err(error) => return Err(error),
    };
    if needs_us && status.policy.is_none() {
        return Err(Error::NoPolicyYet { name: domain.name.clone() });
    }
    Ok((plan(domain, &status.guests)?, status.ports))
}

/// The ports of a domain, by what the policy declares.
fn plan(domain: &Domain, nics: &[Nic]) -> Result<Vec<PortSpec>, Error> {
    let mut specs = Vec::new();
    for interface in &domain.interfaces {
        let owner = nics.iter().find(|nic| interface.mac.as_ref() == Some(&nic.mac));
        if let Some(owner) = owner.filter(|nic| nic.guest != domain.name) {
            let (name, owner) = (domain.name.clone(), owner.guest.clone());
            let mac = interface.mac.clone().unwrap_or_default();
            return Err(Error::ForeignMac { name, mac, owner });
        }
        if !is_ours(interface) {
            continue;
        }
        let nic = owner.ok_or_else(|| undeclared(domain, interface, nics))?;
        let no_target = || Error::NoTarget { name: domain.name.clone(), mac: nic.mac.clone() };
        specs.push(PortSpec {
            name: interface.target.clone().ok_or_else(no_target)?,
            kind: PortKind::Tap { queues: interface.queues },
            guest: Some(domain.name.clone()),
            network: Some(nic.network.clone()),
        });
    }
    Ok(specs)
}

/// Why a domain has no such NIC.
fn undeclared(domain: &Domain, interface: &Interface, nics: &[Nic]) -> Error {
    let name = domain.name.clone();
    let macs = nics.iter().filter(|nic| nic.guest == name).map(|nic| nic.mac.clone());
    let macs: Vec<String> = macs.collect();
    if macs.is_empty() {
        let near = names::suggest(&name, "guests", nics.iter().map(|nic| nic.guest.as_str()));
        return Error::NoSuchGuest { name, near };
    }
    let mac = interface.mac.clone().unwrap_or_else(|| "no MAC".to_owned());
    Error::OtherMac { name, mac, macs }
}

/// Attaches all ports of a domain, or none. What is there from before is taken over.
fn attach(domain: &Domain, context: &Context) -> Result<(), Error> {
    let (specs, ports) = wanted(domain, context)?;
    let there = |spec: &PortSpec| {
        let same = |port: &Port| port.name == spec.name && port.guest == spec.guest;
        ports.iter().any(|port| same(port) && port.kind == "tap")
    };
    let mut made: Vec<String> = Vec::new();
    for spec in specs.into_iter().filter(|spec| !there(spec)) {
        match client::ask(&context.paths, &Request::Attach { port: spec }) {
            Ok(Response::Attached(port)) => made.push(port.name),
            other => {
                made.iter().try_for_each(|name| take_away(name, context))?;
                return Err(other.err().unwrap_or(Error::WrongAnswer));
            }
        }
    }
    Ok(())
}

/// Takes a domain's ports away, as far as they are there.
fn detach(domain: &Domain, context: &Context) -> Result<(), Error> {
    if !domain.interfaces.iter().any(is_ours) {
        return Ok(());
    }
    let ports = plug::status(context)?.ports;
    let own = ports.iter().filter(|port| {
        let has = |i: &Interface| is_ours(i) && i.target.as_ref() == Some(&port.name);
        port.guest.as_ref() == Some(&domain.name) && domain.interfaces.iter().any(has)
    });
    own.into_iter().try_for_each(|port| take_away(&port.name, context))
}

fn take_away(name: &str, context: &Context) -> Result<(), Error> {
    client::ask(&context.paths, &Request::Detach { name: name.to_owned() }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nic(guest: &str, network: &str, last: u8) -> Nic {
        Nic {
            guest: guest.into(),
            network: network.into(),
            mac: format!("52:54:00:00:00:{last:02x}"),
            addresses: vec![],
            port: None,
        }
    }

    fn domain(interfaces: &str) -> Domain {
        let text = format!("<domain><name>web1</name><devices>{interfaces}</devices></domain>");
        Domain::read(&text).unwrap()
    }

    fn ethernet(last: u8, target: &str) -> String {
        format!(
            "<interface type='ethernet'><mac address='52:54:00:00:00:{last:02x}'/>\
             <target dev='{target}' managed='no'/><driver queues='2'/></interface>"
        )
    }

    #[test]
    fn every_interface_gets_the_nic_with_its_mac() {
        let nics = [nic("web1", "lan", 1), nic("web1", "dmz", 2), nic("db", "lan", 3)];
        let both = ethernet(2, "w-dmz") + &ethernet(1, "w-lan");
        let specs = plan(&domain(&both), &nics).unwrap();
        let seen: Vec<_> =
            specs.iter().map(|s| (s.name.as_str(), s.network.as_deref().unwrap())).collect();
        assert_eq!(seen, [("w-dmz", "dmz"), ("w-lan", "lan")]);
        assert_eq!(specs[0].kind, PortKind::Tap { queues: 2 });
    }

    #[test]
    fn a_mac_of_somebody_else_is_refused_wherever_it_stands() {
        let nics = [nic("web1", "lan", 1), nic("db", "lan", 3)];
        for interface in [
            ethernet(3, "x"),
            "<interface type='network'><mac address='52:54:00:00:00:03'/></interface>".into(),
        ] {
            let error = plan(&domain(&interface), &nics).unwrap_err();
            assert!(matches!(&error, Error::ForeignMac { owner, .. } if owner == "db"), "{error}");
            assert_eq!(error.exit_status(), 1);
        }
        let error = plan(&domain(&ethernet(9, "x")), &nics).unwrap_err();
        assert!(matches!(&error, Error::OtherMac { macs, .. } if macs.len() == 1), "{error}");
        let error = plan(&domain(&ethernet(9, "x")), &[nic("web2", "lan", 1)]).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("did you mean web2?"));
    }

    #[test]
    fn what_is_not_on_the_switch_is_left_alone() {
        let elsewhere = "<interface type='network'><mac address='52:54:00:00:00:09'/>\
                         <source network='default'/></interface>";
        assert_eq!(plan(&domain(elsewhere), &[nic("db", "lan", 3)]).unwrap(), []);
    }
}
