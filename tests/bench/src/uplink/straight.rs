//! What a small datagram of a known connection costs from an uplink to a guest: sent straight by the
//! gate, passed by it to the filter, or by the filter alone. CPU of one core for all of it: the frame
//! is written into the uplink's tap and read from the guest's.

use std::time::Duration;

use portcullis_switch::Gate;

use super::{ends, row};
use crate::{
    error::Error,
    frame::{Direction, Template},
    generator::{Connections, Limit, WINDOW},
    interrupt::Interrupt,
    netns::{Namespace, on_cpu},
    peers::{Policy, Running, Uplink},
    rows::Row,
    wire::Wire,
    world::Ends,
};

const READING: Duration = Duration::from_millis(100);
/// Readings of each in each round.
const READINGS: u32 = 3;
const CPU: usize = 0;

/// One of those side by side.
struct Side {
    what: &'static str,
    uplink: Uplink,
    template: Template,
    /// CPU ns per frame.
    ns: Vec<f64>,
}

/// What a datagram costs each, and a segment of the same size, which no gate sends.
pub fn rows(policy: &Policy, rounds: u32, interrupt: &Interrupt) -> anyhow::Result<Vec<Row>> {
    let mut sides = vec![
        Side::new("the filter", policy, Gate::Off)?,
        Side::new("the gate in the driver", policy, Gate::Native)?,
    ];
    for round in 0..rounds {
        for side in &mut sides {
            eprintln!("round {}/{rounds}: a datagram by {}", round + 1, side.what);
            for _ in 0..READINGS {
                side.read(interrupt)?;
            }
        }
    }
    let rows = sides
        .into_iter()
        .map(|side| row(format!("a datagram of a known connection: {}", side.what), "ns", side.ns));
    rows.collect()
}

impl Side {
    fn new(what: &'static str, policy: &Policy, gate: Gate) -> Result<Self, Error> {
        let uplink = Running::on_uplink(&Namespace::without_ipv6()?, policy, gate)?;
        let Ends { client, server } = ends();
        let template = Template::udp(client, server, Direction::Forward);
        Ok(Self { what, uplink, template, ns: Vec::new() })
    }

    fn read(&mut self, interrupt: &Interrupt) -> Result<(), Error> {
        let Uplink { tap, guest, .. } = &self.uplink;
        let wire = Wire { client: tap, server: guest, ends: ends(), interrupt };
        let send = |limit| {
            wire.send(self.template.clone(), Connections { first: 0, count: 1 }, WINDOW, limit)
        };
        send(Limit::Frames(1))?.checked("a first datagram")?;
        let reading = on_cpu(CPU, || send(Limit::Time(READING)))?.checked("datagrams")?;
        self.ns.push(reading.cpu_ns());
        Ok(())
    }
}
