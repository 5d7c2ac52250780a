//! One cell of the matrix: a packet of one kind from one station to another, and what became of
//! it.

use std::{
    collections::BTreeMap,
    fmt, io,
    time::{Duration, Instant},
};

use portcullis_lab::{
    end::{Offered, Segments},
    patience,
};

use crate::{
    site::{MTU, Site, Station, VLAN},
    wire::{self, Talk, View, complete, fragments, partial, tagged, untagged},
};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    PartialChecksum,
    Tso,
    Uso,
    OwnTag,
    ForeignTag,
    Jumbo,
    OverMtu,
    Fragments,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Plain,
        Self::PartialChecksum,
        Self::Tso,
        Self::Uso,
        Self::OwnTag,
        Self::ForeignTag,
        Self::Jumbo,
        Self::OverMtu,
        Self::Fragments,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Plain => "complete",
            Self::PartialChecksum => "partial checksum",
            Self::Tso => "TSO, 20,000 bytes",
            Self::Uso => "USO, 20,000 bytes",
            Self::OwnTag => "the network's tag",
            Self::ForeignTag => "a foreign tag",
            Self::Jumbo => "jumbo, 8,000 bytes",
            Self::OverMtu => "above the MTU",
            Self::Fragments => "3 fragments",
        }
    }

    fn size(self) -> usize {
        match self {
            Self::Plain | Self::OwnTag | Self::ForeignTag => 200,
            Self::PartialChecksum => 1_000,
            Self::Tso | Self::Uso => 20_000,
            Self::Jumbo => 8_000,
            Self::OverMtu => MTU + 500,
            Self::Fragments => 3_500,
        }
    }
}

/// Payload of a segment or datagram of those that are to be cut, bytes.
const SEGMENT: u16 = 1_400;
/// The sender's first sequence number, and the receiver's.
const FIRST: (u32, u32) = (1_000, 7_000);
/// The longest wait for something that should come.
const WAIT: Duration = Duration::from_secs(2);
/// Before somebody asks whether it was dropped.
const SOON: Duration = Duration::from_millis(40);

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All of it, with a right checksum, in so many frames; super-packets and checksums left as
    /// they were, or not.
    Arrived { frames: usize, cut: bool, finished: bool },
    /// Nothing of it, and these reasons count one more.
    Dropped(Vec<String>),
    /// The sender's kernel does not know such a packet.
    Unknown,
    /// The sender's kernel does not send it: too large for its interface.
    Refused,
    /// The interface behind the switch counts it as dropped: too large for it.
    DroppedBehind,
    /// Neither.
    Wrong(String),
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arrived { frames: 1, cut: false, finished } => {
                f.write_str(if *finished { "whole" } else { "whole, unfinished" })
            }
            Self::Arrived { frames, .. } => write!(f, "in {frames} frames"),
            Self::Dropped(reasons) => f.write_str(&reasons.join(" ")),
            Self::Unknown => f.write_str("unknown to this kernel"),
            Self::Refused => f.write_str("refused to the sender"),
            Self::DroppedBehind => f.write_str("dropped by the interface"),
            Self::Wrong(what) => write!(f, "WRONG: {what}"),
        }
    }
}

/// Drops at the sender's port by reason, and of the receiver's interface.
type Counts = (BTreeMap<String, u64>, u64);

/// Sends it and looks.
pub struct Cell<'a> {
    pub site: &'a Site,
    pub from: &'a Station,
    pub to: &'a Station,
    pub kind: Kind,
    pub v6: bool,
    /// Nobody else's.
    pub port: u16,
}

