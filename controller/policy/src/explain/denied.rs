//! What denied sets say about a question: they go before all rules.

use std::net::IpAddr;

use serde::Serialize;

use super::{Answer, question::Question};
use crate::{
    Compiled,
    compile::{
        actors::Actor,
        space::{Owner, Zone},
    },
    source::Position,
};

/// The place in a denied set that names an address.
#[derive(Clone, Debug, Serialize)]
pub struct DeniedView {
    /// The set.
    pub set: String,
    /// The address of the question.
    pub addr: IpAddr,
    /// What names it.
    pub prefix: String,
    /// Where that stands.
    #[serde(flatten)]
    pub position: Position,
    /// Its line.
    pub excerpt: String,
}

/// Where a denied set names one of the two addresses of a question, if it is about addresses.
pub fn view(compiled: &Compiled, question: &Question) -> Option<DeniedView> {
    let ends = [&question.from, &question.to].into_iter();
    let addr = ends
        .filter_map(|text| text.parse::<IpAddr>().ok())
        .find(|addr| compiled.image.denied.contains((*addr).into()))?;
    let (set, prefix) = compiled.model.denied_by(addr)?;
    let sources = &compiled.model.sources;
    Some(DeniedView {
        set: set.name.clone(),
        addr,
        prefix: prefix.net.to_string(),
        position: sources.position(prefix.span),
        excerpt: sources.excerpt(prefix.span).0.to_owned(),
    })
}

/// The answer where a denied set goes before the rules.
pub fn before(answer: Answer, denied: &DeniedView) -> Answer {
    let Answer { rule, runners_up, .. } = answer;
    let advice = format!(
        "take {} out of the denied set `{}`, at {}",
        denied.addr, denied.set, denied.position
    );
    Answer {
        allowed: false,
        rule: None,
        denied: Some(denied.clone()),
        runners_up: rule.into_iter().chain(runners_up).collect(),
        observed: None,
        advice: vec![advice],
        edits: Vec::new(),
        ..answer
    }
}

/// What is to be said where the question is about the outside, and not about one address of it.
pub fn notes<'a>(
    compiled: &Compiled,
    mut actors: impl Iterator<Item = &'a Actor>,
) -> Option<String> {
    let space = &compiled.build.space;
    let outside = |a: &Actor| {
        space.atoms()[a.atom].owner == Owner::Region && space.zone(a.atom) == Zone::World
    };
    if compiled.image.denied.is_empty() || !actors.any(outside) {
        return None;
    }
    let sets: Vec<&str> = compiled.model.denied.iter().map(|s| s.name.as_str()).collect();
    let (ranges, sets) = (compiled.image.denied.ranges(), sets.join(", "));
    Some(format!("denied before any rule: {ranges} ranges of addresses outside ({sets})"))
}
