//! Who holds the shared addresses, by what was announced: no code of the pipeline is asked.

use std::{collections::HashMap, net::IpAddr};

use portcullis_pipeline::{DropReason, Verdict};

use crate::{
    fact::{Fact, Sent},
    world::World,
};

/// The holders as far as they are known.
pub struct Holders<'a> {
    world: &'a World,
    /// By address: the index of the port; `None`: a damaged packet may have changed it.
    known: HashMap<IpAddr, Option<usize>>,
}

impl<'a> Holders<'a> {
    /// Nobody holds anything yet.
    pub fn new(world: &'a World) -> Self {
        Self { world, known: HashMap::new() }
    }

    /// A packet came, and this was decided about it. The error says what is wrong.
    pub fn check(&mut self, sent: &Sent, verdict: &Verdict) -> Result<(), String> {
        if sent.damaged {
            // Perhaps it announces something all the same.
            for shared in self.world.shared.iter().filter(|s| s.ports.contains(&sent.port)) {
                self.known.insert(shared.addr, None);
            }
            return Ok(());
        }
        if let Some(addr) = sent.announced {
            return self.announced(addr, sent.port, verdict);
        }
        sent.fact.as_ref().map_or(Ok(()), |fact| self.passed(fact, verdict))
    }

    fn announced(&mut self, addr: IpAddr, port: usize, verdict: &Verdict) -> Result<(), String> {
        let may = self.world.shared(addr).is_some_and(|s| s.ports.contains(&port));
        match verdict {
            Verdict::Drop(DropReason::Absorbed) if may => {
                // What has one MAC moves together.
                let mac = self.world.shared(addr).map(|s| (s.mac, s.network));
                let same = self.world.shared.iter().filter(|s| Some((s.mac, s.network)) == mac);
                self.known.extend(same.map(|s| (s.addr, Some(port))));
                Ok(())
            }
            Verdict::Drop(DropReason::LimitNeighbour) => Ok(()),
            Verdict::Drop(DropReason::SpoofedNeighbour | DropReason::SpoofedAddress) if !may => {
                Ok(())
            }
            _ => Err(format!("{addr} is announced by port {port}, which may have it: {may}")),
        }
    }

    /// What passes comes from the holder and goes to the holder.
    fn passed(&self, fact: &Fact, verdict: &Verdict) -> Result<(), String> {
        let Verdict::Forward(to) = verdict else { return Ok(()) };
        let (src, dst) = fact.ends;
        let holds = self.holder(src) == Some(fact.port);
        if self.world.shared(src).is_some() && self.is_known(src) && !holds {
            return Err(format!("port {} sends from {src} and does not hold it", fact.port));
        }
        let holder = self.holder(dst).map(|port| self.world.ports[port].ifindex);
        if self.world.shared(dst).is_some() && self.is_known(dst) && holder != Some(*to) {
            return Err(format!("{dst} is held by {holder:?}"));
        }
        Ok(())
    }

    fn is_known(&self, addr: IpAddr) -> bool {
        !matches!(self.known.get(&addr), Some(None))
    }

    fn holder(&self, addr: IpAddr) -> Option<usize> {
        self.known.get(&addr).copied().flatten()
    }
}
