//! A part of a policy, read again by itself.

use super::{Builder, Names, addresses::Inventory};
use crate::{
    diagnostic::Diagnostics,
    model::{Model, Service},
    moment::Moment,
    source::Sources,
    yaml::{Node, Value},
};

/// A list of a policy whose items say nothing about other items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Rules,
    Never,
    Always,
}

/// What the rest of the policy says.
pub(crate) struct Rest<'a> {
    pub sources: &'a Sources,
    pub moment: &'a Moment,
    pub names: &'a Names,
    pub services: &'a [Service],
}

/// Reads some items of a section. The model that comes back holds them, their selectors, and
/// nothing else; `None` if this is not a list.
pub(crate) fn part(
    rest: &Rest<'_>,
    section: Section,
    root: &Node,
    diags: &mut Diagnostics,
) -> Option<Model> {
    let Value::List(items) = &root.value else { return None };
    let items: Vec<&Node> = items.iter().collect();
    let model = Model {
        sources: rest.sources.clone(),
        services: rest.services.to_vec(),
        now_unix_s: rest.moment.now_unix_s,
        ..Model::default()
    };
    let mut builder = Builder {
        model,
        names: rest.names.clone(),
        inventory: Inventory::default(),
        pending_labels: Vec::new(),
        moment: rest.moment,
        diags,
    };
    match section {
        Section::Rules => builder.rules(&items),
        Section::Never => builder.invariants(&items, &[]),
        Section::Always => builder.invariants(&[], &items),
    }
    Some(builder.model)
}
