//! DPDK's testpmd: as a switch that looks at nothing, and as guests with a driver that is not ours.

use std::{fs, io::Write, path::PathBuf, process::Command, time::Instant};

use anyhow::Context;
use portcullis_lab::front::Layout;

use super::{
    circle::Circle,
    nic::Nic,
    peer::{GENERATOR, Peer, Running, SWITCH, connect, wait},
};
use crate::{
    frame::ports,
    scratch,
    world::{Ends, mac_text},
};

/// Its memory, MiB.
const MEMORY: &str = "512";
/// Its buffers: enough for its rings.
const BUFFERS: &str = "--total-num-mbufs=16384";

/// One that forwards, with our cards.
pub fn start(layout: Layout) -> anyhow::Result<Peer> {
    let Forwarder { running, sockets, log } = Forwarder::start("testpmd")?;
    let card = |at: usize| Nic::card(connect(&sockets[at], &log)?, layout);
    let circle = Circle { client: card(0)?, server: card(1)?, ends: Ends::switched() };
    let busy = Some(running.0.id());
    Ok(Peer { name: "testpmd io", circle, busy, _keep: Box::new(running) })
}

/// Its command with two devices of a kind, and the core that it does its work on.
fn command(name: &str, core: usize, devices: [String; 2]) -> Command {
    // What it says is read while it runs.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", "dpdk-testpmd"]);
    command.args(["--no-huge", "-m", MEMORY, "--no-pci", "--file-prefix", name]);
    // The main one only waits.
    command.args(["--lcores", &format!("0@{GENERATOR},1@{core}"), "--main-lcore", "0"]);
    for device in &devices {
        command.args(["--vdev", device]);
    }
    command.args(["--", "--forward-mode=io", "--nb-cores=1", BUFFERS]);
    command
}

/// One that forwards between two sockets.
pub struct Forwarder {
    /// It.
    pub running: Running,
    /// Its sockets.
    pub sockets: [PathBuf; 2],
    log: PathBuf,
}

impl Forwarder {
    /// Starts it.
    pub fn start(name: &str) -> anyhow::Result<Self> {
        let directory = scratch::directory(name);
        fs::create_dir_all(&directory)?;
        let sockets = ["a", "b"].map(|name| directory.join(name));
        let log = directory.join("log");
        let device = |n: usize| format!("net_vhost{n},iface={},queues=1", sockets[n].display());
        let mut command = command(name, SWITCH, [device(0), device(1)]);
        let running = Running::start(&mut command, &log)?;
        Ok(Self { running, sockets, log })
    }

    /// Waits until somebody can connect.
    pub fn wait(&self) -> anyhow::Result<()> {
        let there = || self.sockets.iter().all(|socket| socket.exists()).then_some(());
        wait("the sockets of testpmd", &self.log, there)
    }
}

/// One that is both guests, with DPDK's own driver: what comes to the second is sent by the first
/// again, so a few bursts go round and round.
pub struct Driver {
    running: Running,
    log: PathBuf,
    asked: usize,
}

/// How many bursts of 32 frames go round.
const BURSTS: u32 = 8;

impl Driver {
    /// Connects with two sockets, and sends what goes round.
    pub fn start(name: &str, sockets: &[PathBuf; 2], ends: &Ends) -> anyhow::Result<Self> {
        let log = scratch::directory(&format!("{name}.log"));
        let macs = ends.both().map(|end| mac_text(end.mac));
        let device = |n: usize| {
            let (socket, mac) = (sockets[n].display(), &macs[n]);
            format!("net_virtio_user{n},path={socket},queues=1,queue_size=512,mac={mac}")
        };
        let mut command = command(name, GENERATOR, [device(0), device(1)]);
        let (client, server) = (ends.client.ip, ends.server.ip);
        command.args(["--interactive", "--txpkts=64"]);
        command.arg(format!("--tx-ip={client},{server}"));
        let (from, to) = ports(0);
        command.arg(format!("--tx-udp={from},{to}"));
        command.arg(format!("--eth-peer=0,{}", macs[1])).arg(format!("--eth-peer=1,{}", macs[0]));
        let mut driver = Self { running: Running::start(&mut command, &log)?, log, asked: 0 };
        driver.say(&format!("start tx_first {BURSTS}"))?;
        driver.received()?;
        Ok(driver)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.running.0.id()
    }

    fn say(&mut self, words: &str) -> anyhow::Result<()> {
        let input = self.running.0.stdin.as_mut().context("its input")?;
        Ok(writeln!(input, "{words}")?)
    }

    /// What has come to the second guest so far, and when that was read.
    pub fn received(&mut self) -> anyhow::Result<(u64, Instant)> {
        self.say("show port stats 1")?;
        self.asked += 1;
        let (log, asked) = (self.log.clone(), self.asked);
        wait("the numbers of testpmd", &log, || {
            let text = fs::read_to_string(&log).ok()?;
            let numbers = text.split("RX-packets:").nth(asked)?;
            // The line is whole when the next one has begun.
            numbers.split_once("TX-packets:")?;
            Some((numbers.split_whitespace().next()?.parse().ok()?, Instant::now()))
        })
    }
}
