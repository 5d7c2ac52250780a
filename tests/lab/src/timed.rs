//! A flow of numbered datagrams that remembers when each was sent and when it arrived.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{Error, Result, Space, stream::sink};

/// Time between two datagrams.
const PACE: Duration = Duration::from_millis(2);

/// What became of one datagram. Times are nanoseconds since the flow's epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Datagram {
    /// Just before it was given to the sender's stack.
    pub before_ns: u64,
    /// Just after that.
    pub after_ns: u64,
    /// When its first copy was read; `None`: never.
    pub arrived_ns: Option<u64>,
    /// How often it arrived.
    pub copies: u32,
}

/// A running flow between two namespaces, always with the same addresses and ports.
#[derive(Debug)]
pub struct TimedFlow {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    sender: Option<JoinHandle<Vec<(u64, u64)>>>,
    receiver: Option<JoinHandle<Vec<(u64, u64)>>>,
}

impl TimedFlow {
    /// Starts sending from `from` to port `port` of `to` in `at`, until [`Self::finish`].
    pub fn start(epoch: Instant, from: &Space, at: &Space, to: IpAddr, port: u16) -> Result<Self> {
        let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        // Not connected: an ICMP error must not keep the next datagram from being sent.
        let source = from.enter(|| UdpSocket::bind(any).map_err(Error::system("bind")))?;
        let sink = sink(at, SocketAddr::new(to, port))?;
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let sender = thread::spawn({
            let (stop, sent) = (stop.clone(), sent.clone());
            move || send(&source, (to, port).into(), epoch, &stop, &sent)
        });
        let receiver = thread::spawn({
            let stop = stop.clone();
            move || receive(&sink, epoch, &stop)
        });
        Ok(Self { stop, sent, sender: Some(sender), receiver: Some(receiver) })
    }

    /// Datagrams sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it and tells what became of each datagram.
    pub fn finish(mut self) -> Vec<Datagram> {
        self.stop.store(true, Ordering::Relaxed);
        let times = self.sender.take().and_then(|s| s.join().ok()).unwrap_or_default();
        let arrived = self.receiver.take().and_then(|r| r.join().ok()).unwrap_or_default();
        let datagram =
            |(before_ns, after_ns)| Datagram { before_ns, after_ns, ..Datagram::default() };
        let mut all: Vec<Datagram> = times.into_iter().map(datagram).collect();
        for (number, at_ns) in arrived {
            if let Some(datagram) = all.get_mut(number as usize) {
                datagram.copies += 1;
                datagram.arrived_ns.get_or_insert(at_ns);
            }
        }
        all
    }
}

impl Drop for TimedFlow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Nanoseconds since the epoch.
pub fn since(epoch: Instant) -> u64 {
    epoch.elapsed().as_nanos() as u64
}

fn send(
    source: &UdpSocket,
    to: SocketAddr,
    epoch: Instant,
    stop: &AtomicBool,
    sent: &AtomicU64,
) -> Vec<(u64, u64)> {
    let mut times = Vec::new();
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let before_ns = since(epoch);
        if source.send_to(&(times.len() as u64).to_be_bytes(), to).is_ok() {
            times.push((before_ns, since(epoch)));
            sent.store(times.len() as u64, Ordering::Relaxed);
        }
        next += PACE;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    times
}

/// Numbers and times of what arrives, until the flow was stopped and nothing came for a while.
fn receive(sink: &UdpSocket, epoch: Instant, stop: &AtomicBool) -> Vec<(u64, u64)> {
    let mut arrived = Vec::new();
    let mut number = [0; 8];
    loop {
        match sink.recv(&mut number) {
            Ok(8) => arrived.push((u64::from_be_bytes(number), since(epoch))),
            Ok(_) => {}
            Err(_) if stop.load(Ordering::Relaxed) => return arrived,
            Err(_) => {}
        }
    }
}
