//! The tap of a guest's NIC, for whoever runs the guest: the one that it has, or a new one.

use portcullis_switch::{PortKind, PortSpec};

use super::Context;
use crate::{
    api::{Port, Request, Response, Status},
    cli::door::NicName,
    client,
    error::Error,
    names,
};

/// A tap that a VMM may open.
#[derive(Debug)]
pub struct Plugged {
    /// The port.
    pub port: Port,
    /// Was it attached just now?
    pub new: bool,
}

impl Plugged {
    /// Takes a port away again that nobody got; one that was there before stays.
    pub fn undo(&self, context: &Context) -> Result<(), Error> {
        let request = Request::Detach { name: self.port.name.clone() };
        if self.new { client::ask(&context.paths, &request).map(drop) } else { Ok(()) }
    }
}

/// What the switch tells about itself.
pub fn status(context: &Context) -> Result<Box<Status>, Error> {
    match client::ask(&context.paths, &Request::Status)? {
        Response::Status(status) => Ok(status),
        _ => Err(Error::WrongAnswer),
    }
}

/// Finds or attaches the tap of a NIC. Without a policy it is attached, too, and closed.
pub fn tap(nic: &NicName, context: &Context) -> Result<Plugged, Error> {
    let status = status(context)?;
    let own: Vec<_> = status.guests.iter().filter(|known| known.guest == nic.guest).collect();
    if status.policy.is_some() && own.is_empty() {
        let all = status.guests.iter().map(|known| known.guest.as_str());
        let near = names::suggest(&nic.guest, "guests", all);
        return Err(Error::NoSuchGuest { name: nic.guest.clone(), near });
    }
    if let ([_, _, ..], None) = (own.as_slice(), &nic.network) {
        let networks = own.iter().map(|known| known.network.clone()).collect();
        return Err(Error::WhichNic { guest: nic.guest.clone(), networks });
    }
    if let Some(port) = attached(nic, &status.ports) {
        return taken_over(port, nic);
    }
    let number = own.iter().position(|known| Some(&known.network) == nic.network.as_ref());
    let spec = PortSpec {
        name: names::tap_of(&nic.guest, number.unwrap_or(0)),
        kind: PortKind::Tap { queues: 1 },
        guest: Some(nic.guest.clone()),
        network: nic.network.clone(),
    };
    match client::ask(&context.paths, &Request::Attach { port: spec })? {
        Response::Attached(port) => Ok(Plugged { port, new: true }),
        _ => Err(Error::WrongAnswer),
    }
}

/// The port that the NIC has. One that was attached without a network stands for the only NIC.
fn attached<'p>(nic: &NicName, ports: &'p [Port]) -> Option<&'p Port> {
    let fits = |port: &Port| match &nic.network {
        Some(network) => port.networks.is_empty() || port.networks.contains(network),
        None => true,
    };
    ports.iter().find(|port| port.guest.as_ref() == Some(&nic.guest) && fits(port))
}

fn taken_over(port: &Port, nic: &NicName) -> Result<Plugged, Error> {
    if port.kind == "tap" {
        return Ok(Plugged { port: port.clone(), new: false });
    }
    let (guest, port, kind) = (nic.guest.clone(), port.name.clone(), port.kind.clone());
    Err(Error::NoTap { guest, port, kind })
}
