//! What a user would use instead, what bounds everybody, and Portcullis itself.

mod bridge;
mod portcullis;
mod redirect;
mod router;
mod rules;
mod uplink;

pub use bridge::{Bridge, FilteredBridge};
pub use portcullis::{Policy, Portcullis, Running};
pub use redirect::BareRedirect;
pub use router::Router;
pub use rules::Shape;
pub use uplink::{Programs, Uplink};

use crate::{
    error::Error,
    world::{Medium, World},
    yardstick::Hook,
};

/// Something that forwards between two ports.
pub trait Peer {
    /// Name of its row.
    fn name(&self) -> &'static str;

    /// How many rules it carries; 0 where it decides nothing.
    fn rules(&self) -> u32 {
        0
    }

    /// Is this the project itself? Its readings are set against the bare redirect as well.
    fn is_ours(&self) -> bool {
        false
    }

    /// Where its small frames are forwarded: the bare redirect there is its ceiling.
    fn hook(&self) -> Hook {
        Hook::Tcx
    }

    /// Puts it between two new ports.
    fn build(&self, medium: Medium) -> Result<World, Error>;
}
