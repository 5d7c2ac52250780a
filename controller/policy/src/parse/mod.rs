//! Files to a checked [`Model`]: everything that is wrong is collected on the way.

mod addresses;
mod denied;
mod endpoints;
mod guests;
pub(crate) mod keys;
pub mod limits;
mod names;
mod networks;
mod offer;
mod options;
mod part;
mod publish;
mod reader;
mod rules;
mod shared;
#[cfg(test)]
mod tests;
mod trunk;

pub(crate) use names::Names;
pub(crate) use part::{Rest, Section, part};

use crate::{
    diagnostic::Diagnostics,
    include,
    model::{HostAddress, Model},
    moment::Moment,
    parse::addresses::Inventory,
    problem::Problem,
    source::Sources,
    yaml::{self, Key, Node, Value},
};

/// The sections of all files, joined: which file something stands in changes nothing.
#[derive(Default)]
struct Sections<'n> {
    networks: Vec<&'n (Key, Node)>,
    guests: Vec<&'n (Key, Node)>,
    shared: Vec<&'n (Key, Node)>,
    labels: Vec<&'n (Key, Node)>,
    host: Vec<&'n Node>,
    denied: Vec<&'n (Key, Node)>,
    sets: Vec<&'n (Key, Node)>,
    services: Vec<&'n (Key, Node)>,
    rules: Vec<&'n Node>,
    never: Vec<&'n Node>,
    always: Vec<&'n Node>,
    log_denied: Vec<&'n Node>,
    publish: Vec<&'n Node>,
}

/// The state of reading: the model so far, and what is wrong with it.
struct Builder<'a> {
    model: Model,
    names: Names,
    inventory: Inventory,
    /// Labels and the guests that carry them, before they become names.
    pending_labels: Vec<(usize, Key)>,
    moment: &'a Moment,
    diags: &'a mut Diagnostics,
}

/// Reads all files. The model is whole only if `diags` has no errors afterwards. The names are
/// kept: a person may ask about any of them.
pub fn model(sources: &Sources, moment: &Moment, diags: &mut Diagnostics) -> (Model, Names) {
    let policies = (0..).zip(sources.files()).filter(|(_, file)| !file.is_list());
    let roots: Vec<Node> =
        policies.filter_map(|(file, _)| yaml::parse(sources, file, diags)).collect();
    let mut sections = Sections::default();
    for root in &roots {
        sections.add(root, sources, diags);
    }
    let mut builder = Builder {
        model: Model {
            sources: sources.clone(),
            now_unix_s: moment.now_unix_s,
            ..Model::default()
        },
        names: Names::default(),
        inventory: Inventory::default(),
        pending_labels: Vec::new(),
        moment,
        diags,
    };
    builder.build(&sections);
    (builder.model, builder.names)
}

impl<'n> Sections<'n> {
    fn add(&mut self, root: &'n Node, sources: &Sources, diags: &mut Diagnostics) {
        let Some(top) = reader::table(root, "a policy", keys::POLICY, diags) else { return };
        if let Some(node) = top.get(include::KEY) {
            check_included(node, sources, diags);
        }
        let each = |key: &str, what, diags: &mut Diagnostics| match top.get(key) {
            Some(node) => reader::map(node, what, diags),
            None => &[],
        };
        let items = |key: &str, what, diags: &mut Diagnostics| match top.get(key) {
            Some(node) => reader::strict_list(node, what, diags),
            None => &[],
        };
        self.networks.extend(each("networks", "`networks`", diags));
        self.guests.extend(each("guests", "`guests`", diags));
        self.shared.extend(each("shared", "`shared`", diags));
        self.labels.extend(each("labels", "`labels`", diags));
        self.host.extend(top.get("host"));
        self.denied.extend(each("denied", "`denied`", diags));
        self.sets.extend(each("sets", "`sets`", diags));
        self.services.extend(each("services", "`services`", diags));
        self.rules.extend(items("rules", "`rules`", diags));
        self.log_denied.extend(top.get("log-denied"));
        self.never.extend(items("never", "`never`", diags));
        self.always.extend(items("always", "`always`", diags));
        self.publish.extend(items("publish", "`publish`", diags));
    }
}

/// Everything that a file includes is among the files.
fn check_included(node: &Node, sources: &Sources, diags: &mut Diagnostics) {
    for item in reader::list(node, "`include`", diags) {
        let Some(text) = reader::text(item, "an included file", diags) else { continue };
        if !include::is_there(sources, item.span.file, text) {
            let why = "it is not among the files of this policy".to_owned();
            diags.report(Problem::CannotInclude { path: text.to_owned(), why }, item.span);
        }
    }
}

impl Builder<'_> {
    fn build(&mut self, sections: &Sections<'_>) {
        for (key, node) in &sections.networks {
            self.network(key, node);
        }
        self.check_networks();
        let mut drafts: Vec<_> =
            sections.guests.iter().flat_map(|(key, node)| self.guest(key, node)).collect();
        let sharers: Vec<_> =
            sections.shared.iter().map(|(key, node)| self.shared(key, node, &mut drafts)).collect();
        self.declare_labels(&sections.labels);
        self.resolve_sharers(&sharers, &drafts);
        for node in &sections.host {
            self.host(node);
        }
        self.assign_addresses(drafts);
        self.denied(&sections.denied);
        self.declare_sets(&sections.sets);
        for (key, node) in &sections.services {
            self.own_service(key, node);
        }
        self.rules(&sections.rules);
        self.invariants(&sections.never, &sections.always);
        self.log_denied(&sections.log_denied);
        self.publish(&sections.publish);
        if self.model.networks.is_empty() && !self.diags.has_errors() {
            self.diags.report(Problem::NoNetworks {}, Default::default());
        }
    }

    /// `host: { addresses: [...] }`.
    fn host(&mut self, node: &Node) {
        if matches!(node.value, Value::Null) {
            return;
        }
        let Some(table) = reader::table(node, "`host`", keys::HOST, self.diags) else { return };
        let Some(list) = table.get("addresses") else { return };
        for item in reader::list(list, "`addresses`", self.diags) {
            let Some(text) = reader::text(item, "an address", self.diags) else { continue };
            if let Some(addr) = reader::address(text, item.span, self.diags) {
                self.model.host.push(HostAddress { addr, span: item.span });
            }
        }
    }
}
