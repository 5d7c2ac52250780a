//! Taps: created closed and down, kept by the kernel, opened by name by a VMM.
#![allow(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::process::geteuid;

use crate::{
    error::{Error, Result},
    link::{self, Link},
    name,
    veth::mark_port,
};

/// Bytes of the virtio-net header in front of every frame: that of virtio 1.0 and later, with
/// `num_buffers` (virtio 1.3, section 5.1.6).
pub const VNET_HEADER: i32 = 12;

/// Packets that may wait for the VMM, per queue. The kernel's 500 overflow in a burst of one
/// scheduling period; the ring costs 8 bytes a place.
const QUEUE_LENGTH: u32 = 4096;

/// Most queues of a tap (MAX_TAP_QUEUES of the kernel).
pub const MAX_QUEUES: u16 = 256;

const DEVICE: &str = "/dev/net/tun";

/// Who may open a tap by its name, besides those who may administer networks. One that says nothing of
/// it is everybody's (`tun_not_capable` of the kernel).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Openers {
    /// The user of this process.
    Owner,
    /// The members of a group.
    Group(u32),
}

/// Creates a persistent tap that is its maker's, as [`create_for`] does.
pub fn create(name: &str, queues: u16, alias: &str) -> Result<Link> {
    create_for(name, queues, alias, Openers::Owner)
}

/// Creates a persistent tap, down, marked with `alias`. It exists for good only once it is
/// marked: a crash on the way leaves nothing.
pub fn create_for(name: &str, queues: u16, alias: &str, openers: Openers) -> Result<Link> {
    name::check(name)?;
    if queues == 0 || queues > MAX_QUEUES {
        return Err(Error::BadQueues { queues, most: MAX_QUEUES });
    }
    if link::find(name)?.is_some() {
        return Err(Error::NameInUse { name: name.into(), place: String::new() });
    }
    let file = open_device()?;
    let action = || format!("create the tap {name}");
    set_interface(&file, name, flags(queues)).map_err(|e| Error::kernel(action(), e))?;
    set_header_size(&file, VNET_HEADER).map_err(|e| Error::kernel(action(), e))?;
    let made = link::get(name)?;
    mark_port(&made, alias)?;
    link::set_queue_length(made.index, QUEUE_LENGTH)?;
    let made = link::get(name)?;
    set_openers(&file, openers).map_err(|e| Error::kernel(action(), e))?;
    set_persistent(&file).map_err(|e| Error::kernel(action(), e))?;
    Ok(made)
}

/// Opens one queue of an existing tap. `queues` is what the tap was created with: the kernel
/// wants to hear it again.
pub fn open_queue(name: &str, queues: u16) -> Result<OwnedFd> {
    if link::get(name)?.kind != "tun" {
        return Err(Error::NotThatTap { name: name.into(), queues });
    }
    let file = open_device()?;
    match set_interface(&file, name, flags(queues)) {
        Ok(()) => Ok(OwnedFd::from(file)),
        Err(e) => Err(match e.raw_os_error() {
            Some(libc::EBUSY | libc::E2BIG) => Error::QueueBusy { name: name.into() },
            Some(libc::EINVAL) => Error::NotThatTap { name: name.into(), queues },
            _ => Error::kernel(format!("open the tap {name}"), e),
        }),
    }
}

fn flags(queues: u16) -> i32 {
    let multi = if queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
    libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | multi
}

fn open_device() -> Result<File> {
    let options = OpenOptions::new().read(true).write(true).open(DEVICE);
    options.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => Error::NotPermitted { action: format!("open {DEVICE}") },
        _ => Error::NoTun { source },
    })
}

fn set_interface(file: &File, name: &str, flags: i32) -> io::Result<()> {
    // SAFETY: all zeros is a valid `ifreq`: it holds integers and byte arrays only.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()).take(name::LONGEST) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the fd is open, TUNSETIFF reads and writes one `ifreq`, which lives on this frame.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) })
}

/// Sets how many bytes of header stand in front of every frame of a tap, by one of its open queues.
pub fn set_header_size(queue: &impl AsRawFd, bytes: i32) -> io::Result<()> {
    // SAFETY: the fd is open, TUNSETVNETHDRSZ reads one int, which lives on this frame.
    check(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETVNETHDRSZ, &bytes) })
}

/// Bytes of the header in front of every frame of an open queue.
pub fn header_size(queue: &OwnedFd) -> io::Result<i32> {
    let mut bytes = 0;
    // SAFETY: the fd is open, TUNGETVNETHDRSZ writes one int, which lives on this frame.
    check(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNGETVNETHDRSZ, &mut bytes) })?;
    Ok(bytes)
}

/// Says what the reader of an open queue does by itself (`TUN_F_*`).
pub fn set_offloads(queue: &File, flags: libc::c_uint) -> io::Result<()> {
    let flags = libc::c_ulong::from(flags);
    // SAFETY: the fd is open, and TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETOFFLOAD, flags) })
}

fn set_openers(file: &File, openers: Openers) -> io::Result<()> {
    let (request, id) = match openers {
        Openers::Owner => (libc::TUNSETOWNER, geteuid().as_raw()),
        Openers::Group(group) => (libc::TUNSETGROUP, group),
    };
    // SAFETY: the fd is open, and both requests take their argument by value.
    check(unsafe { libc::ioctl(file.as_raw_fd(), request, libc::c_ulong::from(id)) })
}

fn set_persistent(file: &File) -> io::Result<()> {
    let on: libc::c_ulong = 1;
    // SAFETY: the fd is open, and TUNSETPERSIST takes its argument by value.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETPERSIST, on) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
