//! `guest`: our own monitor, on ports of the switch.
//!
//! Two processes: one asks the daemon for ports, waits, and takes them away again; the other, which
//! a guest might break out of, has nothing but the guest's memory and files that are open already.

mod connector;
mod control;

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    path::Path,
    process::{self, Child},
    slice,
    sync::Arc,
    thread,
    time::Duration,
};

use nix::{
    sys::{
        signal::{SigSet, Signal},
        termios::{self, SetArg, Termios},
    },
    unistd::Pid,
};
use portcullis_switch::{Owner, PortKind, PortSpec};
use portcullis_vmm::{
    Config, End, Machine, Running, Snapshot,
    config::{self, Back, Image, Kernel, Start},
    sandbox,
};
use serde_json::Value;

use self::{connector::Connector, control::Door};
use super::{Context, Outcome, plug, remark};
use crate::{
    api::{Nic, Port, Request, Response, Status},
    cli::guest::{Guest, MachineArgs},
    client,
    error::Error,
    names,
    paint::Style,
};

/// How a monitor says that it was told to end its guest.
const ENDED: i32 = 1;
/// How it says that its guest wants to start anew.
const REBOOT: i32 = 10;
/// Ctrl-]: the way out of a console.
const ESCAPE: u8 = 0x1d;
/// Between two looks at a console that takes nothing more for the moment.
const TYPING: Duration = Duration::from_millis(1);

/// Does what is asked for.
pub fn guest(what: Guest, context: &Context) -> Result<Outcome, Error> {
    match what {
        Guest::Run { name, machine } => run(&name, &machine, context),
        Guest::Pause { name, .. } => control::pause(&context.paths, &name, true),
        Guest::Resume { name, .. } => control::pause(&context.paths, &name, false),
        Guest::Snapshot { name, directory, end, .. } => {
            control::save_into(&context.paths, &name, &directory, end)
        }
        Guest::Monitor { machine, fds, macs, mtus } => {
            // These were opened for this process, by `guest run`.
            let each = if machine.vhost_user { 1 } else { machine.queues.into() };
            let nics = fds.chunks_exact(each).zip(macs).zip(mtus);
            let nics = nics
                .map(|((fds, mac), mtu)| nic(fds, machine.vhost_user, &mac, mtu))
                .collect::<Result<_, _>>()?;
            monitor(&machine, nics, fds.last().copied())
        }
    }
}

/// Ports that exist for as long as a guest runs.
struct Ports<'a> {
    context: &'a Context,
    all: Vec<Port>,
}

impl Drop for Ports<'_> {
    fn drop(&mut self) {
        for port in &self.all {
            let request = Request::Detach { name: port.name.clone() };
            if let Err(error) = client::ask(&self.context.paths, &request) {
                remark(&format!("{} stays: {error}", port.name));
            }
        }
    }
}

fn run(name: &str, machine: &MachineArgs, context: &Context) -> Result<Outcome, Error> {
    let status = plug::status(context)?;
    let mut ports = Ports { context, all: Vec::new() };
    for (number, nic) in free_nics(name, &status)?.into_iter().enumerate() {
        let spec = PortSpec {
            name: names::tap_of(name, number),
            kind: match machine.vhost_user {
                true => PortKind::VhostUser { owner: Owner::default() },
                false => PortKind::Tap { queues: machine.queues },
            },
            guest: Some(name.to_owned()),
            network: Some(nic.network),
        };
        match client::ask(&context.paths, &Request::Attach { port: spec })? {
            Response::Attached(port) => ports.all.push(port),
            _ => return Err(Error::WrongAnswer),
        }
    }
    if machine.vhost_user {
        // Where their sockets are, only their status says.
        let now = plug::status(context)?.ports;
        let own = |port: &Port| now.iter().find(|other| other.name == port.name).cloned();
        ports.all =
            ports.all.iter().map(|port| own(port).unwrap_or_else(|| port.clone())).collect();
    }
    for port in &ports.all {
        remark(&format!("{name} has port {}{}", port.name, closed(port, context)));
    }
    let machine = &told(machine, &ports.all, &status);
    let door = Door::new(&context.paths, name)?;
    let terminal = Terminal::raw();
    let ended = loop {
        match supervise(machine, &ports.all, &door)? {
            Some(REBOOT) if machine.restore.is_none() => {}
            other => break other,
        }
    };
    drop(terminal);
    let status = match ended {
        Some(0) => 0,
        // A signal, or the way out of the console.
        None | Some(ENDED) => 1,
        Some(_) => 2,
    };
    Ok(Outcome { status, ..Outcome::fine("", Value::Null) })
}

