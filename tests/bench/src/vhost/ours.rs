//! Portcullis: the real daemon and its engine.

use std::{fs, os::unix::net::UnixStream};

use anyhow::Context;
use portcullis_lab::front::Layout;

use super::{
    RULES,
    circle::Circle,
    nic::Nic,
    peer::{Peer, keep_on_core},
};
use crate::{
    host::Host,
    workload::{self, CLIENT, SERVER},
    world::{Ends, Topology},
};

/// Ports of the client and of the server.
const PORTS: [(&str, &str); 2] = [("vu-client", CLIENT), ("vu-server", SERVER)];

/// A switch with two vhost-user ports and a policy of [`RULES`] rules.
pub fn start(name: &'static str, layout: Layout) -> anyhow::Result<Peer> {
    let host = Host::start(name)?;
    for (port, guest) in PORTS {
        host.attach("vhost-user", port, guest)?;
    }
    let ends = Ends::switched();
    let file = host.file("policy.yaml");
    fs::write(&file, workload::policy(RULES, &ends, Topology::Switched))?;
    host.apply(&file)?;
    keep_on_core(host.engine()?)?;
    let nic = |port| {
        let socket = host.socket(port);
        let stream = UnixStream::connect(&socket).with_context(|| socket.display().to_string())?;
        Nic::new(stream, layout)
    };
    let [(client, _), (server, _)] = PORTS;
    let circle = Circle { client: nic(client)?, server: nic(server)?, ends };
    // It sleeps by itself when there is nothing to do.
    Ok(Peer { name, circle, busy: None, _keep: Box::new(host) })
}
