//! A stream of numbered datagrams: what got lost, to the packet.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use crate::{Error, Result, Space};

/// Bytes of the receiver's queue: seconds, in which a busy machine may not let it read.
const ROOM: usize = 16 << 20;
/// Time between two datagrams: about a thousand a second.
const PACE: Duration = Duration::from_millis(1);

/// A running stream between two namespaces.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    sender: Option<JoinHandle<()>>,
    receiver: Option<JoinHandle<BTreeSet<u64>>>,
}

/// What came of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that arrived, each counted once.
    pub received: u64,
    /// Numbers of those that did not.
    pub missing: Vec<u64>,
    /// Datagrams that the sender's own stack refused to send.
    pub refused: u64,
}

impl Stream {
    /// Starts sending from `from` to `to` in `at`, until [`Self::finish`].
    pub fn start(from: &Space, at: &Space, to: IpAddr, port: u16) -> Result<Self> {
        let any = |v6: bool| if v6 { "[::]:0" } else { "0.0.0.0:0" };
        let socket = from.enter(|| {
            let socket = UdpSocket::bind(any(to.is_ipv6())).map_err(Error::system("bind"))?;
            socket.connect((to, port)).map_err(Error::system("connect"))?;
            Ok(socket)
        })?;
        let sink = sink(at, SocketAddr::new(to, port))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (sent, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let sender = thread::spawn({
            let (stop, sent, refused) = (stop.clone(), sent.clone(), refused.clone());
            move || send(&socket, &stop, &sent, &refused)
        });
        let receiver = thread::spawn({
            let stop = stop.clone();
            move || receive(&sink, &stop)
        });
        Ok(Self { stop, sent, refused, sender: Some(sender), receiver: Some(receiver) })
    }

    /// Datagrams sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it and tells what arrived.
    pub fn finish(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
        let received = self.receiver.take().and_then(|r| r.join().ok()).unwrap_or_default();
        let sent = self.sent();
        Report {
            sent,
            received: received.len() as u64,
            missing: (0..sent).filter(|number| !received.contains(number)).collect(),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A socket that loses nothing while its reader is kept from reading.
pub fn sink(at: &Space, to: SocketAddr) -> Result<UdpSocket> {
    at.enter(|| {
        let sink = UdpSocket::bind(to).map_err(Error::system("bind"))?;
        let wait = Some(Duration::from_millis(100));
        sink.set_read_timeout(wait).map_err(Error::system("SO_RCVTIMEO"))?;
        setsockopt(&sink, RcvBufForce, &ROOM).map_err(Error::system("SO_RCVBUFFORCE"))?;
        Ok(sink)
    })
}

fn send(socket: &UdpSocket, stop: &AtomicBool, sent: &AtomicU64, refused: &AtomicU64) {
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let number = sent.load(Ordering::Relaxed);
        match socket.send(&number.to_be_bytes()) {
            Ok(_) => sent.store(number + 1, Ordering::Relaxed),
            Err(_) => _ = refused.fetch_add(1, Ordering::Relaxed),
        }
        next += PACE;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Reads until the stream was stopped and nothing came for a while.
fn receive(sink: &UdpSocket, stop: &AtomicBool) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    let mut buffer = [0; 64];
    loop {
        match sink.recv(&mut buffer) {
            Ok(8) => {
                let mut number = [0; 8];
                number.copy_from_slice(&buffer[..8]);
                numbers.insert(u64::from_be_bytes(number));
            }
            Ok(_) => {}
            Err(_) if stop.load(Ordering::Relaxed) => return numbers,
            Err(_) => {}
        }
    }
}
