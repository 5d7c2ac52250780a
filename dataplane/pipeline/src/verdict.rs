//! What is to be done with a frame.

use crate::{addr::Mac, reason::DropReason};

/// The answer of [`crate::decide()`] for one frame. A hook turns it into its return code on its
/// last line.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send the frame, already rewritten, out of this port (interface index).
    Forward(u32),
    /// Send a copy to each member of the network that may have it, see [`crate::decide::flood`].
    Flood(Flood),
    /// Turn the frame into this answer and send it back to where it came from.
    Answer(Answer),
    /// Drop it.
    Drop(DropReason),
}

/// A broadcast or multicast inside one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood {
    /// The network.
    pub network: u32,
    /// Where it came from; never sent back there.
    pub ingress: u32,
    /// Identity class of the sender.
    pub class: u32,
    /// Service class.
    pub service: u32,
    /// The generation that judges all copies.
    pub generation: u32,
}

impl Flood {
    /// In [`Flood::service`]: a frame that no rule speaks about. It is for the members with the
    /// MAC that the service's low 16 bits and the class are.
    const BARE: u32 = 1 << 31;

    /// A frame without IP for the members that have this MAC, or for all.
    #[inline(always)]
    pub const fn bare(to: Mac, ingress: u32, network: u32, generation: u32) -> Self {
        let service = Self::BARE | (to.0 >> 32) as u32;
        Self { network, ingress, class: to.0 as u32, service, generation }
    }

    /// Is it such a frame?
    #[inline(always)]
    pub const fn is_bare(&self) -> bool {
        self.service & Self::BARE != 0
    }

    /// Is such a frame for the member with this MAC?
    #[inline(always)]
    pub const fn is_for(&self, mac: Mac) -> bool {
        let to = Mac(((self.service & 0xffff) as u64) << 32 | self.class as u64);
        to.is_group() || to.0 == mac.0
    }
}

/// An answer of the switch itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// ARP reply or neighbour advertisement with this MAC, for the frame's question.
    Neighbour {
        /// The MAC that was asked for.
        mac: u64,
        /// A neighbour advertisement, or an ARP reply?
        v6: bool,
        /// Is it the gateway's?
        router: bool,
        /// VLAN id that the answer is to carry; 0 for none.
        vlan: u32,
    },
    /// An ICMP or ICMPv6 error about the frame.
    Error {
        /// Which one.
        error: IcmpError,
        /// The network that the frame came from: its gateway is the source.
        network: u32,
        /// The generation that knows this network.
        generation: u32,
        /// ICMPv6, or ICMP?
        v6: bool,
        /// VLAN id that the answer is to carry; 0 for none.
        vlan: u32,
    },
    /// What the switch tells the port: see [`crate::notice`].
    Notice(Notice),
}

/// Which notice a port asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// One of [`crate::layout::notice`].
    pub kind: u32,
    /// The network that the question came from.
    pub network: u32,
    /// The generation that answers.
    pub generation: u32,
    /// VLAN id that the answer is to carry; 0 for none.
    pub vlan: u32,
}

/// ICMP errors that the switch sends as a router (RFC 1812, section 4.3; RFC 4443, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Time exceeded in transit / hop limit exceeded.
    TimeExceeded,
    /// Fragmentation needed / packet too big, with the MTU in bytes.
    TooBig(u32),
    /// Destination host unreachable / address unreachable.
    Unreachable,
}
