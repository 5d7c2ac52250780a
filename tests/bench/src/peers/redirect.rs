//! A tcx program that decides nothing: the ceiling for every switch at this hook.

use super::Peer;
use crate::{
    error::Error,
    world::{Ends, Medium, PORTS, World, plain_ports},
    yardstick::Redirect,
};

/// The bare redirect.
pub struct BareRedirect;

impl Peer for BareRedirect {
    fn name(&self) -> &'static str {
        "redirect"
    }

    fn build(&self, medium: Medium) -> Result<World, Error> {
        let ends = Ends::switched();
        let (namespace, attached) = plain_ports(medium, &ends)?;
        let redirect = Redirect::between(&namespace, PORTS)?;
        Ok(World { attached, ends, _keep: Box::new(redirect), namespace })
    }
}
