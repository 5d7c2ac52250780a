//! Peers side by side: every reading right after one of the bare bridge, in rotating order.

use std::time::Instant;

use crate::{
    error::Error,
    interrupt::Interrupt,
    machine::Others,
    measure::{Metric, Path, Times},
    peers::{BareRedirect, Bridge, Peer},
    progress::Progress,
    results::{Failure, PeerResult, Sample},
    world::Medium,
    yardstick::Hook,
};

/// How a run is taken.
pub struct Run<'a> {
    /// Rounds.
    pub rounds: u32,
    /// How long readings take.
    pub times: Times,
    /// Who takes part.
    pub peers: &'a [Box<dyn Peer>],
    /// Asked between any two frames.
    pub interrupt: &'a Interrupt,
}

impl Run<'_> {
    /// Steps that [`Self::measure`] reports.
    pub fn steps(&self) -> usize {
        self.rounds as usize * self.peers.len() * Medium::ALL.len()
    }

    /// Measures everybody in every round.
    pub fn measure(
        &self,
        progress: &mut Progress,
        others: &mut Others,
    ) -> Result<Vec<PeerResult>, Error> {
        let mut results: Vec<PeerResult> = self.peers.iter().map(|p| blank(p.as_ref())).collect();
        for round in 0..self.rounds {
            for medium in Medium::ALL {
                let mut yardsticks = Yardsticks {
                    bridge: Path::new(Bridge.build(medium)?),
                    redirect: Path::new(BareRedirect { hook: Hook::Tcx }.build(medium)?),
                    redirect_xdp: Path::new(BareRedirect { hook: Hook::Xdp }.build(medium)?),
                };
                for turn in 0..self.peers.len() {
                    // Nobody always comes after the same one.
                    let who = (turn + round as usize) % self.peers.len();
                    let peer = self.peers[who].as_ref();
                    progress.step(format_args!(
                        "round {}/{}: {} on {}",
                        round + 1,
                        self.rounds,
                        title(peer),
                        medium.name()
                    ));
                    self.visit(peer, round, medium, &mut yardsticks, &mut results[who])?;
                    others.mark()?;
                }
            }
        }
        Ok(results)
    }

    /// All readings of one peer on one medium.
    fn visit(
        &self,
        peer: &dyn Peer,
        round: u32,
        medium: Medium,
        yardsticks: &mut Yardsticks,
        result: &mut PeerResult,
    ) -> Result<(), Error> {
        let start = Instant::now();
        let mut path = match build(peer, medium) {
            Ok(path) => path,
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                let metrics = Metric::ALL.into_iter().filter(|m| m.medium() == medium);
                result.failures.extend(metrics.map(|m| failure(m, &error)));
                return Ok(());
            }
        };
        result.setup_ms.push(start.elapsed().as_secs_f64() * 1e3);
        for metric in Metric::ALL.into_iter().filter(|m| m.medium() == medium) {
            for _ in 0..metric.readings(self.times) {
                match self.read(metric, peer, &mut path, yardsticks) {
                    Ok(sample) => result.samples.push(Sample { round, ..sample }),
                    Err(Error::Interrupted) => return Err(Error::Interrupted),
                    // One peer that cannot do something does not end the run of the others.
                    Err(error) => {
                        result.failures.push(failure(metric, &error));
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// One reading of each yardstick and of the peer.
    fn read(
        &self,
        metric: Metric,
        peer: &dyn Peer,
        path: &mut Path,
        yardsticks: &mut Yardsticks,
    ) -> Result<Sample, Error> {
        let read = |path: &mut Path| path.measure(metric, self.times, self.interrupt);
        let bridge = read(&mut yardsticks.bridge)?.value;
        let redirect = match (peer.is_ours(), peer.hook()) {
            (false, _) => None,
            // XDP forwards no super-packet: those go by tcx whatever there is besides.
            (true, Hook::Xdp) if metric != Metric::Super => Some(&mut yardsticks.redirect_xdp),
            (true, _) => Some(&mut yardsticks.redirect),
        };
        let redirect = redirect.map(read).transpose()?.map(|reading| reading.value);
        Ok(Sample { metric, round: 0, value: read(path)?, bridge, redirect })
    }
}

/// A peer, ready, and known to drop what its rules do not allow.
fn build(peer: &dyn Peer, medium: Medium) -> Result<Path, Error> {
    let path = Path::new(peer.build(medium)?);
    if peer.rules() > 0 {
        path.check_filter()?;
    }
    Ok(path)
}

/// What every reading is set against.
struct Yardsticks {
    bridge: Path,
    redirect: Path,
    redirect_xdp: Path,
}

fn blank(peer: &dyn Peer) -> PeerResult {
    PeerResult {
        name: peer.name().to_owned(),
        rules: peer.rules(),
        ours: peer.is_ours(),
        ..PeerResult::default()
    }
}

fn failure(metric: Metric, error: &Error) -> Failure {
    Failure { metric, reason: error.to_string() }
}

fn title(peer: &dyn Peer) -> String {
    match peer.rules() {
        0 => peer.name().to_owned(),
        rules => format!("{} with {rules} rules", peer.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        peers::{Policy, Portcullis},
        scratch,
        world::Topology,
    };

    const TIMES: Times = Times { reading_ms: 5, readings: 1, new_readings: 1, tcp_s: 1 };

    fn measures_everything_on_taps(peer: &dyn Peer) {
        let mut path = build(peer, Medium::Taps).unwrap();
        for metric in Metric::ALL.into_iter().filter(|m| m.medium() == Medium::Taps) {
            let value = path.measure(metric, TIMES, &Interrupt::default()).unwrap();
            assert!(value.value > 0.0, "{metric:?}");
            let whole = value.longest.is_some_and(|longest| longest > 1514);
            assert_eq!(whole, metric == Metric::Super, "{metric:?} {value:?}");
        }
    }

    #[test]
    fn a_bridge_forwards_and_does_not_filter() {
        measures_everything_on_taps(&Bridge);
        let path = Path::new(Bridge.build(Medium::Taps).unwrap());
        assert!(matches!(path.check_filter(), Err(Error::Leaked { sent: 64, received: 64 })));
    }

    #[test]
    fn a_redirect_forwards() {
        measures_everything_on_taps(&BareRedirect { hook: Hook::Tcx });
    }

    #[test]
    fn portcullis_forwards_and_filters() {
        // This thread's own mounts, and those of the threads that it starts.
        scratch::enter().unwrap();
        for topology in [Topology::Switched, Topology::Routed] {
            let policy = Policy::compile(10, topology).unwrap();
            measures_everything_on_taps(&Portcullis { policy, lane: false });
        }
    }
}
