//! Calls to others: one at a time, each with an end.

use core::fmt::{self, Write as _};

use smoltcp::{
    iface::{Interface, SocketHandle, SocketSet},
    phy::ChecksumCapabilities,
    socket::{icmp, tcp, udp},
    time::{Duration, Instant},
    wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpEndpoint},
};

use crate::{clock, console::Text, order::Call, room::Room, say};

/// Names our echo requests.
const IDENTITY: u16 = 0x5043;
/// What an echo request carries.
const ECHO: &[u8] = b"hello from behind the portcullis";
/// Our ports begin here (RFC 6335, section 6).
const PORTS: u16 = 49_152;
/// How long an answer is waited for at first.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most of an answer that is kept.
const ANSWER_MAX: usize = 1024;
/// Bytes of a datagram of a flood.
const FLOOD: usize = 18;

static PING_BUFFERS: Room<[[u8; 256]; 2]> = Room::new([[0; 256]; 2]);
static PING_PACKETS: Room<[[icmp::PacketMetadata; 2]; 2]> =
    Room::new([[icmp::PacketMetadata::EMPTY; 2]; 2]);
static TCP_BUFFERS: Room<[[u8; 2048]; 2]> = Room::new([[0; 2048]; 2]);
static UDP_BUFFERS: Room<[[u8; 4096]; 2]> = Room::new([[0; 4096]; 2]);
static UDP_PACKETS: Room<[[udp::PacketMetadata; 16]; 2]> =
    Room::new([[udp::PacketMetadata::EMPTY; 16]; 2]);
static ANSWER: Room<[u8; ANSWER_MAX]> = Room::new([0; ANSWER_MAX]);

/// Who calls.
pub struct Caller {
    ping: SocketHandle,
    tcp: SocketHandle,
    udp: SocketHandle,
    /// How long an answer is waited for.
    pub patience: Duration,
    /// Of the last call: a port, or a sequence number.
    number: u16,
    answer: &'static mut [u8; ANSWER_MAX],
    calling: Option<Calling>,
}

/// A call that goes on.
#[derive(Clone, Copy)]
struct Calling {
    call: Call,
    started: Instant,
    /// What was to be said is said.
    said: bool,
    /// Bytes of the answer, or datagrams of a flood.
    count: usize,
}

/// What has come of a call.
enum Outcome {
    /// Nothing yet.
    Open,
    /// It worked.
    Works,
    /// It did not, and why.
    Fails(&'static str),
}

impl Caller {
    /// Somebody who has not called yet.
    pub fn new(sockets: &mut SocketSet<'static>) -> Self {
        let [received, sent] = PING_BUFFERS.take();
        let [come, go] = PING_PACKETS.take();
        let mut ping = icmp::Socket::new(
            icmp::PacketBuffer::new(&mut come[..], &mut received[..]),
            icmp::PacketBuffer::new(&mut go[..], &mut sent[..]),
        );
        ping.bind(icmp::Endpoint::Ident(IDENTITY)).expect("a new socket is free");
        let [received, sent] = TCP_BUFFERS.take();
        let received = tcp::SocketBuffer::new(&mut received[..]);
        let tcp = tcp::Socket::new(received, tcp::SocketBuffer::new(&mut sent[..]));
        let [received, sent] = UDP_BUFFERS.take();
        let [come, go] = UDP_PACKETS.take();
        let udp = udp::Socket::new(
            udp::PacketBuffer::new(&mut come[..], &mut received[..]),
            udp::PacketBuffer::new(&mut go[..], &mut sent[..]),
        );
        Self {
            ping: sockets.add(ping),
            tcp: sockets.add(tcp),
            udp: sockets.add(udp),
            patience: PATIENCE,
            number: 0,
            answer: ANSWER.take(),
            calling: None,
        }
    }

    /// Is a call going on?
    pub fn is_busy(&self) -> bool {
        self.calling.is_some()
    }

    /// When the call that goes on will have lasted too long.
    pub fn end(&self) -> Option<Instant> {
        self.calling.map(|calling| calling.started + self.patience)
    }

