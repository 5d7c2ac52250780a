//! A verdict under construction: four plain words.
//!
//! Not the enum itself: what a variant leaves undefined is spilled across helper calls, which
//! the verifier of eBPF refuses ("R1 !read_ok"). The words become a [`Verdict`] at the very end.

use crate::verdict::{Answer, Flood, IcmpError, Notice, Verdict};

const FORWARD: u64 = 0;
const FLOOD: u64 = 1;
const NEIGHBOUR: u64 = 2;
const TIME_EXCEEDED: u64 = 3;
const TOO_BIG: u64 = 4;
const UNREACHABLE: u64 = 5;
const NOTICE: u64 = 6;
/// Where [`crate::account::far`] stands in `extra`.
const FAR_SHIFT: u32 = 32;
const V6: u64 = 1 << 32;
const ROUTER: u64 = 1 << 33;

/// What is to be done with a frame that is not dropped.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Outcome {
    kind: u64,
    /// Port; or generation << 32 | network.
    place: u64,
    /// Class << 32 | service; or the MAC; or the MTU; or the interface.
    value: u64,
    /// Ingress port; or VLAN id and flags, or VLAN id and how far it goes.
    extra: u64,
}

impl Outcome {
    /// Nothing yet.
    pub const NONE: Self = Self { kind: FORWARD, place: 0, value: 0, extra: 0 };

    /// Forward to this port, with this VLAN id if it is not 0. `far`: one of
    /// [`crate::account::far`].
    #[inline(always)]
    pub const fn forward(port: u32, vlan: u32, far: u32) -> Self {
        let extra = (far as u64) << FAR_SHIFT | vlan as u64;
        Self { kind: FORWARD, place: port as u64, value: port as u64, extra }
    }

    /// By this interface, of which the port is only a part.
    #[inline(always)]
    pub const fn by(self, device: u32) -> Self {
        Self { value: device as u64, ..self }
    }

    /// Where the other end of a forwarded frame is: one of [`crate::account::far`].
    #[inline(always)]
    pub const fn far(&self) -> u32 {
        (self.extra >> FAR_SHIFT) as u32
    }

    /// VLAN id that the frame is to get before it is forwarded; 0 for none.
    #[inline(always)]
    pub const fn egress_vlan(&self) -> u16 {
        if self.kind == FORWARD { self.extra as u16 } else { 0 }
    }

    /// Does the frame itself leave by a port?
    #[inline(always)]
    pub const fn leaves(&self) -> bool {
        self.kind == FORWARD
    }

    /// The port that it leaves by, if it does.
    #[inline(always)]
    pub const fn port(&self) -> u32 {
        self.place as u32
    }

    /// Copies to the members of a network.
    #[inline(always)]
    pub const fn flood(f: Flood) -> Self {
        Self {
            kind: FLOOD,
            place: (f.generation as u64) << 32 | f.network as u64,
            value: (f.class as u64) << 32 | f.service as u64,
            extra: f.ingress as u64,
        }
    }

    /// An answer to a question about a neighbour.
    #[inline(always)]
    pub const fn neighbour(mac: u64, v6: bool, router: bool, vlan: u32) -> Self {
        let flags = if v6 { V6 } else { 0 } | if router { ROUTER } else { 0 };
        Self { kind: NEIGHBOUR, place: 0, value: mac, extra: flags | vlan as u64 }
    }

    /// An ICMP error.
    #[inline(always)]
    pub const fn error(
        error: IcmpError,
        generation: u32,
        network: u32,
        v6: bool,
        vlan: u32,
    ) -> Self {
        let (kind, value) = match error {
            IcmpError::TimeExceeded => (TIME_EXCEEDED, 0),
            IcmpError::TooBig(mtu) => (TOO_BIG, mtu as u64),
            IcmpError::Unreachable => (UNREACHABLE, 0),
        };
        let place = (generation as u64) << 32 | network as u64;
        Self { kind, place, value, extra: if v6 { V6 } else { 0 } | vlan as u64 }
    }

    /// What the switch tells the port.
    #[inline(always)]
    pub const fn notice(n: Notice) -> Self {
        let place = (n.generation as u64) << 32 | n.network as u64;
        Self { kind: NOTICE, place, value: n.kind as u64, extra: n.vlan as u64 }
    }

    /// The verdict.
    #[inline(always)]
    pub const fn verdict(&self) -> Verdict {
        let error = match self.kind {
            FORWARD => return Verdict::Forward(self.value as u32),
            FLOOD => {
                return Verdict::Flood(Flood {
                    network: self.place as u32,
                    generation: (self.place >> 32) as u32,
                    class: (self.value >> 32) as u32,
                    service: self.value as u32,
                    ingress: self.extra as u32,
                });
            }
            NEIGHBOUR => {
                return Verdict::Answer(Answer::Neighbour {
                    mac: self.value,
                    v6: self.extra & V6 != 0,
                    router: self.extra & ROUTER != 0,
                    vlan: self.extra as u32,
                });
            }
            NOTICE => {
                return Verdict::Answer(Answer::Notice(Notice {
                    kind: self.value as u32,
                    network: self.place as u32,
                    generation: (self.place >> 32) as u32,
                    vlan: self.extra as u32,
                }));
            }
            TIME_EXCEEDED => IcmpError::TimeExceeded,
            TOO_BIG => IcmpError::TooBig(self.value as u32),
            _ => IcmpError::Unreachable,
        };
        Verdict::Answer(Answer::Error {
            error,
            network: self.place as u32,
            generation: (self.place >> 32) as u32,
            v6: self.extra & V6 != 0,
            vlan: self.extra as u32,
        })
    }
}
