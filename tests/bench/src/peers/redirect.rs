//! A program that decides nothing: the ceiling for every switch at its hook.

use super::Peer;
use crate::{
    error::Error,
    world::{Ends, Medium, PORTS, World, plain_ports},
    yardstick::{Hook, Redirect},
};

/// The bare redirect.
pub struct BareRedirect {
    /// Where the program sits. Guests have no XDP hook: theirs sits at tcx either way.
    pub hook: Hook,
}

impl Peer for BareRedirect {
    fn name(&self) -> &'static str {
        match self.hook {
            Hook::Tcx => "redirect",
            Hook::Xdp => "redirect-xdp",
        }
    }

    fn build(&self, medium: Medium) -> Result<World, Error> {
        let ends = Ends::switched();
        let hook = if medium == Medium::Taps { self.hook } else { Hook::Tcx };
        let (namespace, attached) = plain_ports(medium, &ends)?;
        let redirect = Redirect::between(&namespace, PORTS, hook)?;
        Ok(World { attached, ends, _keep: Box::new(redirect), namespace })
    }
}