    /// Begins a call.
    pub fn call(&mut self, call: Call, stack: &mut Interface, sockets: &mut SocketSet<'_>) {
        // Twice the same port within a minute would meet what is left of the first connection.
        self.number = self.number.wrapping_add(1) % (u16::MAX - PORTS);
        if self.number == 1 {
            self.number += (clock::now_ns() >> 16) as u16 & 0xfff;
        }
        self.calling = Some(Calling { call, started: clock::now(), said: false, count: 0 });
        let port = PORTS + self.number;
        let begun = match call {
            Call::Ping(to) => self.send_ping(to, stack, sockets),
            Call::Tcp(to, _) | Call::Http(to, _) => {
                let socket = sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
                socket.abort();
                socket.connect(stack.context(), to, port).is_ok()
            }
            Call::Udp(..) | Call::Flood(..) => {
                let socket = sockets.get_mut::<udp::Socket<'_>>(self.udp);
                socket.close();
                socket.bind(port).is_ok()
            }
        };
        if !begun {
            self.finish("no-address", false);
        }
    }

    fn send_ping(
        &mut self,
        to: IpAddress,
        stack: &mut Interface,
        sockets: &mut SocketSet<'_>,
    ) -> bool {
        let socket = sockets.get_mut::<icmp::Socket<'_>>(self.ping);
        let (ident, seq_no, data) = (IDENTITY, self.number, ECHO);
        let all = ChecksumCapabilities::default();
        match to {
            IpAddress::Ipv4(_) => {
                let request = Icmpv4Repr::EchoRequest { ident, seq_no, data };
                let packet = socket.send(request.buffer_len(), to);
                packet.map(|packet| request.emit(&mut Icmpv4Packet::new_unchecked(packet), &all))
            }
            IpAddress::Ipv6(address) => {
                let own = stack.get_source_address_ipv6(&address);
                let request = Icmpv6Repr::EchoRequest { ident, seq_no, data };
                let packet = socket.send(request.buffer_len(), to);
                packet.map(|packet| {
                    let packet = &mut Icmpv6Packet::new_unchecked(packet);
                    request.emit(&own, &address, packet, &all);
                })
            }
        }
        .is_ok()
    }

    /// Goes on with a call.
    pub fn go_on(&mut self, sockets: &mut SocketSet<'_>) {
        let Some(mut calling) = self.calling else { return };
        let outcome = match calling.call {
            Call::Ping(_) => self.await_ping(sockets),
            Call::Tcp(_, text) => self.go_on_tcp(&mut calling, text.bytes(), sockets),
            Call::Http(_, path) => self.go_on_http(&mut calling, path.bytes(), sockets),
            Call::Udp(to, text) => self.go_on_udp(&mut calling, to, text.bytes(), sockets),
            Call::Flood(to, count) => self.flood(&mut calling, to, count as usize, sockets),
        };
        self.calling = Some(calling);
        match outcome {
            Outcome::Works => self.finish("", true),
            Outcome::Fails(why) => self.finish(why, false),
            Outcome::Open if clock::now() > calling.started + self.patience => {
                sockets.get_mut::<tcp::Socket<'_>>(self.tcp).abort();
                self.finish("silence", false);
            }
            Outcome::Open => {}
        }
    }

    /// Says what has come of it.
    fn finish(&mut self, why: &str, works: bool) {
        let Some(Calling { call, started, count, .. }) = self.calling.take() else { return };
        let ms = (clock::now() - started).total_millis();
        let answer = Answer { call, bytes: &self.answer[..count.min(ANSWER_MAX)], count };
        if works {
            say!("{call},\"works\":true,\"ms\":{ms}{answer}");
        } else {
            say!("{call},\"works\":false,\"ms\":{ms},\"why\":\"{why}\"");
        }
    }

    fn await_ping(&mut self, sockets: &mut SocketSet<'_>) -> Outcome {
        let socket = sockets.get_mut::<icmp::Socket<'_>>(self.ping);
        while let Ok((packet, _)) = socket.recv() {
            // An echo reply of either family: 0 or 129, and the sequence number (RFC 792, 4443).
            let number = self.number.to_be_bytes();
            if matches!(packet.first(), Some(0 | 129)) && packet.get(6..8) == Some(&number) {
                return Outcome::Works;
            }
        }
        Outcome::Open
    }

