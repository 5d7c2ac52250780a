//! The guest's end of a port, without a stack behind it: frames with what their sender says of
//! checksum and segments (the virtio-net header), as they go in and as they come out.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{
    Error, Result, Space,
    sys::{self, VNET_HEADER},
};

/// Room for a super-packet, its headers, and the virtio-net header.
const BUFFER: usize = 80_000;

/// What stands in front of a frame (virtio 1.2, section 5.1.6; `num_buffers` left out).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum field holds the sum of the pseudo header; the rest from here is to be added.
    /// Where the transport header begins, and where its checksum lies in it, bytes.
    pub partial: Option<(u16, u16)>,
    /// Into segments of this kind, with so many bytes of payload each.
    pub segments: Option<(Segments, u16)>,
    /// Length of all headers, bytes.
    pub headers: u16,
}

/// What a super-packet is to be cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segments {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP datagrams of either family.
    Udp,
}

const NEEDS_CHECKSUM: u8 = 1;
/// Congestion was experienced: no kind of its own.
const ECN: u8 = 0x80;

impl Offload {
    fn bytes(&self) -> [u8; VNET_HEADER] {
        let kind = match self.segments {
            None => 0,
            Some((Segments::Tcp4, _)) => 1,
            Some((Segments::Tcp6, _)) => 4,
            Some((Segments::Udp, _)) => 5,
        };
        let (start, offset) = self.partial.unwrap_or_default();
        let size = self.segments.map_or(0, |(_, size)| size);
        let mut bytes = [0; VNET_HEADER];
        bytes[0] = if self.partial.is_some() { NEEDS_CHECKSUM } else { 0 };
        bytes[1] = kind;
        for (at, value) in [(2, self.headers), (4, size), (6, start), (8, offset)] {
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let segments = match bytes.get(1)? & !ECN {
            1 => Some(Segments::Tcp4),
            4 => Some(Segments::Tcp6),
            5 => Some(Segments::Udp),
            _ => None,
        };
        let partial = (bytes[0] & NEEDS_CHECKSUM != 0).then_some((word(6)?, word(8)?));
        let size = word(4)?;
        Some(Self { partial, segments: segments.map(|kind| (kind, size)), headers: word(2)? })
    }
}

/// A frame with what is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// What is left to do.
    pub offload: Offload,
    /// From the destination MAC on.
    pub frame: Vec<u8>,
}

/// What frames go through.
#[derive(Debug)]
enum Device {
    /// A queue of a tap: its header has 12 bytes.
    Tap(File),
    /// A packet socket on an interface: its header has 10 bytes.
    Socket(OwnedFd),
}

/// Without `num_buffers`.
const SOCKET_HEADER: usize = 10;

/// One end of a port. Dropping it lets go of it.
#[derive(Debug)]
pub struct End {
    device: Arc<Device>,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Offered>>>,
    thread: Option<JoinHandle<()>>,
}

impl End {
    /// The far end of a tap, as a virtual machine monitor has it, which takes everything that the
    /// kernel can leave undone.
    pub fn of_tap(space: &Space, interface: &str) -> Result<Self> {
        let tap = space.enter(|| {
            let tap = sys::open_tap(interface)?;
            sys::accept_all_offloads(&tap)?;
            Ok(tap)
        })?;
        Ok(Self::start(Device::Tap(tap)))
    }

    /// An interface whose stack has been told to be quiet.
    pub fn of_interface(space: &Space, interface: &str) -> Result<Self> {
        let socket = space.enter(|| {
            let socket = sys::packet_socket(interface)?;
            sys::show_offloads(&socket)?;
            Ok(socket)
        })?;
        Ok(Self::start(Device::Socket(socket)))
    }

    fn start(device: Device) -> Self {
        let device = Arc::new(device);
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let thread = thread::spawn({
            let (device, stop, seen) = (device.clone(), stop.clone(), seen.clone());
            move || {
                let mut buffer = vec![0; BUFFER];
                while !stop.load(Ordering::Relaxed) {
                    let Some(one) = device.receive(&mut buffer) else { continue };
                    if let Ok(mut seen) = seen.lock() {
                        seen.push(one);
                    }
                }
            }
        });
        Self { device, stop, seen, thread: Some(thread) }
    }

    /// Sends a frame; the kernel may refuse what it does not know.
    pub fn send(&self, one: &Offered) -> io::Result<()> {
        self.device.send(one)
    }

    /// Takes what has come in so far.
    pub fn take(&self) -> Vec<Offered> {
        self.seen.lock().map(|mut seen| std::mem::take(&mut *seen)).unwrap_or_default()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Device {
    fn send(&self, one: &Offered) -> io::Result<()> {
        let header = one.offload.bytes();
        match self {
            Self::Tap(tap) => (&*tap).write(&[&header, &one.frame[..]].concat()).map(drop),
            Self::Socket(socket) => {
                let whole = [&header[..SOCKET_HEADER], &one.frame].concat();
                Ok(nix::unistd::write(socket, &whole).map(drop)?)
            }
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> Option<Offered> {
        let fd = match self {
            Self::Tap(tap) => tap.as_fd(),
            Self::Socket(socket) => socket.as_fd(),
        };
        let mut ready = [PollFd::new(fd, PollFlags::POLLIN)];
        if !poll(&mut ready, PollTimeout::from(100u8)).is_ok_and(|n| n > 0) {
            return None;
        }
        let (length, header) = match self {
            Self::Tap(tap) => ((&*tap).read(buffer).ok()?, VNET_HEADER),
            Self::Socket(socket) => (sys::receive_incoming(socket, buffer)?, SOCKET_HEADER),
        };
        let offload = Offload::parse(buffer.get(..header)?)?;
        Some(Offered { offload, frame: buffer.get(header..length)?.to_vec() })
    }
}

/// For `map_err` of frames that every kernel takes.
pub fn refused(source: io::Error) -> Error {
    Error::System { call: "sending a frame".to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_go_both_ways() {
        let all = [
            Offload::default(),
            Offload { partial: Some((34, 6)), ..Offload::default() },
            Offload {
                partial: Some((54, 16)),
                segments: Some((Segments::Tcp6, 1428)),
                headers: 74,
            },
        ];
        for offload in all {
            assert_eq!(Offload::parse(&offload.bytes()), Some(offload));
        }
    }
}
