//! `services:`, `rules:`, `never:` and `always:`.

use std::collections::HashMap;

use super::{
    Builder, keys,
    names::check_name,
    reader::{self, Table},
};
use crate::{
    catalogue,
    diagnostic::Diagnostic,
    model::{Action, Demand, Invariant, Rule, Service, Term, Tier},
    problem::Problem,
    service,
    source::Span,
    yaml::{Key, Node},
};

const ACTIONS: &[(&str, Action)] =
    &[("allow", Action::Allow), ("deny", Action::Deny), ("pass", Action::Pass)];

/// `from`, `to` and `for` together.
struct Selection {
    from: Vec<Term>,
    to: Vec<Term>,
    services: Vec<Service>,
}

impl Builder<'_> {
    /// One entry of `services:`: literals and built-in names.
    pub fn own_service(&mut self, key: &Key, node: &Node) {
        if !check_name(key, self.diags) {
            return;
        }
        if key.text == "any" || catalogue::find(&key.text).is_some() {
            let problem =
                Problem::DuplicateName { name: key.text.clone(), first: "a built-in service" };
            self.diags.report(problem, key.span);
            return;
        }
        if let Some(first) = self.model.services.iter().find(|s| s.name == key.text) {
            let problem = Problem::DuplicateName { name: key.text.clone(), first: "a service" };
            self.diags.push(Diagnostic::new(problem, key.span).label(first.span, "first here"));
            return;
        }
        let services = self.services(node, "a service", false);
        let ports = services.into_iter().flat_map(|s| s.ports).collect();
        self.model.services.push(Service { name: key.text.clone(), span: key.span, ports });
    }

    /// A list of services. Services of the policy are made of built-in ones and literals.
    pub fn services(&mut self, node: &Node, what: &'static str, with_own: bool) -> Vec<Service> {
        let items = reader::list(node, what, self.diags);
        reader::refuse_empty(node, what, self.diags);
        let mut services = Vec::new();
        for item in items {
            let Some(text) = reader::text(item, "a service", self.diags) else { continue };
            let own: &[Service] = if with_own { &self.model.services } else { &[] };
            let find = |name: &str| own.iter().find(|s| s.name == name).map(|s| s.ports.clone());
            match service::parse(text, find, own.iter().map(|s| s.name.as_str())) {
                Ok(ports) => {
                    services.push(Service { name: text.to_owned(), span: item.span, ports });
                }
                Err(bad) => {
                    let help = match self.names.find(text) {
                        Some(_) => Some(format!(
                            "`{text}` is no service but somebody; that stands in `from` and `to`"
                        )),
                        None if self.model.services.iter().any(|s| s.name == text) => Some(
                            "a service of your own is made of built-in ones and literals".into(),
                        ),
                        None => bad.help,
                    };
                    self.diags.push(Diagnostic::new(bad.problem, item.span).maybe_help(help));
                }
            }
        }
        services
    }

    /// All of `rules:`.
    pub fn rules(&mut self, nodes: &[&Node]) {
        let mut named = HashMap::new();
        for node in nodes {
            let Some(table) = reader::table(node, "a rule", keys::RULE, self.diags) else {
                continue;
            };
            let name = self.name(&table, node.span, "rule", &mut named);
            if let Some(rule) = self.rule(&table, node, name) {
                self.model.rules.push(rule);
            }
        }
    }

    fn rule(&mut self, table: &Table<'_>, rule: &Node, name: String) -> Option<Rule> {
        let span = rule.span;
        let tier = self.tier(table);
        let observe = self.observes(table);
        let log = self.log(table);
        let until = self.until(table, rule);
        let owner = self.remark(table, "owner");
        let ticket = self.remark(table, "ticket");
        let (action, node) = self.action(table, span)?;
        if action == Action::Pass && tier == Tier::Tenant {
            let at = table.key("pass").map_or(span, |k| k.span);
            self.diags
                .push(Diagnostic::new(Problem::PassInTenant {}, at).help("add `tier: platform`"));
        }
        let selection =
            reader::table(node, "a rule's `allow`, `deny` or `pass`", keys::SELECTION, self.diags)
                .map(|inner| self.selection(&inner, node.span, true))?;
        let Selection { from, to, services } = selection;
        Some(Rule {
            name,
            span,
            tier,
            action,
            from,
            to,
            services,
            owner,
            ticket,
            until,
            observe,
            log,
        })
    }

    /// Which of the three, and its selection.
    fn action<'n>(&mut self, table: &Table<'n>, span: Span) -> Option<(Action, &'n Node)> {
        let mut found =
            ACTIONS.iter().filter_map(|&(word, action)| table.get(word).map(|node| (action, node)));
        let first = found.next();
        match (first, found.next()) {
            (None, _) if ACTIONS.iter().any(|(word, _)| table.may_mean(word)) => {}
            (None, _) => {
                let help = "say what it does: `allow: { from: world, to: web, for: https }`";
                self.diags.push(Diagnostic::new(Problem::NoAction {}, span).help(help));
            }
            (Some((first, _)), Some((second, _))) => {
                let problem = Problem::TwoActions { first: first.name(), second: second.name() };
                let at = table.key(second.name()).map_or(span, |k| k.span);
                self.diags
                    .push(Diagnostic::new(problem, at).help("write two rules, each with a name"));
            }
            _ => {}
        }
        first
    }

    fn selection(&mut self, table: &Table<'_>, at: Span, for_needed: bool) -> Selection {
        let mut side = |key: &'static str, what: &'static str| {
            let node = table.need(key, at, self.diags);
            node.map_or_else(Vec::new, |node| self.terms(node, what))
        };
        let from = side("from", "`from`");
        let to = side("to", "`to`");
        let node = if for_needed { table.need("for", at, self.diags) } else { table.get("for") };
        let services = match node {
            Some(node) => self.services(node, "`for`", true),
            None => vec![Service::any(at)],
        };
        Selection { from, to, services }
    }

    /// The name of a rule, an invariant or a published service; each is given once. Without one
    /// it is called after its line.
    pub fn name(
        &mut self,
        table: &Table<'_>,
        span: Span,
        what: &'static str,
        named: &mut HashMap<String, Span>,
    ) -> String {
        let by_line = || format!("{what}-{}", self.model.sources.position(span).line);
        let Some(node) = table.get("name") else { return by_line() };
        let Some(text) = reader::text(node, "`name`", self.diags) else { return by_line() };
        let key = Key { span: node.span, text: text.to_owned() };
        if check_name(&key, self.diags)
            && let Some(first) = named.insert(key.text.clone(), key.span)
        {
            let problem = Problem::DuplicateName {
                name: key.text.clone(),
                first: match what {
                    "rule" => "a rule",
                    "publish" => "a published service",
                    _ => "an invariant",
                },
            };
            self.diags.push(Diagnostic::new(problem, key.span).label(first, "first here"));
        }
        key.text
    }

    /// All of `never:` and `always:`.
    pub fn invariants(&mut self, never: &[&Node], always: &[&Node]) {
        let mut named = HashMap::new();
        let all = never
            .iter()
            .map(|n| (Demand::Never, "never", n))
            .chain(always.iter().map(|n| (Demand::Always, "always", n)));
        for (demand, word, node) in all {
            let Some(table) = reader::table(node, "an invariant", keys::INVARIANT, self.diags)
            else {
                continue;
            };
            let name = self.name(&table, node.span, word, &mut named);
            let Selection { from, to, services } = self.selection(&table, node.span, false);
            let owner = self.remark(&table, "owner");
            let ticket = self.remark(&table, "ticket");
            let span = node.span;
            let invariant = Invariant { name, span, demand, from, to, services, owner, ticket };
            self.model.invariants.push(invariant);
        }
        self.model.invariants.sort_by_key(|i| i.span);
    }
}
