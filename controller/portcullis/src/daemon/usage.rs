//! What guests have used: looked at now and then, before the ports become others', and when somebody
//! asks. See [`super::ledger`].

use std::collections::BTreeSet;

use portcullis_image::Image;
use portcullis_store::Store;

use super::{
    actor::{Actor, Topic},
    clock::Now,
    failure::switch_failure,
    ledger::Ledger,
};
use crate::{
    api::{Failure, Response, code},
    dataplane::{DataPlane, Launcher},
};

impl<L: Launcher, S: Store> Actor<L, S> {
    /// Adds the counters up. What cannot be stored now is stored the next time.
    pub(super) fn note_usage(&mut self) {
        if let Err(failure) = self.account() {
            let text = format!("the guests' usage is not noted: {}", failure.message);
            return self.problem(Topic::Usage, text);
        }
        let Some(ledger) = &mut self.ledger else { return };
        match ledger.store(&mut self.state) {
            Ok(()) => drop(self.problems.remove(&Topic::Usage)),
            Err(error) => {
                self.problem(Topic::Usage, format!("the guests' usage cannot be stored: {error}"));
            }
        }
    }

    /// Notes what guests have used, where with this image counters are somebody else's, or nobody's:
    /// afterwards what they have gained is his.
    pub(super) fn note_before(&mut self, next: &Image) {
        let Some(before) = self.in_force.as_ref().map(|f| &f.ready.image) else { return };
        let kept: BTreeSet<_> = seats(next).collect();
        if seats(before).any(|seat| !kept.contains(&seat)) {
            self.note_usage();
        }
    }

    /// What every guest has used, up to this moment.
    pub(super) fn usage(&mut self) -> Result<Response, Failure> {
        self.account()?;
        let usage = self.ledger.iter().flat_map(Ledger::sums).cloned().collect();
        Ok(Response::Usage { usage })
    }

    /// Brings the ledger up to this moment, in memory.
    fn account(&mut self) -> Result<(), Failure> {
        let counters = self.plane.counters().map_err(|error| switch_failure(&error))?;
        let ledger = match self.ledger.take() {
            Some(ledger) => ledger,
            None => Ledger::load(&self.state)
                .map_err(|error| Failure::new(code::STORE, error.to_string()))?,
        };
        self.ledger.insert(ledger).look(&counters, &Now::read());
        Ok(())
    }
}

/// Whose the counters are that an image knows: guest and network, by VLAN id and, of a trunk, its number
/// and whether there is a tag.
fn seats(image: &Image) -> impl Iterator<Item = (&str, &str, u16, Option<(u32, bool)>)> {
    image.nics.iter().map(|nic| {
        let network = image.network(nic.network);
        let (name, vlan) = network.map_or(("", 0), |network| (network.name.as_str(), network.vlan));
        (nic.guest.as_str(), name, vlan, nic.trunk.map(|trunk| (trunk.number, trunk.tagged)))
    })
}
