//! DPDK's testpmd, which forwards between two vhost-user ports and looks at nothing.

use std::{fs, process::Command};

use portcullis_lab::front::Layout;

use super::{
    circle::Circle,
    nic::Nic,
    peer::{GENERATOR, Peer, Running, SWITCH, connect},
};
use crate::{scratch, world::Ends};

/// Its memory, MiB.
const MEMORY: &str = "512";

/// Starts it.
pub fn start(layout: Layout) -> anyhow::Result<Peer> {
    let name = "testpmd io";
    let directory = scratch::directory("testpmd");
    fs::create_dir_all(&directory)?;
    let (log, sockets) = (directory.join("log"), ["a", "b"].map(|name| directory.join(name)));
    let mut command = Command::new("dpdk-testpmd");
    command.args(["--no-huge", "-m", MEMORY, "--no-pci", "--file-prefix", "portcullis-bench"]);
    command.args(["-l", &format!("{GENERATOR},{SWITCH}")]);
    command.args(["--main-lcore", &GENERATOR.to_string()]);
    for (number, socket) in sockets.iter().enumerate() {
        let socket = socket.display();
        command.args(["--vdev", &format!("net_vhost{number},iface={socket},queues=1")]);
    }
    command.args(["--", "--forward-mode=io", "--nb-cores=1", "--total-num-mbufs=16384"]);
    let running = Running::start(&mut command, &log)?;
    let nic = |at: usize| Nic::new(connect(&sockets[at], &log)?, layout);
    let circle = Circle { client: nic(0)?, server: nic(1)?, ends: Ends::switched() };
    let busy = Some(running.0.id());
    Ok(Peer { name, circle, busy, _keep: Box::new(running) })
}
