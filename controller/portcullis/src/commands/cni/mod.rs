//! `cni`: the switch as a plugin of the Container Network Interface, version 1.1
//! (github.com/containernetworking/cni, SPEC.md). A container is a guest of the policy, which says
//! its addresses; its port is a veth pair.

mod call;
mod error;
mod port;
mod reply;

use std::{
    io::{self, Read},
    net::IpAddr,
    path::Path,
};

use portcullis_switch::{PortKind, PortSpec};
use serde_json::{Value, json};
use vmm_attach::container::{self, Inside};

use self::{
    call::{Attachment, Call, Command, Config},
    error::{CniError, code},
    reply::{Interface, Ip, Reply, Route},
};
use super::{Context, Outcome, plug};
use crate::{
    api::{Port, Request, Response, Status},
    client,
    error::Error,
};

/// Versions of the specification that are spoken.
const VERSIONS: &[&str] = &["0.4.0", "1.0.0", "1.1.0"];

type Result<T> = std::result::Result<T, CniError>;

/// Does what the environment and standard input ask for; the answer goes to standard output.
pub fn cni(context: &Context) -> Outcome {
    let mut text = String::new();
    let read = io::stdin().read_to_string(&mut text).map_err(|error| CniError::io(&error));
    let answer = read.and_then(|_| answer(&text, &|name| std::env::var(name).ok(), context));
    match answer {
        Ok(Value::Null) => Outcome::fine("", Value::Null),
        Ok(value) => Outcome::fine(format!("{value:#}\n"), Value::Null),
        Err(error) => {
            let version =
                call::version(&text).unwrap_or_else(|| VERSIONS[VERSIONS.len() - 1].into());
            let human = format!("{:#}\n", error.to_json(&version));
            Outcome { status: 1, ..Outcome::fine(human, Value::Null) }
        }
    }
}

fn answer(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    context: &Context,
) -> Result<Value> {
    let command = Command::of(variable)?;
    if command == Command::Version {
        let version = call::version(text).unwrap_or_else(|| "1.0.0".to_owned());
        return Ok(json!({ "cniVersion": version, "supportedVersions": VERSIONS }));
    }
    let config = Config::read(text)?;
    match command {
        Command::Version => Ok(Value::Null),
        Command::Add => add(&Call::of(config, variable)?, context),
        Command::Check => check(&Call::of(config, variable)?, context).map(|()| Value::Null),
        Command::Del => {
            let attachment = Attachment::of(variable)?;
            delete(&port::name(&config.name, &attachment), context).map(|()| Value::Null)
        }
        Command::Gc => collect(&config, context).map(|()| Value::Null),
        Command::Status => available(context).map(|()| Value::Null),
    }
}

fn add(call: &Call, context: &Context) -> Result<Value> {
    call.config.may_add()?;
    let netns = call.netns()?;
    let guest = call.guest()?;
    let spec = PortSpec {
        name: port::name(&call.config.name, &call.attachment),
        kind: PortKind::Veth {
            netns: Some(netns.clone()),
            peer: call.attachment.interface.clone(),
            configure: true,
        },
        guest: Some(guest),
        network: call.config.network.clone(),
    };
    let name = spec.name.clone();
    let port = match client::ask(&context.paths, &Request::Attach { port: spec })? {
        Response::Attached(port) => port,
        _ => return Err(Error::WrongAnswer.into()),
    };
    let reply = match &port.closed {
        // The container's end has no address then.
        Some(why) => Err(CniError::new(code::AGAIN, format!("the port is closed: {why}"))),
        None => {
            let status = plug::status(context);
            status.map_err(CniError::from).and_then(|status| reply(call, &netns, &port, &status))
        }
    };
    reply.or_else(|error| delete(&name, context).and(Err(error)))
}

