//! What somebody types: one order on a line.

use core::fmt;

use smoltcp::wire::{EthernetAddress, IpAddress, IpEndpoint, Ipv4Address};

/// Longest text of an order.
const SHORT_MAX: usize = 128;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// Call somebody, and say what comes of it.
    Call(Call),
    /// Send one frame that claims what is not so.
    Spoof(Lie),
    /// How long to wait for an answer from now on, ms.
    Wait(u64),
    /// Hear nothing and say nothing, or do again.
    Silent(bool),
    /// Say who it is, and what it has seen.
    Status,
    /// End.
    Off,
    /// Begin anew.
    Reboot,
}

/// Whom to call, and how.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// One echo request.
    Ping(IpAddress),
    /// A connection, and an echo of the text, if there is one.
    Tcp(IpEndpoint, Short),
    /// A datagram with this text, and an answer to it.
    Udp(IpEndpoint, Short),
    /// A page of a web server.
    Http(IpEndpoint, Short),
    /// So many datagrams that nobody answers.
    Flood(IpEndpoint, u32),
}

impl Call {
    /// Who is called.
    pub fn to(&self) -> IpAddress {
        match self {
            Self::Ping(to) => *to,
            Self::Tcp(to, _) | Self::Udp(to, _) | Self::Http(to, _) | Self::Flood(to, _) => to.addr,
        }
    }
}

/// A text that is kept with its order; what is too long for it is cut.
#[derive(Clone, Copy, Debug)]
pub struct Short {
    bytes: [u8; SHORT_MAX],
    length: usize,
}

impl Short {
    fn new(text: &str) -> Self {
        let length = text.len().min(SHORT_MAX);
        let mut bytes = [0; SHORT_MAX];
        bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        Self { bytes, length }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What a frame claims.
#[derive(Clone, Copy, Debug)]
pub enum Lie {
    /// To come from this MAC; it goes to an address.
    Mac(EthernetAddress, IpAddress),
    /// To come from the first address; it goes to the second.
    Address(IpAddress, IpAddress),
    /// That this address is ours, to everybody, by ARP.
    Arp(Ipv4Address),
}

/// All orders, for whoever gives another one.
pub const ORDERS: &str = "ping ADDRESS, tcp ADDRESS PORT [TEXT], udp ADDRESS PORT [TEXT], http ADDRESS \
    [PATH], flood ADDRESS PORT COUNT, spoof mac MAC TO, spoof ip FROM TO, spoof arp ADDRESS, wait MS, \
    silent on|off, status, off, reboot";

impl Order {
    /// Reads a line.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let mut word = || words.next().unwrap_or_default();
        let first = word();
        let order = match first {
            "ping" => Self::Call(Call::Ping(word().parse().ok()?)),
            "tcp" => Self::Call(Call::Tcp(endpoint(word(), word())?, Short::new(word()))),
            "udp" => Self::Call(Call::Udp(endpoint(word(), word())?, Short::new(word()))),
            "http" => Self::Call(Call::Http(endpoint(word(), "80")?, Short::new(word()))),
            "flood" => Self::Call(Call::Flood(endpoint(word(), word())?, word().parse().ok()?)),
            "spoof" => Self::Spoof(Lie::parse(word(), word(), word())?),
            "wait" => Self::Wait(word().parse().ok()?),
            "silent" => Self::Silent(match word() {
                "on" => true,
                "off" => false,
                _ => return None,
            }),
            "status" => Self::Status,
            "off" => Self::Off,
            "reboot" => Self::Reboot,
            _ => return None,
        };
        words.next().is_none().then_some(order)
    }
}

impl Lie {
    fn parse(kind: &str, first: &str, second: &str) -> Option<Self> {
        match kind {
            "mac" => Some(Self::Mac(first.parse().ok()?, second.parse().ok()?)),
            "ip" => {
                let (from, to): (IpAddress, _) = (first.parse().ok()?, second.parse().ok()?);
                (from.version() == IpAddress::version(&to)).then_some(Self::Address(from, to))
            }
            "arp" if second.is_empty() => Some(Self::Arp(first.parse().ok()?)),
            _ => None,
        }
    }
}

fn endpoint(address: &str, port: &str) -> Option<IpEndpoint> {
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some(IpEndpoint::new(address.parse().ok()?, port))
}

/// As members of an answer.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (order, to) = match self {
            Self::Ping(to) => return write!(f, "\"order\":\"ping\",\"to\":\"{to}\""),
            Self::Tcp(to, _) => ("tcp", to),
            Self::Udp(to, _) => ("udp", to),
            Self::Http(to, _) => ("http", to),
            Self::Flood(to, _) => ("flood", to),
        };
        write!(f, "\"order\":\"{order}\",\"to\":\"{}\",\"port\":{}", to.addr, to.port)
    }
}
