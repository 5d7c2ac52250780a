//! The pipeline in user space: the same decisions as the eBPF programs', over tables in memory.
//!
//! One [`Engine`] belongs to one thread, which is how a vhost-user port is served: no lock, and
//! no allocation once it is built. It decides for ports whose rings are in user space; to the
//! kernel's switch it is what another host would be.

mod buffer;
mod datagrams;
mod events;
mod flows;
mod guess;
pub mod memory;
mod numbered;
mod prefixes;
mod tables;

use portcullis_pipeline::{
    Answer, DropReason, Frame, Scratch, Tables as _, Verdict, account, answer, decide,
    decide::flood as may_have,
    gate, lane, notice,
    subport::{self, is_subport},
    verdict::Flood,
};

pub use crate::{
    buffer::Buffer,
    flows::{Expected, Flows},
    numbered::Numbered,
    prefixes::Prefixes,
    tables::{Slot, Tables, words},
};

/// A switch in user space.
pub struct Engine {
    /// All state.
    pub tables: Tables,
    scratch: Scratch,
}

impl Engine {
    /// An engine over these tables.
    pub const fn new(tables: Tables) -> Self {
        Self { tables, scratch: Scratch::NEW }
    }

    /// Has fetched what will be asked for when a frame is judged, soon: before others are. Where
    /// that is, for [`Engine::expect`].
    #[inline(always)]
    pub fn fetch<F: Frame>(&self, frame: &F) -> Expected {
        guess::key(frame).map_or_else(Expected::default, |key| self.tables.flows.fetch(&key))
    }

    /// It is the turn of the frame for which this was fetched.
    #[inline(always)]
    pub fn expect(&self, expected: Expected) {
        self.tables.flows.expect(expected);
    }

    /// Decides about a frame from port `ingress`; the verdict before answers and copies.
    pub fn decide<F: Frame>(&mut self, frame: &mut F, ingress: u32) -> Verdict {
        decide(frame, &self.tables, ingress, &mut self.scratch)
    }

    /// What the fast lane makes of a frame from port `ingress`: its egress port, or
    /// [`lane::NOT_HERE`]. The user-space engine needs no lane of its own; this is the program's
    /// twin, for comparison.
    pub fn lane(&mut self, frame: &Buffer, ingress: u32) -> u32 {
        let out = lane::lane(frame, &self.tables, ingress, &mut self.scratch);
        if out != lane::NOT_HERE {
            let own = account::arrived(&self.tables, ingress, frame.length());
            account::forwarded(&self.tables, own, out, frame.length());
        }
        out
    }

    /// What the gate of an uplink makes of a frame from port `ingress`: the twin of its program, as
    /// [`Engine::lane`] is of the lane's.
    pub fn gate(&mut self, frame: &Buffer, ingress: u32) -> Result<u32, DropReason> {
        let out = gate::gate(frame, &self.tables, ingress, &mut self.scratch)?;
        if out != lane::NOT_HERE {
            gate::sent(&self.tables, ingress, out, frame.length(), &mut self.scratch);
        }
        Ok(out)
    }

    /// Decides about a frame from port `ingress` and hands what is to be sent to `send`, with
    /// its port. The verdict is that of [`Engine::decide`].
    pub fn handle(
        &mut self,
        frame: &mut Buffer,
        ingress: u32,
        mut send: impl FnMut(u32, &Buffer),
    ) -> Verdict {
        let verdict = self.decide(frame, ingress);
        match &verdict {
            Verdict::Forward(port) => send(*port, frame),
            Verdict::Drop(_) => {}
            Verdict::Answer(wanted) => {
                if self.answer(frame, wanted) {
                    send(ingress, frame);
                }
            }
            Verdict::Flood(flood) => self.copy(frame, flood, &mut send),
        }
        verdict
    }

    /// The port that the last frame was judged at: its ingress, or a subport of that.
    pub const fn judged_at(&self) -> u32 {
        self.scratch.port
    }

    /// Turns the frame that was judged last into the answer that its verdict asks for. False if
    /// that is not possible.
    pub fn answer(&mut self, frame: &mut Buffer, wanted: &Answer) -> bool {
        let port = self.judged_at();
        let (tables, scratch) = (&self.tables, &mut self.scratch);
        let built = match wanted {
            Answer::Notice(n) => notice::answer(frame, tables, port, n, scratch),
            _ if answer::build(frame, tables, wanted) => Ok(()),
            _ => Err(DropReason::Fault),
        };
        account::answered(tables, port, wanted, built, frame.length());
        built.is_ok()
    }

    /// Hands a copy for each member that may have one to `send`: without a tag first, then with the
    /// network's.
    fn copy(&mut self, frame: &mut Buffer, flood: &Flood, send: &mut impl FnMut(u32, &Buffer)) {
        let (t, slot, bytes) = (&self.tables, flood.generation & 1, frame.length());
        let (mut copies, mut tagged) = (0, false);
        for member in t.members(slot, flood.network) {
            if !may_have(t, flood, *member, bytes) {
                continue;
            }
            if is_subport(*member) && !tagged {
                let vlan = t.network(slot, flood.network).map_or(0, |network| network.vlan);
                tagged = frame.push_tag(vlan as u16);
            }
            if is_subport(*member) != tagged {
                continue;
            }
            send(subport::device(t, slot, *member), frame);
            account::left(t, *member, bytes);
            copies += 1;
        }
        account::copied(t, self.scratch.port, copies);
    }
}
