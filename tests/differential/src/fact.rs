//! What is known of a packet that was made to be sent.

use std::net::IpAddr;

use portcullis_policy::model::{Protocol, Purpose};

/// What the generator knows of an undamaged packet.
#[derive(Clone, Debug)]
pub struct Fact {
    /// Port it is sent from: index into [`crate::world::World::ports`].
    pub port: usize,
    /// Network it is sent in.
    pub network: u32,
    /// Source and destination.
    pub ends: (IpAddr, IpAddr),
    /// Ports or identifiers, source first.
    pub numbers: (u16, u16),
    /// What the rules call it.
    pub service: (Protocol, u16),
    /// IP protocol number.
    pub protocol: u8,
    /// What it is.
    pub role: Role,
    /// Is it a fragment? Its ports are then those of whatever first one came with its number.
    pub fragment: bool,
}

impl Fact {
    /// What the sender would be asking for.
    pub fn purpose(&self) -> Purpose {
        let (protocol, number) = self.service;
        let source = if protocol.has_ports() { self.numbers.0 } else { 0 };
        Purpose { protocol, number, source }
    }

    /// What the receiver asked for, if it was the one that opened the connection.
    pub fn purpose_back(&self) -> Purpose {
        let (protocol, number) = self.service;
        if protocol.has_ports() {
            Purpose { protocol, number: self.numbers.0, source: self.numbers.1 }
        } else {
            Purpose { protocol, number, source: 0 }
        }
    }
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The first packet between these ends for this service, well formed and well addressed.
    Fresh,
    /// Any other packet of these ends.
    Later,
}

/// A packet to send.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The frame.
    pub bytes: Vec<u8>,
    /// Port it is sent from: index into [`crate::world::World::ports`].
    pub port: usize,
    /// What is known of it, if it belongs to a connection.
    pub fact: Option<Fact>,
    /// A shared address that it announces.
    pub announced: Option<IpAddr>,
    /// Was it damaged, or sent from the wrong port? Then the fact is what it was before.
    pub damaged: bool,
}