impl Cell<'_> {
    pub fn run(&self) -> Fate {
        let talk = Talk::new(self.from.place(self.v6), self.to.place(self.v6), self.port);
        if let Err(what) = self.greet(&talk) {
            return Fate::Wrong(what);
        }
        let payload: Vec<u8> = (0..self.kind.size()).map(|i| (i * 7 + i / 251) as u8).collect();
        let before = (self.reasons(), self.dropped_behind());
        for one in self.offers(&talk, &payload) {
            match self.send(self.from, one) {
                Err(error) if error.raw_os_error() == Some(EINVAL) => return Fate::Unknown,
                Err(error) if error.raw_os_error() == Some(EMSGSIZE) => return Fate::Refused,
                sent => sent.unwrap(),
            }
        }
        self.wait(&talk, &payload, &before)
    }

    /// A first packet in both directions: the connection is open then. TCP shakes hands.
    fn greet(&self, talk: &Talk) -> Result<(), String> {
        let back = talk.back();
        let (a, b) = FIRST;
        let packets = if self.kind == Kind::Tso {
            vec![
                (true, talk.tcp(true, a, None, &[])),
                (false, back.tcp(true, b, Some(a + 1), &[])),
                (true, talk.tcp(false, a + 1, Some(b + 1), &[])),
            ]
        } else {
            vec![(true, talk.udp(b"hello")), (false, back.udp(b"hello"))]
        };
        for (forth, frame) in packets {
            let (from, to) = if forth { (self.from, self.to) } else { (self.to, self.from) };
            let ports = if forth { talk.ports } else { back.ports };
            let one = self.as_sent(from, complete(frame));
            from.end.send(&one).map_err(|error| error.to_string())?;
            let end = Instant::now() + patience::limit(WAIT);
            let is_it = |one: Offered| {
                let view = View::new(&untagged(one).0.frame).and_then(Result::ok)?.ports()?;
                (view == ports).then_some(())
            };
            while !to.end.take().into_iter().any(|one| is_it(one).is_some()) {
                if Instant::now() > end {
                    return Err(format!("no greeting from {}", from.name));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// The frames of it, without tags.
    fn offers(&self, talk: &Talk, payload: &[u8]) -> Vec<Offered> {
        let udp = || talk.udp(payload);
        let whole = |frame: Vec<u8>, segments| {
            let headers = (frame.len() - payload.len()) as u16;
            let mut one = partial(frame);
            one.offload.segments = Some((segments, SEGMENT));
            one.offload.headers = headers;
            one
        };
        match self.kind {
            Kind::Plain | Kind::OwnTag | Kind::ForeignTag | Kind::Jumbo | Kind::OverMtu => {
                vec![complete(udp())]
            }
            Kind::PartialChecksum => vec![partial(udp())],
            Kind::Tso => {
                let (a, b) = FIRST;
                let frame = talk.tcp(false, a + 1, Some(b + 1), payload);
                vec![whole(frame, if self.v6 { Segments::Tcp6 } else { Segments::Tcp4 })]
            }
            Kind::Uso => vec![whole(udp(), Segments::Udp)],
            Kind::Fragments => fragments(&udp(), 1_400).into_iter().map(complete).collect(),
        }
    }

    fn send(&self, from: &Station, one: Offered) -> io::Result<()> {
        let one = match (self.kind, from.uplink) {
            (Kind::ForeignTag, _) => tagged(one, 99),
            (Kind::OwnTag, false) => tagged(one, VLAN),
            _ => self.as_sent(from, one),
        };
        from.end.send(&one)
    }

    /// As it stands on the wire there.
    fn as_sent(&self, from: &Station, one: Offered) -> Offered {
        if from.uplink { tagged(one, VLAN) } else { one }
    }

    /// Waits until all of it has come, or the switch says that it has not let it pass.
    fn wait(&self, talk: &Talk, payload: &[u8], before: &Counts) -> Fate {
        let begin = Instant::now();
        let mut seen = Vec::new();
        loop {
            seen.extend(self.to.end.take());
            match self.judge(talk, payload, &seen) {
                Ok(Some(fate)) => return fate,
                Err(what) => return Fate::Wrong(what),
                Ok(None) => {}
            }
            let waited = begin.elapsed();
            if waited > SOON {
                let more: Vec<String> = self
                    .reasons()
                    .into_iter()
                    .filter(|(reason, n)| *n > before.0.get(reason).copied().unwrap_or(0))
                    .map(|(reason, _)| reason)
                    .collect();
                if !more.is_empty() {
                    return Fate::Dropped(more);
                }
                if self.dropped_behind() > before.1 {
                    return Fate::DroppedBehind;
                }
            }
            if waited > patience::limit(WAIT) {
                return Fate::Wrong(format!("{} frames, and no reason", seen.len()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Frames that the receiver's interface has dropped behind the switch.
    fn dropped_behind(&self) -> u64 {
        let text = self.site.host.space().ip(&format!("-s -j link show {}", self.to.port)).unwrap();
        let links: serde_json::Value = serde_json::from_str(&text).unwrap();
        links[0]["stats64"]["tx"]["dropped"].as_u64().unwrap()
    }

    /// What the sender's port has dropped. At others the stacks of their ends speak for themselves.
    fn reasons(&self) -> BTreeMap<String, u64> {
        let status = self.site.host.status().unwrap();
        let reasons = &status.port(&self.from.port).unwrap()["traffic"]["reasons"];
        let counted = reasons.as_object().into_iter().flatten();
        counted.filter_map(|(reason, n)| Some((reason.clone(), n.as_u64()?))).collect()
    }

    /// What the receiver makes of the frames so far; none if something is still missing.
    fn judge(&self, talk: &Talk, payload: &[u8], seen: &[Offered]) -> Result<Option<Fate>, String> {
        let mut pieces = BTreeMap::new();
        let (mut frames, mut cut, mut finished) = (0, false, true);
        for one in seen {
            let (one, tag) = untagged(one.clone());
            let Some(view) = View::new(&one.frame) else { continue };
            let view = view?;
            let ours = view.ports().map_or(view.fragment.is_some(), |ports| ports == talk.ports);
            if !ours || view.payload() == b"hello" {
                continue;
            }
            if tag != self.to.uplink.then_some(VLAN) {
                return Err(format!("tag {tag:?}"));
            }
            if one.frame[..12] != [talk.to.0, talk.from.0].concat() {
                return Err("other MACs".into());
            }
            frames += 1;
            finished &= one.offload.partial.is_none();
            let (at, bytes) = match view.fragment {
                Some((offset, _)) => (offset, view.bytes()),
                None => {
                    view.check(one.offload.partial)?;
                    let number = view.sequence().unwrap_or(FIRST.0 + 1 + pieces.len() as u32);
                    (number as usize, view.payload())
                }
            };
            let segments = one.offload.segments.map(|(_, size)| size);
            cut |= [Kind::Tso, Kind::Uso].contains(&self.kind) && segments != Some(SEGMENT);
            pieces.insert(at, bytes.to_vec());
        }
        let mut all: Vec<u8> = pieces.into_values().flatten().collect();
        if self.kind == Kind::Fragments && all.len() == payload.len() + 8 {
            let whole = talk.udp(payload);
            if whole[whole.len() - all.len()..] != all {
                return Err("another datagram".into());
            }
            all.drain(..8);
        }
        if all.len() < payload.len() {
            return Ok(None);
        }
        if all != payload {
            return Err("another content".into());
        }
        Ok(Some(Fate::Arrived { frames, cut, finished }))
    }
}

const EINVAL: i32 = 22;
const EMSGSIZE: i32 = 90;

/// What the checksum's arithmetic here is worth: it agrees with that of an independent library.
pub fn self_check() {
    let place = |n: u8| ([2, 0, 0, 0, 0, n], std::net::IpAddr::from([10, 1, 0, n]));
    let talk = Talk::new(place(1), place(2), 9);
    for size in [0, 1, 2, 77, 1_000] {
        let frame = talk.udp(&vec![size as u8; size]);
        let view = View::new(&frame).unwrap().unwrap();
        view.check(None).unwrap();
        let mut wrong = frame.clone();
        wrong[wire::ETHERNET + 20] ^= 1;
        assert!(View::new(&wrong).unwrap().unwrap().check(None).is_err());
    }
}
