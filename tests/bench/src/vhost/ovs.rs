//! Open vSwitch with DPDK, with a stateful policy of the same size and meaning.

use std::{
    fmt::Write,
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use portcullis_lab::front::Layout;

use super::{
    RULES,
    circle::Circle,
    nic::Nic,
    peer::{GENERATOR, Peer, Running, SWITCH, accept, connect},
};
use crate::{
    command,
    error::Error,
    frame::{FIRST_SERVER_PORT, SERVER_PORTS},
    netns::Namespace,
    scratch,
    world::{Ends, mac_text},
};

/// Where Debian has the one with DPDK, whatever the alternatives say.
const SWITCH_PROGRAM: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const BRIDGE: &str = "br0";
/// Its memory, MiB: with less it has no buffers, and does not look at its ports without saying so.
const MEMORY: u32 = 3072;

/// Starts it, with segmentation offload in user space or without.
pub fn start(name: &'static str, offload: bool, layout: Layout) -> anyhow::Result<Peer> {
    let directory = scratch::directory(if offload { "ovs-tso" } else { "ovs" });
    let ovs = Ovs { namespace: Namespace::without_ipv6()?, directory };
    fs::create_dir_all(&ovs.directory)?;
    let mut running = vec![ovs.database()?];
    ovs.configure(offload)?;
    let sockets = ["a", "b"].map(|name| ovs.directory.join(name));
    let [first, second] = &sockets;
    let listeners = [UnixListener::bind(first)?, UnixListener::bind(second)?];
    let log = ovs.directory.join("switch.log");
    running.push(ovs.switch(&log)?);
    let busy = running[1].0.id();
    ovs.add_ports(&sockets)?;
    let nic = |at: usize| Nic::card(accept(&listeners[at], &sockets[at], &log)?, layout);
    let ends = Ends::switched();
    let circle = Circle { client: nic(0)?, server: nic(1)?, ends };
    ovs.load(&flows(&ends))?;
    Ok(Peer { name, circle, busy: Some(busy), _keep: Box::new((running, ovs)) })
}

/// Its processes and files.
struct Ovs {
    namespace: Namespace,
    directory: PathBuf,
}

impl Ovs {
    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn database_socket(&self) -> String {
        format!("unix:{}", self.path("db.sock"))
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR"] {
            command.env(variable, &self.directory);
        }
        command
    }

    fn database(&self) -> anyhow::Result<Running> {
        let file = self.path("conf.db");
        command::run("ovsdb-tool", &["create", &file, SCHEMA], "")?;
        let mut server = self.program("ovsdb-server");
        let control = self.path("db.ctl");
        server.arg(&file).arg(format!("--remote=p{}", self.database_socket()));
        server.arg(format!("--unixctl={control}"));
        let log = self.directory.join("db.log");
        let running = Running::start(&mut server, &log)?;
        connect(&self.directory.join("db.sock"), &log)?;
        Ok(running)
    }

    fn switch(&self, log: &Path) -> anyhow::Result<Running> {
        let mut switch = self.program(SWITCH_PROGRAM);
        switch.arg(self.database_socket());
        switch.arg(format!("--unixctl={}", self.path("switch.ctl")));
        let start = || {
            Running::start(&mut switch, log)
                .map_err(|e| Error::system(e.to_string(), std::io::ErrorKind::Other))
        };
        Ok(self.namespace.run(start)?)
    }

    /// Gives the database an order, and waits until it is followed if somebody is there to.
    fn order(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let socket = format!("--db={}", self.database_socket());
        let arguments = [&["-t", "60", &socket], arguments].concat();
        Ok(command::run("ovs-vsctl", &arguments, "").map(drop)?)
    }

    fn configure(&self, offload: bool) -> anyhow::Result<()> {
        let extra = format!(
            "--no-huge --legacy-mem -m {MEMORY} --no-pci --file-prefix portcullis-ovs-{offload}"
        );
        let mut settings = vec![
            "dpdk-init=true".to_owned(),
            format!("dpdk-extra=\"{extra}\""),
            format!("dpdk-lcore-mask={:#x}", 1 << GENERATOR),
            format!("pmd-cpu-mask={:#x}", 1 << SWITCH),
        ];
        if offload {
            settings.push("userspace-tso-enable=true".to_owned());
        }
        let settings: Vec<String> =
            settings.iter().map(|setting| format!("other_config:{setting}")).collect();
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        self.order(
            &[&["--no-wait", "init", "--", "set", "Open_vSwitch", "."], &settings[..]].concat(),
        )
    }

    fn add_ports(&self, sockets: &[PathBuf; 2]) -> anyhow::Result<()> {
        let bridge = ["--", "set", "bridge", BRIDGE, "datapath_type=netdev", "fail-mode=secure"];
        self.order(&[&["add-br", BRIDGE], &bridge[..]].concat())?;
        for (number, socket) in (1..).zip(sockets) {
            let port = format!("port{number}");
            let path = format!("options:vhost-server-path={}", socket.display());
            let number = format!("ofport_request={number}");
            let interface =
                ["--", "set", "Interface", &port, "type=dpdkvhostuserclient", &path, &number];
            self.order(&[&["add-port", BRIDGE, &port], &interface[..]].concat())?;
        }
        Ok(())
    }

    fn load(&self, flows: &str) -> anyhow::Result<()> {
        let bridge = self.path(&format!("{BRIDGE}.mgmt"));
        let arguments = ["--bundle", "replace-flows", &bridge, "-"];
        command::run("ovs-ofctl", &arguments, flows).map(drop).context("loading flows")
    }
}

/// A policy of [`RULES`] rules: what an end sends as itself is followed, one rule lets the measured
/// connections begin, all others are about somebody else.
fn flows(ends: &Ends) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_flows(&mut text, ends);
    text
}

fn write_flows(text: &mut String, ends: &Ends) -> std::fmt::Result {
    for (port, end) in (1..).zip(ends.both()) {
        let (mac, ip) = (mac_text(end.mac), end.ip);
        writeln!(text, "table=0,in_port={port},dl_src={mac},ip,nw_src={ip},actions=ct(table=1)")?;
        writeln!(text, "table=2,dl_dst={mac},actions=output:{port}")?;
    }
    writeln!(text, "table=1,ct_state=+trk+est,ip,actions=resubmit(,2)")?;
    let begins = "actions=ct(commit),resubmit(,2)";
    let (client, server, first) = (ends.client.ip, ends.server.ip, FIRST_SERVER_PORT);
    let mask = !(SERVER_PORTS as u16 - 1);
    for protocol in ["tcp", "udp"] {
        writeln!(
            text,
            "table=1,ct_state=+trk+new,{protocol},nw_src={client},nw_dst={server},\
             tp_dst={first}/{mask:#x},{begins}"
        )?;
    }
    (2..RULES).try_for_each(|i| {
        let (host, port) = (i / 200, 9000 + i % 200);
        let (a, b) = (host / 250, 1 + host % 250);
        writeln!(
            text,
            "table=1,ct_state=+trk+new,tcp,nw_src=10.128.{a}.{b},nw_dst=10.129.{a}.{b},\
             tp_dst={port},{begins}"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_rules_are_about_the_same() {
        let text = flows(&Ends::switched());
        let rules = text.lines().filter(|line| line.contains("+new"));
        let different: HashSet<_> = rules.collect();
        assert_eq!(different.len(), RULES as usize);
        assert_eq!(u32::from(FIRST_SERVER_PORT) % SERVER_PORTS, 0, "one mask names all");
    }
}
