//! The programs that everything is measured against: one does nothing, one only redirects.

use std::os::fd::{AsFd, OwnedFd};

use aya::{
    Ebpf, EbpfError,
    maps::{Array, DevMapHash, MapError, xdp::XdpMapError},
    programs::{ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode, tc},
};

use crate::{error::Error, netns::Namespace};

/// Elements of the redirecting program's map, which is indexed by the low bits of an ifindex.
const PEERS: u32 = 1024;

/// What can go wrong with them.
#[derive(Debug, thiserror::Error)]
pub enum YardstickError {
    /// The object could not be loaded.
    #[error("loading the yardstick programs: {0}")]
    Load(#[from] EbpfError),
    /// A program could not be loaded or attached.
    #[error("a yardstick program: {0}")]
    Program(#[from] ProgramError),
    /// A map could not be written.
    #[error("a yardstick map: {0}")]
    Map(#[from] MapError),
    /// A map of devices could not be written.
    #[error("a yardstick map of devices: {0}")]
    Devices(#[from] XdpMapError),
    /// The object lacks something.
    #[error("the yardstick object has no `{name}`")]
    Absent {
        /// What it lacks.
        name: &'static str,
    },
    /// The two interfaces share an element of the map.
    #[error("the interface indexes {first} and {second} collide in the redirecting program's map")]
    Collision {
        /// One.
        first: u32,
        /// The other.
        second: u32,
    },
}

/// Loads one program of the object.
fn load(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, YardstickError> {
    let program: &mut SchedClassifier =
        ebpf.program_mut(name).ok_or(YardstickError::Absent { name })?.try_into()?;
    program.load()?;
    let fd = program.fd()?.as_fd();
    fd.try_clone_to_owned().map_err(|e| ProgramError::IOError(e).into())
}

/// The program that does nothing.
pub fn empty() -> Result<OwnedFd, Error> {
    let mut ebpf = Ebpf::load(portcullis_programs::YARDSTICK).map_err(YardstickError::from)?;
    Ok(load(&mut ebpf, "empty")?)
}

/// The XDP program that does nothing.
pub fn empty_xdp() -> Result<OwnedFd, Error> {
    let mut ebpf = Ebpf::load(portcullis_programs::YARDSTICK).map_err(YardstickError::from)?;
    Ok(load_xdp(&mut ebpf, "empty_xdp")?)
}

fn load_xdp(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, YardstickError> {
    let program: &mut Xdp =
        ebpf.program_mut(name).ok_or(YardstickError::Absent { name })?.try_into()?;
    program.load()?;
    let fd = program.fd()?.as_fd();
    fd.try_clone_to_owned().map_err(|e| ProgramError::IOError(e).into())
}

/// Where a redirecting program sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// At tcx: it gets packet buffers.
    Tcx,
    /// At the driver's XDP: it gets frames.
    Xdp,
}

/// A redirect between two interfaces. Ends with this value.
pub struct Redirect {
    _ebpf: Ebpf,
}

impl Redirect {
    /// Sends what comes in at one of `ports` out at the other.
    pub fn between(namespace: &Namespace, ports: [&str; 2], hook: Hook) -> Result<Self, Error> {
        namespace.run(|| {
            let mut ebpf =
                Ebpf::load(portcullis_programs::YARDSTICK).map_err(YardstickError::from)?;
            let [first, second] = [ifindex(ports[0])?, ifindex(ports[1])?];
            fill(&mut ebpf, first, second)?;
            match hook {
                Hook::Tcx => attach(&mut ebpf, ports)?,
                Hook::Xdp => attach_xdp(&mut ebpf, ports, [first, second])?,
            }
            Ok(Self { _ebpf: ebpf })
        })
    }
}

fn fill(ebpf: &mut Ebpf, first: u32, second: u32) -> Result<(), YardstickError> {
    if first % PEERS == second % PEERS {
        return Err(YardstickError::Collision { first, second });
    }
    let map = ebpf.map_mut("PEER").ok_or(YardstickError::Absent { name: "PEER" })?;
    let mut peer: Array<_, u32> = map.try_into()?;
    peer.set(first % PEERS, second, 0)?;
    peer.set(second % PEERS, first, 0)?;
    Ok(())
}

fn attach(ebpf: &mut Ebpf, ports: [&str; 2]) -> Result<(), YardstickError> {
    load(ebpf, "redirect")?;
    let program: &mut SchedClassifier = ebpf
        .program_mut("redirect")
        .ok_or(YardstickError::Absent { name: "redirect" })?
        .try_into()?;
    for port in ports {
        // Kernels without tcx want the qdisc; where it exists already, or tcx does, so much the
        // better.
        let _ = tc::qdisc_add_clsact(port);
        program.attach(port, TcAttachType::Ingress)?;
    }
    Ok(())
}

fn attach_xdp(ebpf: &mut Ebpf, ports: [&str; 2], indexes: [u32; 2]) -> Result<(), YardstickError> {
    let map = ebpf.map_mut("DEVICES").ok_or(YardstickError::Absent { name: "DEVICES" })?;
    let mut devices: DevMapHash<_> = map.try_into()?;
    for index in indexes {
        devices.insert(index, index, None, 0)?;
    }
    let name = "redirect_xdp";
    let program: &mut Xdp =
        ebpf.program_mut(name).ok_or(YardstickError::Absent { name })?.try_into()?;
    program.load()?;
    for port in ports {
        program.attach(port, XdpMode::Driver)?;
    }
    Ok(())
}

/// Index of an interface of this thread's namespace.
pub fn ifindex(name: &str) -> Result<u32, Error> {
    nix::net::if_::if_nametoindex(name)
        .map_err(|e| Error::system(format!("the interface {name}"), e))
}
