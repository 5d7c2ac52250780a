//! What a NIC's driver is and does, by SIOCETHTOOL (linux/ethtool.h).
#![allow(unsafe_code)]

use std::{
    ffi::CStr,
    io,
    os::{fd::AsRawFd, unix::net::UnixDatagram},
};

use crate::{
    error::{Error, Result},
    name,
};

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const GET_DRIVER: u32 = 0x03;
const GET_FLAGS: u32 = 0x25;
const SET_FLAGS: u32 = 0x26;
/// ETH_FLAG_RXVLAN: the NIC takes VLAN tags out of frames.
const TAKES_TAGS: u32 = 1 << 8;

/// Bytes of a name in `struct ethtool_drvinfo`, and where those that matter stand.
const TEXT: usize = 32;
const DRIVER_AT: usize = 4;
const BUS_AT: usize = DRIVER_AT + 3 * TEXT;
const DRIVER_INFO: usize = 196;

/// The driver of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// Its name.
    pub name: String,
    /// Where its device is plugged in; empty for one that is software only.
    pub bus: String,
}

/// The driver of an interface, as it calls itself; empty names where it says nothing.
pub fn driver(interface: &str) -> Result<Driver> {
    let mut info = [0_u8; DRIVER_INFO];
    info[..4].copy_from_slice(&GET_DRIVER.to_ne_bytes());
    match ask(interface, &mut info) {
        Ok(()) => Ok(Driver { name: text(&info, DRIVER_AT), bus: text(&info, BUS_AT) }),
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Driver::default()),
        Err(e) => Err(Error::kernel(format!("ask for the driver of {interface}"), e)),
    }
}

/// Does the NIC take VLAN tags out of frames, so that they stand beside their packet buffer only?
pub fn takes_tags(interface: &str) -> Result<bool> {
    let flags = flags(interface);
    let flags = flags.map_err(|e| Error::kernel(format!("ask {interface} for its flags"), e))?;
    Ok(flags & TAKES_TAGS != 0)
}

/// Makes the NIC take tags out, or leave them in. Some cannot.
pub fn set_takes_tags(interface: &str, on: bool) -> Result<()> {
    let set = || {
        let flags = flags(interface)?;
        let flags = if on { flags | TAKES_TAGS } else { flags & !TAKES_TAGS };
        value(interface, SET_FLAGS, flags).map(drop)
    };
    let what = if on { "take VLAN tags out" } else { "leave VLAN tags in" };
    set().map_err(|e| Error::kernel(format!("make {interface} {what}"), e))
}

fn flags(interface: &str) -> io::Result<u32> {
    value(interface, GET_FLAGS, 0)
}

/// A command with one number, which may come back as another one (`struct ethtool_value`).
fn value(interface: &str, command: u32, data: u32) -> io::Result<u32> {
    let mut value = [0_u8; 8];
    value[..4].copy_from_slice(&command.to_ne_bytes());
    value[4..].copy_from_slice(&data.to_ne_bytes());
    ask(interface, &mut value)?;
    Ok(u32::from_ne_bytes([value[4], value[5], value[6], value[7]]))
}

/// The text that ends with a zero, in a field of [`TEXT`] bytes.
fn text(bytes: &[u8], at: usize) -> String {
    let field = bytes.get(at..at + TEXT).unwrap_or_default();
    CStr::from_bytes_until_nul(field).unwrap_or_default().to_string_lossy().into_owned()
}

/// One command; the kernel answers in place. It reads and writes no more bytes than the command's
/// structure has, which the callers bring.
fn ask(interface: &str, command: &mut [u8]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // SAFETY: all zeros is a valid `ifreq`: it holds integers and byte arrays only.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()).take(name::LONGEST) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = command.as_mut_ptr().cast();
    // SAFETY: the fd is open; SIOCETHTOOL reads one `ifreq` and what it points to, both of which
    // outlive the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_no_bus() {
        assert_eq!(driver("lo").unwrap().bus, "");
        let gone = driver("no-such-nic").unwrap_err();
        assert!(gone.is_missing(), "{gone}");
    }

    #[test]
    fn texts_end_with_their_zero() {
        let mut bytes = [b'x'; 40];
        bytes[3..8].copy_from_slice(b"veth\0");
        assert_eq!(text(&bytes, 3), "veth");
        assert_eq!(text(&bytes, 30), "");
    }
}
