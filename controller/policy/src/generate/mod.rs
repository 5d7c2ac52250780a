//! Random policies and random connections, for tests of everything that must agree with the
//! oracle. The same seed gives the same policy for ever.

mod connections;
mod text;

pub use self::{
    connections::{Connection, Connections},
    text::policy,
};
use crate::{Moment, Sources, diagnostic::Diagnostics, parse};

/// A small generator of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub const fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True once in `n` times.
    pub const fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// How large a policy is to be.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Networks, 1..=200.
    pub networks: usize,
    /// Guests.
    pub guests: usize,
    /// Rules.
    pub rules: usize,
}

/// The present of random policies: of the moments in their `until` some lie before it and some
/// behind it.
pub const NOW_UNIX_S: u64 = 1_800_000_000;

/// A moment for a random policy: at [`NOW_UNIX_S`] about half of its rules with an end have
/// expired. Of those that last for a duration some were applied long ago, some not yet.
pub fn moment(seed: u64, text: &str) -> Moment {
    let sources = Sources::new([("random.yaml", text)]);
    let mut diags = Diagnostics::new(&sources);
    let (model, _) = parse::model(&sources, &Moment::at(NOW_UNIX_S), &mut diags);
    let mut r = Random::new(seed);
    let mut moment = Moment::at(NOW_UNIX_S);
    for (key, now) in model.anchors() {
        if !r.once_in(3) {
            moment.since_unix_s.insert(key, now - r.below(20 * 86_400) as u64);
        }
    }
    moment
}