/// The test guest knows no DHCPv6 and asks no router: its IPv6 is on its command line. It has one
/// NIC.
fn told(machine: &MachineArgs, ports: &[Port], status: &Status) -> MachineArgs {
    let mut told = machine.clone();
    if machine.kernel.is_some() || machine.restore.is_some() {
        return told;
    }
    let Some(port) = ports.first() else { return told };
    let network = status.networks.iter().find(|network| port.networks.contains(&network.name));
    let Some(network) = network else { return told };
    let subnet = network.subnets.iter().find(|subnet| subnet.contains(':'));
    let length = subnet.and_then(|subnet| Some(subnet.rsplit_once('/')?.1));
    let address = port.addresses.iter().find(|address| address.is_ipv6());
    if let (Some(length), Some(address)) = (length, address) {
        told.append += &format!(" ip={address}/{length}");
    }
    if let Some(gateway) = network.gateway.iter().find(|address| address.is_ipv6()) {
        told.append += &format!(" gateway={gateway}");
    }
    told
}

fn closed(port: &Port, context: &Context) -> String {
    let paint =
        |why: &String| format!(", {} {why}", context.paint_aside.paint(Style::Warn, "closed:"));
    port.closed.as_ref().map(paint).unwrap_or_default()
}

/// The NICs of a guest that no port carries.
fn free_nics(name: &str, status: &Status) -> Result<Vec<Nic>, Error> {
    let own: Vec<&Nic> = status.guests.iter().filter(|nic| nic.guest == name).collect();
    let all = status.guests.iter().map(|nic| nic.guest.as_str());
    if own.is_empty() {
        let near = names::suggest(name, "guests", all);
        return Err(Error::NoSuchGuest { name: name.into(), near });
    }
    if let Some((nic, port)) = own.iter().find_map(|nic| Some((nic, nic.port.clone()?))) {
        let (guest, network) = (nic.guest.clone(), nic.network.clone());
        return Err(Error::GuestRuns { guest, network, port });
    }
    Ok(own.into_iter().cloned().collect())
}

/// Runs a monitor; its exit status, or none if it was ended.
fn supervise(machine: &MachineArgs, ports: &[Port], door: &Door) -> Result<Option<i32>, Error> {
    let hand_over = |source| hand_over(ports, source);
    let opened = ports.iter().map(|port| open(port, machine.queues));
    let mut fds: Vec<OwnedFd> =
        opened.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    let listener = door.listener.as_fd().try_clone_to_owned();
    fds.push(listener.map_err(|source| Error::Monitor { action: "listen for", source })?);
    let line = monitor_line(machine, ports)?;
    let mut command = vmm_attach::inherit(&line, &fds).map_err(hand_over)?;
    let ends = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD];
    let ends: SigSet = ends.into_iter().collect();
    let failed = |action| move |source| Error::Monitor { action, source };
    ends.thread_block().map_err(|error| failed("wait for")(error.into()))?;
    let child = command.spawn().map_err(failed("start"))?;
    drop(fds);
    let status = wait(child, &ends).map_err(failed("wait for"));
    // Only fails for a signal that does not exist.
    let _ = ends.thread_unblock();
    status
}

/// What a monitor needs of a port: the queues of a tap, or the way to a vhost-user port's socket.
fn open(port: &Port, queues: u16) -> Result<Vec<OwnedFd>, Error> {
    match &port.vhost {
        Some(vhost) => {
            let end = connector::to(vhost.socket.clone());
            let failed = |source| Error::Monitor { action: "connect a port for", source };
            Ok(vec![end.map_err(failed)?])
        }
        None => vmm_attach::open_queues(&port.name, queues)
            .map_err(|source| hand_over(slice::from_ref(port), source)),
    }
}

/// Waits for the monitor; a signal to this process ends it.
fn wait(mut child: Child, ends: &SigSet) -> io::Result<Option<i32>> {
    loop {
        if let Some(status) = child.try_wait()? {
            if status.code().is_none() {
                remark(&format!("the guest's monitor was ended: {status}"));
            }
            return Ok(status.code());
        }
        if ends.wait()? != Signal::SIGCHLD {
            let pid = Pid::from_raw(child.id() as i32);
            // It may have ended by itself meanwhile.
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
            child.wait()?;
            return Ok(None);
        }
    }
}

/// One of these could not be handed over.
fn hand_over(ports: &[Port], source: vmm_attach::Error) -> Error {
    let port = ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ");
    Error::HandOver { port, source: Box::new(source) }
}

fn monitor_line(machine: &MachineArgs, ports: &[Port]) -> Result<Vec<OsString>, Error> {
    let own = std::env::current_exe();
    let own = own.map_err(|source| Error::Monitor { action: "find", source })?;
    let mut line: Vec<OsString> = vec![own.into(), "guest".into(), "monitor".into()];
    if machine.vhost_user {
        line.push("--vhost-user".into());
    } else {
        line.extend(["--queues".into(), machine.queues.to_string().into()]);
    }
    let mut add = |option: &str, value: OsString| line.extend([option.into(), value]);
    let MachineArgs { kernel, restore, initrd, append, cpus, disk, disk_read_only, .. } = machine;
    if let Some(restore) = restore {
        add("--restore", restore.into());
    } else {
        add("--append", append.into());
        add("--memory", machine.memory_mib().to_string().into());
        add("--cpus", cpus.to_string().into());
    }
    for (option, file) in [("--kernel", kernel), ("--initrd", initrd)] {
        file.iter().for_each(|file| add(option, file.into()));
    }
    disk.iter().for_each(|disk| add("--disk", disk.into()));
    disk_read_only.iter().for_each(|disk| add("--disk-read-only", disk.into()));
    if !ports.is_empty() {
        let macs: Vec<_> = ports.iter().filter_map(|port| port.mac.clone()).collect();
        let mtus = ports.iter().map(|port| Ok(vmm_attach::mtu(&port.name)?.to_string()));
        let mtus = mtus.collect::<Result<Vec<_>, _>>().map_err(|e| hand_over(ports, e))?;
        add("--macs", macs.join(",").into());
        add("--mtus", mtus.join(",").into());
    }
    add("--fds", "{fds}".into());
    Ok(line)
}

