//! What the guest offers: echoes over TCP and UDP, and a web server of one page.

use core::fmt::Write as _;

use smoltcp::{
    iface::{SocketHandle, SocketSet},
    socket::{tcp, udp},
    time::Duration,
};

use crate::{
    parameters::{PORTS_MAX, Parameters},
    room::Room,
};

/// RFC 862.
const ECHO: u16 = 7;
const HTTP: u16 = 80;
/// Connections to the web server at a time.
const HTTP_SOCKETS: usize = 2;
const TCP_MAX: usize = 1 + PORTS_MAX + HTTP_SOCKETS;
const UDP_MAX: usize = 1 + PORTS_MAX;
/// The page.
pub const PAGE: &str = "hello from behind the portcullis\n";
/// A client that says nothing for so long has gone.
const PATIENCE: Duration = Duration::from_secs(10);

static TCP_BUFFERS: Room<[[[u8; 2048]; 2]; TCP_MAX]> = Room::new([[[0; 2048]; 2]; TCP_MAX]);
static UDP_BUFFERS: Room<[[[u8; 2048]; 2]; UDP_MAX]> = Room::new([[[0; 2048]; 2]; UDP_MAX]);
type Packets = [udp::PacketMetadata; 8];
static UDP_PACKETS: Room<[[Packets; 2]; UDP_MAX]> =
    Room::new([[[udp::PacketMetadata::EMPTY; 8]; 2]; UDP_MAX]);
static SCRATCH: Room<[u8; 2048]> = Room::new([0; 2048]);

/// All services.
pub struct Services {
    tcp: [Option<(SocketHandle, u16)>; TCP_MAX],
    udp: [Option<SocketHandle>; UDP_MAX],
    scratch: &'static mut [u8; 2048],
}

impl Services {
    /// The usual ports, and those of the command line.
    pub fn start(parameters: &Parameters, sockets: &mut SocketSet<'static>) -> Self {
        let mut all = Self { tcp: [None; TCP_MAX], udp: [None; UDP_MAX], scratch: SCRATCH.take() };
        let ports = [HTTP; HTTP_SOCKETS].into_iter().chain([ECHO]).chain(parameters.ports("tcp"));
        for ((slot, port), buffers) in all.tcp.iter_mut().zip(ports).zip(TCP_BUFFERS.take()) {
            let [received, sent] = buffers.each_mut().map(|buffer| &mut buffer[..]);
            let mut socket =
                tcp::Socket::new(tcp::SocketBuffer::new(received), tcp::SocketBuffer::new(sent));
            socket.set_timeout(Some(PATIENCE));
            *slot = Some((sockets.add(socket), port));
        }
        let ports = [ECHO].into_iter().chain(parameters.ports("udp"));
        let buffers = UDP_BUFFERS.take().iter_mut().zip(UDP_PACKETS.take());
        for ((slot, port), (buffers, packets)) in all.udp.iter_mut().zip(ports).zip(buffers) {
            let [received, sent] = buffers.each_mut().map(|buffer| &mut buffer[..]);
            let [come, go] = packets.each_mut().map(|packets| &mut packets[..]);
            let mut socket = udp::Socket::new(
                udp::PacketBuffer::new(come, received),
                udp::PacketBuffer::new(go, sent),
            );
            // Port 0 is nobody's, and nobody is asked.
            if socket.bind(port).is_ok() {
                *slot = Some(sockets.add(socket));
            }
        }
        all
    }

    /// Does what clients wait for.
    pub fn serve(&mut self, sockets: &mut SocketSet<'_>) {
        for (handle, port) in self.tcp.iter().flatten() {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(*handle);
            if socket.state() == tcp::State::TimeWait {
                // The next client is not made to wait.
                socket.abort();
            }
            if !socket.is_open() {
                // Not with port 0, at which nobody calls.
                let _ = socket.listen(*port);
            } else if *port == HTTP {
                page(socket);
            } else {
                echo(socket, self.scratch);
            }
        }
        for handle in self.udp.iter().flatten() {
            let socket = sockets.get_mut::<udp::Socket<'_>>(*handle);
            while socket.can_send()
                && let Ok((length, from)) = socket.recv_slice(self.scratch)
            {
                // What there is no room for is lost, as datagrams are.
                let _ = socket.send_slice(&self.scratch[..length], from.endpoint);
            }
        }
    }
}

fn echo(socket: &mut tcp::Socket<'_>, scratch: &mut [u8]) {
    while socket.can_recv() && socket.can_send() {
        let room = scratch.len().min(socket.send_capacity() - socket.send_queue());
        let Ok(length) = socket.recv_slice(&mut scratch[..room]) else { break };
        // There is room.
        let _ = socket.send_slice(&scratch[..length]);
    }
    if !socket.may_recv() && socket.may_send() {
        socket.close();
    }
}

/// Answers a whole request, whatever it wants, and ends the connection.
fn page(socket: &mut tcp::Socket<'_>) {
    let is_whole = |received: &[u8]| received.ends_with(b"\r\n\r\n");
    let asked = socket.recv_queue();
    let whole = socket.peek(asked).is_ok_and(is_whole);
    if whole && socket.send_queue() == 0 && socket.may_send() {
        let _ = socket.recv(|request| (request.len(), ()));
        let length = PAGE.len();
        // The buffer has room for it.
        let _ = write!(
            socket,
            "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{PAGE}"
        );
        socket.close();
    } else if !socket.may_recv() && socket.may_send() {
        socket.close();
    }
}