/// What was made, as the specification wants it.
fn reply(call: &Call, netns: &Path, port: &Port, status: &Status) -> Result<Value> {
    let inside = look(netns, &call.attachment.interface)?;
    let gateways = gateways(port, status);
    let gateway = |v6: bool| gateways.iter().find(|gateway| gateway.is_ipv6() == v6).copied();
    let ips = inside.addresses.iter().map(|(address, length)| Ip {
        address: format!("{address}/{length}"),
        gateway: gateway(address.is_ipv6()),
        interface: 1,
        version: call.is_old().then_some(if address.is_ipv6() { "6" } else { "4" }),
    });
    let leads_out = leads_out(port, status);
    let routes = gateways.iter().filter(|_| leads_out).map(|gateway| Route {
        dst: if gateway.is_ipv6() { "::/0" } else { "0.0.0.0/0" },
        gw: *gateway,
    });
    let mtu = call.is_current().then_some(inside.mtu);
    let outer = Interface { name: port.name.clone(), mac: None, mtu, sandbox: None };
    let inner = Interface {
        name: call.attachment.interface.clone(),
        mac: Some(mac(inside.mac)),
        mtu,
        sandbox: Some(netns.to_owned()),
    };
    let reply = Reply {
        cni_version: call.config.version.clone(),
        interfaces: vec![outer, inner],
        ips: ips.collect(),
        routes: routes.collect(),
        dns: json!({}),
    };
    serde_json::to_value(reply).map_err(|error| CniError::new(code::DECODE, error.to_string()))
}

/// The gateways of a port's network.
fn gateways(port: &Port, status: &Status) -> Vec<IpAddr> {
    let own = status.networks.iter().filter(|network| port.networks.contains(&network.name));
    own.flat_map(|network| network.gateway.iter().copied()).collect()
}

/// Has the container its default routes here? The first NIC of a guest that has a gateway gets them.
fn leads_out(port: &Port, status: &Status) -> bool {
    let has_gateway = |name: &String| {
        status.networks.iter().any(|network| network.name == *name && !network.gateway.is_empty())
    };
    let mut own = status.guests.iter().filter(|nic| Some(&nic.guest) == port.guest.as_ref());
    own.find(|nic| has_gateway(&nic.network))
        .is_some_and(|nic| port.networks.contains(&nic.network))
}

fn look(netns: &Path, interface: &str) -> Result<Inside> {
    let unseen = |error: vmm_attach::Error| CniError::new(code::OURS, error.to_string());
    container::look(netns, interface).map_err(unseen)
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// Takes a port away. One that is not there is fine.
fn delete(name: &str, context: &Context) -> Result<()> {
    let status = plug::status(context)?;
    if status.ports.iter().any(|port| port.name == *name) {
        client::ask(&context.paths, &Request::Detach { name: name.to_owned() })?;
    }
    Ok(())
}

/// Is the container's end what `ADD` has told?
fn check(call: &Call, context: &Context) -> Result<()> {
    let told = call.config.told()?;
    let netns = call.netns()?;
    let name = port::name(&call.config.name, &call.attachment);
    let status = plug::status(context)?;
    let wrong = |what: String| Err(CniError::new(code::OURS, what));
    let Some(port) = status.ports.iter().find(|port| port.name == name) else {
        return wrong(format!("the container's port {name} is not there any more"));
    };
    if let Some(why) = &port.closed {
        return wrong(format!("the container's port {name} is closed: {why}"));
    }
    let inside = look(&netns, &call.attachment.interface)?;
    let interface = &call.attachment.interface;
    if !inside.up || Some(mac(inside.mac)) != port.mac {
        return wrong(format!("{interface} is down, or has another MAC than the policy gives it"));
    }
    let has = |address: &String| {
        inside.addresses.iter().any(|(own, length)| format!("{own}/{length}") == *address)
    };
    match told.iter().find(|address| !has(address)) {
        Some(missing) => wrong(format!("{interface} has lost its address {missing}")),
        None => Ok(()),
    }
}

/// Takes away the ports of this network whose containers are gone.
fn collect(config: &Config, context: &Context) -> Result<()> {
    let valid = config.valid()?;
    let kept: Vec<String> = valid.iter().map(|one| port::name(&config.name, one)).collect();
    let status = plug::status(context)?;
    let own = status.ports.iter().filter(|port| port::is_of(&port.name, &config.name));
    let mut failed = Vec::new();
    for port in own.filter(|port| !kept.contains(&port.name)) {
        let request = Request::Detach { name: port.name.clone() };
        if let Err(error) = client::ask(&context.paths, &request) {
            failed.push(error.to_string());
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(CniError::new(code::OURS, failed.join("; "))),
    }
}

/// Could `ADD` work now?
fn available(context: &Context) -> Result<()> {
    let unavailable = |what: String| CniError::new(code::UNAVAILABLE, what);
    match plug::status(context) {
        Ok(status) if status.policy.is_some() => Ok(()),
        Ok(_) => Err(unavailable("no policy is in force: portcullis apply FILE".into())),
        Err(error) => Err(unavailable(error.to_string())),
    }
}
