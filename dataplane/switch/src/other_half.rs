//! The other half of the switch, kept in step: it has the same generation, and serves what is
//! attached.

use crate::{
    Switch,
    error::Result,
    peer::{Peer, PortTold, Refused, Told},
    spec::{Owner, PortKind, PortSpec},
    status::{Direct, VhostStatus},
    switch::Port,
};

impl Switch {
    /// From now on this is the way to the other half.
    pub fn join(&mut self, peer: Box<dyn Peer>) {
        self.peer = Some(peer.into());
    }

    /// Starts the other half again if it has ended, with its ports and what is in force. True: it had
    /// ended.
    pub fn look_after_other_half(&mut self) -> Result<bool> {
        let served = || {
            let there = self.state.ports.iter().filter(|port| port.ifindex != 0);
            there.filter_map(|port| Some((port, owner(&port.spec)?)))
        };
        let Some(peer) = &self.peer else { return Ok(false) };
        if served().next().is_none() {
            return Ok(false);
        }
        let mut peer = peer.borrow_mut();
        if peer.is_there()? {
            match peer.answers() {
                Err(Refused::Gone) => {}
                other => return Ok(other.map(|()| false)?),
            }
        }
        for (port, owner) in served() {
            peer.serve(&port.spec.name, port.ifindex, owner)?;
        }
        drop(peer);
        self.keep_in_step(self.state.generation)?;
        Ok(true)
    }

    /// Has a port served by the other half, if that is its kind.
    pub(crate) fn serve(&self, spec: &PortSpec, ifindex: u32) -> Result<()> {
        match (&self.peer, owner(spec)) {
            (Some(peer), Some(owner)) => {
                let was_there = peer.borrow_mut().is_there()?;
                peer.borrow_mut().serve(&spec.name, ifindex, owner)?;
                // One that was started now has nothing in force yet.
                if was_there { Ok(()) } else { self.keep_in_step(self.state.generation) }
            }
            _ => Ok(()),
        }
    }

    /// Has the other half give a port up, if it has it.
    pub(crate) fn release(&self, port: &str) -> Result<()> {
        match &self.peer {
            Some(peer) => Ok(peer.borrow_mut().release(port)?),
            None => Ok(()),
        }
    }

    /// The other half has a generation ready. One that has ended lets nothing through, and gets it
    /// when it is started again.
    pub(crate) fn prepare_other_half(&self, generation: u32) -> Result<()> {
        let Some(peer) = &self.peer else { return Ok(()) };
        let mut peer = peer.borrow_mut();
        if !peer.is_there()? {
            return Ok(());
        }
        unless_gone(peer.prepare(generation, self.ticks()?))
    }

    /// The other half has it in force.
    pub(crate) fn commit_other_half(&self, generation: u32) -> Result<()> {
        let Some(peer) = &self.peer else { return Ok(()) };
        let mut peer = peer.borrow_mut();
        if !peer.is_there()? {
            return Ok(());
        }
        unless_gone(peer.commit(generation))
    }

    fn keep_in_step(&self, generation: u32) -> Result<()> {
        if generation == 0 {
            return Ok(());
        }
        self.prepare_other_half(generation)?;
        self.commit_other_half(generation)
    }

    /// What has happened in the other half, as far as it says.
    pub(crate) fn told(&self) -> Told {
        self.hear().unwrap_or_default()
    }

    /// The same; `None`: it says nothing.
    pub(crate) fn hear(&self) -> Option<Told> {
        let mut peer = self.peer.as_ref()?.borrow_mut();
        if peer.is_there().unwrap_or(false) { peer.tell() } else { None }
    }

    /// What a port that is served there is besides a port.
    pub(crate) fn vhost_status(&self, port: &Port, told: &Told) -> Option<VhostStatus> {
        let peer = self.peer.as_ref().filter(|_| owner(&port.spec).is_some())?;
        let socket = peer.borrow().socket(&port.spec.name);
        let found = told.ports.iter().find(|told| told.name == port.spec.name);
        let PortTold { connected, features, stopped, no_room, malformed, traffic, .. } =
            found.cloned().unwrap_or_default();
        let word = |at: usize| traffic.get(at).copied().unwrap_or(0);
        let (in_packets, in_bytes, out_packets, out_bytes) = (word(0), word(1), word(2), word(3));
        Some(VhostStatus {
            socket,
            served: found.is_some(),
            connected,
            features,
            stopped,
            no_room,
            malformed,
            direct: Direct { in_packets, in_bytes, out_packets, out_bytes },
        })
    }
}

/// Whose the socket is of a port of the other half; `None`: it is none.
const fn owner(spec: &PortSpec) -> Option<Owner> {
    match spec.kind {
        PortKind::VhostUser { owner } => Some(owner),
        _ => None,
    }
}

fn unless_gone(outcome: std::result::Result<(), Refused>) -> Result<()> {
    match outcome {
        Err(Refused::Gone) => Ok(()),
        other => Ok(other?),
    }
}
