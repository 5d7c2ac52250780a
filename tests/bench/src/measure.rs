//! One reading of one path.

use std::time::Duration;

use serde::Serialize;

use crate::{
    error::Error,
    frame::{CONNECTIONS, Direction, Segment, Template},
    generator::{self, BULK_WINDOW, Connections, Limit, WINDOW},
    interrupt::Interrupt,
    iperf,
    netns::on_cpu,
    wire::Wire,
    world::{Attached, Ends, Medium, World},
};

/// The generator's CPU.
const CPU: usize = 0;
/// Flows of the many-flow readings.
pub const MANY_FLOWS: u32 = 10_000;
/// Connections that priming and bulk use; new ones start behind them.
const PRIMED: u32 = MANY_FLOWS;

/// What is measured on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// 64-byte frames of one flow, packets per second.
    OneFlow,
    /// 64-byte frames of 10,000 flows in turn, packets per second.
    ManyFlows,
    /// 64 KB super-packets between taps, Gbit/s.
    Super,
    /// SYNs of connections never seen before, connections per second.
    NewConnections,
    /// One iperf3 stream between guests, Gbit/s.
    Tcp,
}

impl Metric {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 5] =
        [Self::OneFlow, Self::ManyFlows, Self::Super, Self::NewConnections, Self::Tcp];

    /// Head of its column.
    pub const fn title(self) -> &'static str {
        match self {
            Self::OneFlow => "64 B 1 flow kpps",
            Self::ManyFlows => "64 B 10k flows kpps",
            Self::Super => "GSO 64 KB Gbit/s",
            Self::NewConnections => "new conn. k/s",
            Self::Tcp => "TCP Gbit/s",
        }
    }

    /// How often it is read in a round.
    pub const fn readings(self, times: Times) -> u32 {
        match self {
            Self::Tcp => 1,
            // All of them must fit into the flow table of a switch as it comes.
            Self::NewConnections => times.new_readings,
            _ => times.readings,
        }
    }

    /// What it needs on the ports.
    pub const fn medium(self) -> Medium {
        match self {
            Self::Tcp => Medium::Guests,
            _ => Medium::Taps,
        }
    }
}

/// How long things take.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Times {
    /// One generator reading, ms.
    pub reading_ms: u64,
    /// Generator readings of each peer in each round. Short ones, as they alternate with the
    /// yardsticks' and a machine's slow minutes then fall on both.
    pub readings: u32,
    /// Readings with new connections.
    pub new_readings: u32,
    /// One TCP stream, s.
    pub tcp_s: u64,
}

/// One number, and what it cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Value {
    /// Packets or connections per second, or Gbit/s; between taps per CPU second.
    pub value: f64,
    /// Packets per second by the clock on the wall; `None` for iperf3.
    pub wall_rate: Option<f64>,
    /// CPU time of generator and forwarding per packet, ns; `None` for iperf3.
    pub cpu_ns: Option<f64>,
    /// Longest frame that arrived, bytes; `None` for iperf3.
    pub longest: Option<usize>,
}

/// A path that is being measured: which connections are used up already.
pub struct Path {
    world: World,
    next_connection: u32,
    primed: bool,
}

impl Path {
    /// A path nobody has sent anything over.
    pub fn new(world: World) -> Self {
        Self { world, next_connection: PRIMED, primed: false }
    }

    /// Takes one reading.
    pub fn measure(
        &mut self,
        metric: Metric,
        times: Times,
        interrupt: &Interrupt,
    ) -> Result<Value, Error> {
        let ends = self.world.ends;
        match &self.world.attached {
            Attached::Guests(client, server) => {
                let value =
                    iperf::throughput(client, server, ends.server.ip, times.tcp_s, interrupt)?;
                Ok(Value { value, wall_rate: None, cpu_ns: None, longest: None })
            }
            Attached::Taps(client, server) => {
                let wire = Wire { client, server, ends, interrupt };
                let (next, primed) = (&mut self.next_connection, &mut self.primed);
                on_cpu(CPU, || {
                    if !*primed {
                        wire.prime()?;
                        *primed = true;
                    }
                    wire.measure(metric, Duration::from_millis(times.reading_ms), next)
                })
            }
        }
    }
}

impl Path {
    /// `Err` when frames pass that no rule allows: a peer that does not filter is no peer.
    pub fn check_filter(&self) -> Result<(), Error> {
        /// A port that no rule names.
        const DENIED: u16 = 7777;
        const FRAMES: u16 = 64;
        let Attached::Taps(from, to) = &self.world.attached else { return Ok(()) };
        let Ends { client, server } = self.world.ends;
        let mut template = Template::udp(client, server, Direction::Forward);
        let mut sent = 0;
        for i in 0..FRAMES {
            template.set_ports(40_000 + i, DENIED);
            sent += u64::from(from.write(template.with_vnet_header())?);
        }
        // The kernel forwards inside write(2); this is for one that does not.
        std::thread::sleep(Duration::from_millis(5));
        let received = generator::drain(to, server.ip)?;
        if received > 0 { Err(Error::Leaked { sent, received }) } else { Ok(()) }
    }
}

impl Wire<'_> {
    /// Sends one frame of each flow there and back, and shakes hands for the bulk connection, so
    /// that a stateful peer shows its established path.
    fn prime(&self) -> Result<(), Error> {
        let Ends { client, server } = self.ends;
        let flows = Connections { first: 0, count: MANY_FLOWS };
        let one = Connections { first: 0, count: 1 };
        let there = Template::udp(client, server, Direction::Forward);
        let back = Template::udp(server, client, Direction::Reply);
        let tcp = |segment| Template::tcp(client, server, segment);
        for (what, template, connections) in [
            ("a first datagram", there, flows),
            ("an answer", back, flows),
            ("a SYN", tcp(Segment::Syn), one),
            ("a SYN with ACK", tcp(Segment::SynAck), one),
            ("an ACK", tcp(Segment::Ack), one),
        ] {
            let limit = Limit::Frames(connections.count.into());
            self.send(template, connections, WINDOW, limit)?.checked(what)?;
        }
        Ok(())
    }

    fn measure(&self, metric: Metric, time: Duration, next: &mut u32) -> Result<Value, Error> {
        let Ends { client, server } = self.ends;
        let udp = || Template::udp(client, server, Direction::Forward);
        let flows = |count| Connections { first: 0, count };
        let limit = Limit::Time(time);
        let (reading, value) = match metric {
            Metric::OneFlow => {
                let reading = self.send(udp(), flows(1), WINDOW, limit)?.checked("one flow")?;
                (reading, reading.rate())
            }
            Metric::ManyFlows => {
                let reading = self.send(udp(), flows(MANY_FLOWS), WINDOW, limit)?;
                (reading.checked("10,000 flows")?, reading.rate())
            }
            Metric::Super | Metric::Tcp => {
                let template = Template::super_packet(client, server);
                let reading = self.send(template, flows(1), BULK_WINDOW, limit)?;
                (reading.checked("super-packets")?, reading.gigabits())
            }
            Metric::NewConnections => {
                let fresh = Connections { first: *next, count: CONNECTIONS };
                let syn = Template::tcp(client, server, Segment::Syn);
                let reading = self.send(syn, fresh, WINDOW, limit)?;
                *next = next.wrapping_add(reading.sent as u32);
                (reading.checked("new connections")?, reading.rate())
            }
        };
        Ok(Value {
            value,
            wall_rate: Some(reading.wall_rate()),
            cpu_ns: Some(reading.cpu_ns()),
            longest: Some(reading.longest),
        })
    }
}
