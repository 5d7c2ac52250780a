//! The few system calls that no safe wrapper offers: tap ioctls, binding a packet socket, flags of a
//! file that has no safe owner.
#![allow(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io, mem,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
};

use crate::{Error, Result};

/// Length of the virtio-net header in front of every frame of a tap, bytes (virtio 1.1,
/// section 5.1.6: with `num_buffers`).
pub const VNET_HEADER: usize = 12;

nix::ioctl_write_int!(
    /// TUNSETIFF of linux/if_tun.h.
    tun_set_iff,
    b'T',
    202
);
nix::ioctl_write_int!(
    /// TUNSETOFFLOAD of linux/if_tun.h.
    tun_set_offload,
    b'T',
    208
);
nix::ioctl_write_ptr!(
    /// TUNSETVNETHDRSZ of linux/if_tun.h.
    tun_set_vnet_hdr_sz,
    b'T',
    216,
    libc::c_int
);

/// TUNSETIFF is declared with the size of an int but takes a `struct ifreq`.
fn set_iff(tap: &File, name: &str, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: all bytes zero is a valid `ifreq`: it is plain data.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the pointer is to a live `ifreq`, which is what this request reads and writes.
    unsafe { tun_set_iff(tap.as_raw_fd(), &raw mut request as libc::c_ulong) }?;
    Ok(())
}

/// Opens a queue of a tap in this thread's network namespace, making the tap when there is none;
/// frames carry a virtio-net header of [`VNET_HEADER`] bytes. Non-blocking.
pub fn open_tap(name: &str) -> Result<File> {
    if name.len() > 15 {
        return Err(Error::NameTooLong { name: name.to_owned() });
    }
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")
    };
    let base = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    let mut tap = open().map_err(Error::file("/dev/net/tun"))?;
    if set_iff(&tap, name, base).is_err() {
        // A tap with several queues wants to be asked as one.
        tap = open().map_err(Error::file("/dev/net/tun"))?;
        set_iff(&tap, name, base | libc::IFF_MULTI_QUEUE)
            .map_err(Error::system(format!("TUNSETIFF {name}")))?;
    }
    let size = VNET_HEADER as libc::c_int;
    // SAFETY: the pointer is to a live int, which is what this request reads.
    unsafe { tun_set_vnet_hdr_sz(tap.as_raw_fd(), &raw const size) }
        .map_err(Error::system(format!("TUNSETVNETHDRSZ {name}")))?;
    Ok(tap)
}

/// Says that whoever reads the tap takes partial checksums and segmentation left to do.
pub fn accept_offloads(tap: &File) -> Result<()> {
    let flags = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    // SAFETY: this request takes its argument by value.
    unsafe { tun_set_offload(tap.as_raw_fd(), flags.into()) }
        .map_err(Error::system("TUNSETOFFLOAD"))?;
    Ok(())
}

/// The same, and datagrams to be cut, where the kernel can leave these to somebody (since 6.2).
pub fn accept_all_offloads(tap: &File) -> Result<()> {
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let udp = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    // SAFETY: this request takes its argument by value.
    if unsafe { tun_set_offload(tap.as_raw_fd(), (tcp | udp).into()) }.is_err() {
        return accept_offloads(tap);
    }
    Ok(())
}

/// From now on frames of a packet socket have a virtio-net header (packet(7), PACKET_VNET_HDR).
pub fn show_offloads(socket: &OwnedFd) -> Result<()> {
    set_packet_option(socket, libc::PACKET_VNET_HDR, "PACKET_VNET_HDR")
}

/// From now on a packet socket tells the tags that frames had (packet(7), PACKET_AUXDATA).
pub fn show_tags(socket: &OwnedFd) -> Result<()> {
    set_packet_option(socket, libc::PACKET_AUXDATA, "PACKET_AUXDATA")
}

/// Reads from such a socket: bytes, and the VLAN id of a frame with a tag, which stands beside the
/// bytes. Nothing if it is a frame that somebody here has sent.
pub fn receive_tagged(socket: &OwnedFd, buffer: &mut [u8]) -> Option<(usize, Option<u16>)> {
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all bytes zero is a valid value of both: they are plain data.
    let (mut from, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { mem::zeroed() };
    // Words, so that the header of a control message is aligned.
    let mut control = [0_u64; 16];
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of_val(&control);
    // SAFETY: every pointer in the message is to something live, of the length beside it.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(length).ok()?;
    // SAFETY: the kernel has filled the message; the walk is inside its control buffer.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    let mut tag = None;
    while !header.is_null() {
        // SAFETY: `header` is one of the control messages of the live buffer above.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_PACKET && kind == libc::PACKET_AUXDATA {
            // SAFETY: a message of this type holds a `tpacket_auxdata`.
            let data: libc::tpacket_auxdata =
                unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
            let valid = data.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
            tag = valid.then_some(data.tp_vlan_tci & 0xfff);
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    (from.sll_pkttype != libc::PACKET_OUTGOING).then_some((length, tag))
}

/// Switches an option of a packet socket on.
fn set_packet_option(socket: &OwnedFd, option: libc::c_int, name: &str) -> Result<()> {
    let on: libc::c_int = 1;
    let length = mem::size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: pointer and length describe the live int above.
    let set = unsafe {
        let on = (&raw const on).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, on, length)
    };
    if set != 0 {
        return Err(Error::system(name)(io::Error::last_os_error()));
    }
    Ok(())
}

/// Reads from a packet socket; nothing if it is a frame that somebody here has sent.
pub fn receive_incoming(socket: &OwnedFd, buffer: &mut [u8]) -> Option<usize> {
    let (length, from) =
        nix::sys::socket::recvfrom::<nix::sys::socket::LinkAddr>(socket.as_raw_fd(), buffer)
            .ok()?;
    let outgoing = from.is_some_and(|from| from.pkttype() == libc::PACKET_OUTGOING);
    (!outgoing).then_some(length)
}

/// A raw socket that sees and sends whole frames on one interface of this thread's namespace.
/// Reads time out after 100 ms.
pub fn packet_socket(interface: &str) -> Result<OwnedFd> {
    let index = nix::net::if_::if_nametoindex(interface)
        .map_err(Error::system(format!("looking up interface {interface}")))?;
    // SAFETY: a plain system call without pointers.
    let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(Error::system("socket AF_PACKET")(io::Error::last_os_error()));
    }
    // SAFETY: the descriptor was just made and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: all bytes zero is a valid `sockaddr_ll`: it is plain data.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as libc::c_int;
    let length = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: pointer and length describe the live `sockaddr_ll` above.
    if unsafe { libc::bind(raw, (&raw const address).cast(), length) } != 0 {
        return Err(Error::system(format!("binding to {interface}"))(io::Error::last_os_error()));
    }
    let timeout = nix::sys::time::TimeVal::new(0, 100_000);
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReceiveTimeout, &timeout)
        .map_err(Error::system("SO_RCVTIMEO"))?;
    Ok(socket)
}

/// Has reads and writes of an open file wait, whoever's they are.
pub fn block(file: &impl AsRawFd) -> Result<()> {
    // SAFETY: the descriptor is open, and F_SETFL takes flags by value.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, 0) } {
        0 => Ok(()),
        _ => Err(Error::system("F_SETFL")(io::Error::last_os_error())),
    }
}
