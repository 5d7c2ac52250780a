//! Portcullis: the real daemon and its engine.

use std::{fs, os::unix::net::UnixStream, path::PathBuf};

use anyhow::Context;
use portcullis_lab::front::Layout;

use super::{
    RULES,
    card::Card,
    circle::Circle,
    nic::Nic,
    peer::{Peer, keep_on_core},
};
use crate::{
    host::Host,
    workload::{self, CLIENT, SERVER},
    world::{Ends, Topology},
};

/// Kinds of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rings.
    VhostUser,
    /// A tap.
    Tap,
}

/// Ports of the client and of the server.
const PORTS: [(&str, &str); 2] = [("v-client", CLIENT), ("v-server", SERVER)];

/// A switch with a port of its kind for the client and one for the server, and a policy of [`RULES`]
/// rules.
pub fn start(name: &'static str, kinds: [Kind; 2], layout: Layout) -> anyhow::Result<Peer> {
    let host = serve(name, kinds)?;
    let card = |at: usize| {
        let (port, _) = PORTS[at];
        match kinds[at] {
            Kind::Tap => Ok(Card::Tap(host.tap(port)?)),
            Kind::VhostUser => {
                let socket = host.socket(port);
                let stream = UnixStream::connect(&socket);
                Nic::card(stream.with_context(|| socket.display().to_string())?, layout)
            }
        }
    };
    let circle = Circle { client: card(0)?, server: card(1)?, ends: Ends::switched() };
    // It sleeps by itself when there is nothing to do.
    Ok(Peer { name, circle, busy: None, _keep: Box::new(host) })
}

/// The same without anybody at its ports.
pub fn serve(name: &str, kinds: [Kind; 2]) -> anyhow::Result<Host> {
    let host = Host::start(name)?;
    for (kind, (port, guest)) in kinds.into_iter().zip(PORTS) {
        let kind = if kind == Kind::Tap { "tap" } else { "vhost-user" };
        host.attach(kind, port, guest)?;
    }
    let file = host.file("policy.yaml");
    fs::write(&file, workload::policy(RULES, &Ends::switched(), Topology::Switched))?;
    host.apply(&file)?;
    keep_on_core(host.engine()?)?;
    Ok(host)
}

/// The sockets of both ports.
pub fn sockets(host: &Host) -> [PathBuf; 2] {
    PORTS.map(|(port, _)| host.socket(port))
}