/// A NIC on what `guest run` has opened for this process.
fn nic(fds: &[RawFd], vhost_user: bool, mac: &str, mtu: u16) -> Result<config::Nic, Error> {
    let bytes = mac.split(':').map(|byte| u8::from_str_radix(byte, 16).ok());
    let bytes = bytes.collect::<Option<Vec<_>>>().and_then(|bytes| bytes.try_into().ok());
    let what = || portcullis_vmm::Error::Config { what: format!("{mac:?} is no MAC") };
    let mac = bytes.ok_or_else(what)?;
    let mut ends = fds.iter().map(|fd| config::inherited(*fd)).collect::<Result<Vec<_>, _>>()?;
    let back = match ends.pop() {
        Some(end) if vhost_user => Back::VhostUser(Arc::new(Connector::new(end))),
        last => Back::Tap(ends.into_iter().chain(last).map(File::from).collect()),
    };
    Ok(config::Nic { back, mac, mtu })
}

/// What a guest begins with, its processors, and its memory in MiB.
fn start(machine: &MachineArgs) -> Result<(Start, u8, u32), Error> {
    if let Some(directory) = &machine.restore {
        let snapshot = Box::new(Snapshot::open(directory)?);
        let (processors, memory) = (snapshot.state.processors.len(), snapshot.state.memory_mib);
        // A number that is too large is one that the machine refuses, whatever it is.
        return Ok((Start::Snapshot(snapshot), processors.try_into().unwrap_or(u8::MAX), memory));
    }
    let kernel = Kernel {
        image: match &machine.kernel {
            Some(file) => Image::File(file.clone()),
            None => Image::BuiltIn(portcullis_guest_image::IMAGE),
        },
        initramfs: machine.initrd.clone(),
        command_line: machine.append.clone(),
    };
    Ok((Start::Kernel(kernel), machine.cpus, machine.memory_mib()))
}

/// Runs a guest in this process, and ends with it.
fn monitor(
    machine: &MachineArgs,
    nics: Vec<config::Nic>,
    orders: Option<RawFd>,
) -> Result<Outcome, Error> {
    let orders = orders.map(config::inherited).transpose()?.map(UnixListener::from);
    let (start, processors, memory_mib) = start(machine)?;
    let disks = machine.disk.iter().map(|path| disk(path, true));
    let disks = disks.chain(machine.disk_read_only.iter().map(|path| disk(path, false)));
    let config =
        Config { start, processors, memory_mib, nics, disks: disks.collect::<Result<_, _>>()? };
    let console = io::stdout().as_fd().try_clone_to_owned();
    let console = console.map_err(|source| Error::Monitor { action: "write for", source })?;
    let made = Machine::new(config, Box::new(File::from(console)))?;
    sandbox::enter()?;
    let running = Arc::new(made.start()?);
    let console = Arc::clone(&running);
    thread::spawn(move || type_in(&console));
    if let Some(orders) = orders {
        let guest = Arc::clone(&running);
        thread::spawn(move || control::serve(&orders, &guest));
    }
    running.resume();
    let status = match running.wait() {
        End::Off => 0,
        End::Reboot if machine.restore.is_some() => {
            remark("the guest wants to start anew: run it with --kernel");
            2
        }
        End::Reboot => REBOOT,
        End::Failed { what } => {
            remark(&format!("the guest cannot go on: {what}"));
            2
        }
    };
    // A thread waits for somebody to type, and nothing is left to put in order.
    process::exit(status)
}

fn disk(path: &Path, writable: bool) -> Result<config::Disk, Error> {
    let file = OpenOptions::new().read(true).write(writable).open(path);
    let file = file.map_err(|source| portcullis_vmm::Error::File { path: path.into(), source })?;
    Ok(config::Disk { file, writable })
}

/// Types what comes from standard input into a guest's console.
fn type_in(guest: &Running) {
    let mut bytes = [0; 256];
    while let Ok(count @ 1..) = io::stdin().lock().read(&mut bytes) {
        let mut left = &bytes[..count];
        if left.contains(&ESCAPE) {
            process::exit(ENDED);
        }
        while !left.is_empty() {
            left = &left[guest.type_in(left)..];
            thread::sleep(TYPING);
        }
    }
}

/// A terminal whose every key goes to the guest, until this is dropped.
struct Terminal(Termios);

impl Terminal {
    /// `None` where nobody sits.
    fn raw() -> Option<Self> {
        let before = termios::tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has gone away needs nothing.
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}