    fn go_on_tcp(
        &mut self,
        calling: &mut Calling,
        text: &[u8],
        sockets: &mut SocketSet<'_>,
    ) -> Outcome {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
        if !socket.is_active() {
            return Outcome::Fails("refused");
        }
        if !calling.said && socket.may_send() {
            calling.said = socket.send_slice(text).is_ok();
        }
        calling.count += receive(socket, &mut self.answer[calling.count..]);
        if calling.said && calling.count >= text.len() {
            socket.close();
            return Outcome::Works;
        }
        if calling.said && !socket.may_recv() { Outcome::Fails("closed") } else { Outcome::Open }
    }

    fn go_on_http(
        &mut self,
        calling: &mut Calling,
        path: &[u8],
        sockets: &mut SocketSet<'_>,
    ) -> Outcome {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
        if !socket.is_active() && !calling.said {
            return Outcome::Fails("refused");
        }
        if !calling.said && socket.may_send() {
            let path = core::str::from_utf8(path).unwrap_or_default();
            let path = if path.is_empty() { "/" } else { path };
            calling.said = write!(socket, "GET {path} HTTP/1.0\r\n\r\n").is_ok();
        }
        calling.count += receive(socket, &mut self.answer[calling.count..]);
        if !calling.said || socket.may_recv() && calling.count < ANSWER_MAX {
            return Outcome::Open;
        }
        socket.close();
        let fine = self.answer[..calling.count].starts_with(b"HTTP/1.");
        if fine { Outcome::Works } else { Outcome::Fails("no-answer") }
    }

    fn go_on_udp(
        &mut self,
        calling: &mut Calling,
        to: IpEndpoint,
        text: &[u8],
        sockets: &mut SocketSet<'_>,
    ) -> Outcome {
        let socket = sockets.get_mut::<udp::Socket<'_>>(self.udp);
        if !calling.said {
            let text = if text.is_empty() { ECHO } else { text };
            if socket.send_slice(text, to).is_err() {
                return Outcome::Fails("no-address");
            }
            calling.said = true;
        }
        match socket.recv_slice(&mut self.answer[..]) {
            Ok((length, from)) if from.endpoint == to => {
                calling.count = length;
                Outcome::Works
            }
            _ => Outcome::Open,
        }
    }

    fn flood(
        &mut self,
        calling: &mut Calling,
        to: IpEndpoint,
        count: usize,
        sockets: &mut SocketSet<'_>,
    ) -> Outcome {
        let socket = sockets.get_mut::<udp::Socket<'_>>(self.udp);
        while calling.count < count && socket.can_send() {
            match socket.send(FLOOD, to) {
                Ok(payload) => payload[..8].copy_from_slice(&(calling.count as u64).to_be_bytes()),
                Err(udp::SendError::Unaddressable) => return Outcome::Fails("no-address"),
                // Its bytes are less than its packets: there is room soon.
                Err(_) => break,
            }
            calling.count += 1;
        }
        let sent = calling.count == count && socket.send_queue() == 0;
        if sent { Outcome::Works } else { Outcome::Open }
    }
}

/// What has come, as far as there is room for it.
fn receive(socket: &mut tcp::Socket<'_>, room: &mut [u8]) -> usize {
    if room.is_empty() { 0 } else { socket.recv_slice(room).unwrap_or(0) }
}

/// What a call that worked has brought, as members of a JSON object.
struct Answer<'a> {
    call: Call,
    bytes: &'a [u8],
    count: usize,
}

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.call {
            Call::Ping(_) => Ok(()),
            Call::Tcp(..) | Call::Udp(..) => write!(f, ",\"answer\":\"{}\"", Text(self.bytes)),
            Call::Flood(..) => write!(f, ",\"sent\":{}", self.count),
            Call::Http(..) => {
                let blank = self.bytes.windows(4).position(|four| four == b"\r\n\r\n");
                let body = blank.map_or(&[][..], |at| &self.bytes[at + 4..]);
                // "HTTP/1.0 200 ..."
                let status = self.bytes.get(9..12).unwrap_or_default();
                write!(f, ",\"status\":\"{}\",\"body\":\"{}\"", Text(status), Text(body))
            }
        }
    }
}
