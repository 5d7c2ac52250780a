//! Services of guests that are reachable at addresses of the host.

use std::{collections::BTreeSet, net::IpAddr};

use super::endpoint::ip;
use crate::{
    Compiled,
    compile::{actors::Actor, space::Zone},
    model::{Ports, Publish},
};

/// At which of the host's addresses what is asked about is published.
pub fn notes<'a>(
    compiled: &Compiled,
    src: impl Iterator<Item = &'a Actor>,
    dst: impl Iterator<Item = &'a Actor>,
    services: &[Ports],
) -> Vec<String> {
    let (mut src, dst) = (src, dst.map(|a| ip(a.addr)).collect::<BTreeSet<_>>());
    if !src.any(|a| compiled.build.space.zone(a.atom) == Zone::World) {
        return Vec::new();
    }
    let about = |p: &&Publish| {
        let asked = |inside: Ports| services.iter().any(|s| s.overlap(&inside).is_some());
        dst.contains(&IpAddr::V4(p.addr)) && p.inside().any(asked)
    };
    let list = |ports: Vec<String>| ports.join(", ");
    let note = |p: &Publish| {
        format!(
            "published at {} {} as `{}` ({}): from there to {} {}",
            p.place(),
            list(p.ports().map(ToString::to_string).collect()),
            p.name,
            compiled.model.sources.position(p.span),
            p.addr,
            list(p.inside().map(|p| p.to_string()).collect()),
        )
    };
    compiled.model.publish.iter().filter(about).map(note).collect()
}
