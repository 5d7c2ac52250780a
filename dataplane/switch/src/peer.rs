//! The other half of a switch: a process that serves ports whose rings are in user space. To the
//! kernel's half each of them is a tap, whose other end that process holds.

use std::{io, path::PathBuf};

use portcullis_pipeline::layout::{EventEntry, FlowEntry, FlowKey, PORTS};
use serde::{Deserialize, Serialize};

use crate::{place::table_index, spec::Owner};

pub use crate::{twin::Source, validate::SlotCopy};

/// Why the other half did not do something.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It could not be started.
    #[error("cannot {action} the engine of vhost-user ports: {source}")]
    Start {
        /// What was to be done.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It is not there: its guests are cut off, and nothing passes.
    #[error("the engine of vhost-user ports has ended; it is started again by itself")]
    Gone,
    /// It does not answer.
    #[error(
        "the engine of vhost-user ports, process {pid}, does not answer: its guests may be cut off, and \
         no policy is applied; if it stays so, kill it: it is started again by itself"
    )]
    Silent {
        /// Its number.
        pid: i32,
    },
    /// The tap of a port.
    #[error(transparent)]
    Device(#[from] portcullis_ports::Error),
    /// The socket of a port.
    #[error("the socket {}: {source}{}", path.display(), advice(source))]
    Socket {
        /// Where it is.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It said why.
    #[error("the engine of vhost-user ports refuses: {reason}")]
    Said {
        /// Its words.
        reason: String,
    },
}

/// What to do about a socket that cannot be had.
fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "; somebody listens there: end that, or attach the port under another name"
        }
        io::ErrorKind::AlreadyExists => {
            "; something that is no socket stands there: take it away, or attach the port under \
             another name"
        }
        _ => "",
    }
}

/// The way to it. A half that is not there has no port, and lets nothing through.
pub trait Peer: Send {
    /// Does it run? Finds one that a daemon of before has left.
    ///
    /// # Errors
    /// It is there, and silent.
    fn is_there(&mut self) -> Result<bool, Refused>;

    /// Does it answer?
    ///
    /// # Errors
    /// It does not.
    fn answers(&mut self) -> Result<(), Refused>;

    /// Has a port served whose tap exists, at a socket of `owner`; starts the process if there is
    /// none. Fine if it is served already.
    ///
    /// # Errors
    /// Nobody serves the port.
    fn serve(&mut self, port: &str, ifindex: u32, owner: Owner) -> Result<(), Refused>;

    /// Has a port given up, with its socket. Fine if there is none.
    ///
    /// # Errors
    /// It may still be served.
    fn release(&mut self, port: &str) -> Result<(), Refused>;

    /// Has the slot of a generation read, as it is written now. `ticks`: the packets' clock.
    ///
    /// # Errors
    /// What was in force is in force.
    fn prepare(&mut self, generation: u32, ticks: u64) -> Result<(), Refused>;

    /// Puts the generation in force that was prepared: afterwards no packet is judged by an older
    /// one.
    ///
    /// # Errors
    /// What was in force is in force, unless it is gone.
    fn commit(&mut self, generation: u32) -> Result<(), Refused>;

    /// What has happened there; `None`: it is not there.
    fn tell(&mut self) -> Option<Told>;

    /// What was told about new connections since the last time.
    fn events(&mut self) -> Vec<EventEntry>;

    /// Every running connection.
    fn flows(&mut self) -> Vec<(FlowKey, FlowEntry)>;

    /// Where the front end of a port connects.
    fn socket(&self, port: &str) -> PathBuf;

    /// Ends it.
    fn end(&mut self);
}

/// What has happened in the other half.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The generation in force.
    pub generation: u32,
    /// Its ports.
    pub ports: Vec<PortTold>,
    /// Counters of ports that are gone, as [`PortTold::traffic`].
    pub gone: Vec<u64>,
    /// Frames dropped: place in the port table, number of the reason, frames.
    pub drops: Vec<(u32, u32, u64)>,
    /// Decisions by rule id in this generation.
    pub rules: Vec<(u32, u64)>,
    /// Connections.
    pub flows: u64,
    /// Events for which there was no room.
    pub events_lost: u64,
}

impl Told {
    /// Adds what was counted by one that has ended: of ports that there are still to them, of others
    /// to what is gone.
    pub fn add(&mut self, before: &Self) {
        for past in &before.ports {
            let own = self.ports.iter_mut().find(|port| port.ifindex == past.ifindex);
            add_words(own.map_or(&mut self.gone, |port| &mut port.traffic), &past.traffic);
        }
        add_words(&mut self.gone, &before.gone);
        for (place, reason, frames) in &before.drops {
            let is_there = self.ports.iter().any(|port| table_index(port.ifindex) == *place);
            let place = if is_there { *place } else { PORTS };
            match self.drops.iter_mut().find(|(at, why, _)| (*at, *why) == (place, *reason)) {
                Some((_, _, sum)) => *sum += frames,
                None => self.drops.push((place, *reason, *frames)),
            }
        }
        self.events_lost += before.events_lost;
    }
}

fn add_words(sums: &mut Vec<u64>, words: &[u64]) {
    sums.resize(sums.len().max(words.len()), 0);
    sums.iter_mut().zip(words).for_each(|(sum, word)| *sum += word);
}

/// A port there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortTold {
    /// Its name.
    pub name: String,
    /// Index of its tap.
    pub ifindex: u32,
    /// Is there a front end?
    pub connected: bool,
    /// What it has negotiated.
    pub features: Vec<String>,
    /// The queue that was stopped, and why.
    pub stopped: Option<String>,
    /// Frames for which the guest had no buffers.
    pub no_room: u64,
    /// Frames of the guest that are none.
    pub malformed: u64,
    /// The words of [`Traffic`](portcullis_pipeline::layout::Traffic), in their order.
    pub traffic: Vec<u64>,
    /// Connections that it has opened there.
    pub flows: u64,
    /// Of them, TCP connections that are not established.
    pub half_open: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_that_has_ended_has_counted_stays_counted() {
        let port = |ifindex, n| PortTold { ifindex, traffic: vec![n; 16], ..PortTold::default() };
        let before = Told {
            ports: vec![port(7, 5), port(8, 6)],
            gone: vec![1; 16],
            drops: vec![(7, 3, 2), (8, 3, 4)],
            events_lost: 1,
            ..Told::default()
        };
        let mut now = Told { ports: vec![port(7, 10)], ..Told::default() };
        now.drops.push((7, 3, 1));
        now.add(&before);
        assert_eq!((now.ports[0].traffic[0], now.gone[15]), (15, 7));
        assert_eq!(now.drops, [(7, 3, 3), (PORTS, 3, 4)]);
        assert_eq!(now.events_lost, 1);
    }
}
