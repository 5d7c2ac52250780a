//! Aliases and IP sets as sets of the policy.

use super::{
    config::{Address, Alias, Config, EntryKind, IpSet, Name, Rule, Scope},
    draft::{Env, Lower},
};
use crate::{
    finding::{Finding, Remark, did_you_mean},
    program::Place,
    ranges::Ranges,
    words::{SetText, Word, show_net},
};

impl<'l> Lower<'l> {
    pub fn address(
        &mut self,
        address: &Address,
        env: Env<'l>,
        rule: &Rule,
        words: &mut Vec<String>,
    ) -> Option<Ranges> {
        let (kind, name) = match address {
            Address::List(list) => {
                let parts = list.iter().map(|(a, b)| Ranges::between(*a, *b));
                let set: Ranges = parts.collect();
                for net in set.prefixes() {
                    let text = show_net(&net);
                    self.words.add(text.clone(), net.into());
                    words.push(text);
                }
                return Some(set);
            }
            Address::Set(name) => ("IP set", name),
            Address::Alias(name) => ("alias", name),
        };
        let found = match address {
            Address::Set(_) => self.find_set(name, env).map(|(set, c)| self.set(set, c)),
            _ => self.find_alias(name, env).map(|(alias, c)| Some(self.alias(alias, c))),
        };
        let Some(found) = found else {
            let remark = Remark::UnknownName { what: kind, name: name.name.clone() };
            let known: Vec<&str> = self
                .scopes(name.scope, env)
                .into_iter()
                .flat_map(|c| {
                    let sets = c.ipsets.iter().map(|s| s.name.as_str());
                    sets.chain(c.aliases.iter().map(|a| a.name.as_str()))
                })
                .collect();
            let help = did_you_mean(&name.name, known.into_iter());
            self.say(rule, remark, help);
            return None;
        };
        let (text, ranges) = found?;
        words.push(text);
        Some(ranges)
    }

    /// Files in which a name is looked for, in order.
    fn scopes(&self, scope: Option<Scope>, env: Env<'l>) -> Vec<&'l Config> {
        let own = match env {
            Env::Guest(config, _) => Some(config),
            Env::Host | Env::Group => None,
        };
        let cluster = self.source.cluster.as_ref();
        match scope {
            Some(Scope::Guest) => own.into_iter().collect(),
            Some(Scope::Datacenter) => cluster.into_iter().collect(),
            None => own.into_iter().chain(cluster).collect(),
        }
    }

    fn find_set(&self, name: &Name, env: Env<'l>) -> Option<(&'l IpSet, &'l Config)> {
        let mut scopes = self.scopes(name.scope, env).into_iter();
        scopes.find_map(|c| Some((c.ipsets.iter().find(|s| s.name == name.name)?, c)))
    }

    fn find_alias(&self, name: &Name, env: Env<'l>) -> Option<(&'l Alias, &'l Config)> {
        let mut scopes = self.scopes(name.scope, env).into_iter();
        scopes.find_map(|c| Some((c.aliases.iter().find(|a| a.name == name.name)?, c)))
    }

    fn wanted_name(&self, name: &str, config: &Config) -> String {
        match self.source.machine(&config.owner) {
            Some(machine) => format!("{}-{name}", machine.name),
            None => name.to_owned(),
        }
    }

    pub fn alias(&mut self, alias: &Alias, config: &Config) -> (String, Ranges) {
        if let Some(known) = self.sets.get(&alias.place) {
            return known.clone();
        }
        let (members, ranges) = (vec![show_net(&alias.net)], Ranges::from(alias.net));
        if !ranges.is_somebody() {
            return (String::new(), Ranges::default());
        }
        let wanted = self.wanted_name(&alias.name, config);
        self.define(&wanted, members, Vec::new(), ranges, &alias.place, &alias.text)
    }

    /// A set: members, and exceptions where the longest entry takes something out.
    pub fn set(&mut self, set: &'l IpSet, config: &'l Config) -> Option<(String, Ranges)> {
        if let Some(known) = self.sets.get(&set.place) {
            return Some(known.clone());
        }
        let mut entries = Vec::new();
        for entry in &set.entries {
            let (net, text) = match &entry.what {
                EntryKind::Net(net) => (*net, show_net(net)),
                EntryKind::Alias(name) => {
                    // A guest's sets see the guest's aliases.
                    let mut scopes = vec![config];
                    scopes.extend(self.source.cluster.as_ref());
                    let all = || scopes.iter().flat_map(|c| c.aliases.iter().map(move |a| (a, *c)));
                    let Some((alias, owner)) = all().find(|(a, _)| a.name == name.name) else {
                        let remark = Remark::UnknownName { what: "alias", name: name.name.clone() };
                        let help = did_you_mean(&name.name, all().map(|(a, _)| a.name.as_str()));
                        let finding = Finding::new(remark, &entry.place, &entry.text);
                        self.findings.push(finding.maybe_help(help));
                        return None;
                    };
                    (alias.net, self.alias(alias, owner).0)
                }
            };
            entries.push((net, text, entry.nomatch));
        }
        // The language names no addresses that nobody can have.
        entries.retain(|(net, ..)| Ranges::from(*net).is_somebody());
        // Shorter prefixes first, so that longer ones have the last word; of equals the one that
        // takes out.
        entries.sort_by_key(|(net, _, nomatch)| (net.prefix_len(), *nomatch));
        let exact = entries.iter().fold(Ranges::default(), |all, (net, _, nomatch)| {
            let part = Ranges::from(*net);
            if *nomatch { all.minus(&part) } else { all.or(&part) }
        });
        let of = |wanted: bool| entries.iter().filter(move |e| e.2 == wanted);
        let all = |wanted| of(wanted).map(|e| Ranges::from(e.0)).collect::<Ranges>();
        let simple = all(false).minus(&all(true)) == exact;
        let (members, except): (Vec<String>, Vec<String>) = match simple {
            true => {
                let texts = |wanted| of(wanted).map(|e| e.1.clone()).collect();
                (texts(false), texts(true))
            }
            false => (exact.prefixes().iter().map(show_net).collect(), Vec::new()),
        };
        for (net, text, _) in &entries {
            self.words.add(text.clone(), (*net).into());
        }
        let wanted = self.wanted_name(&set.name, config);
        if members.is_empty() {
            // An empty set has no name here: nothing is in it.
            return Some((String::new(), Ranges::default()));
        }
        Some(self.define(&wanted, members, except, exact, &set.place, &set.text))
    }

    fn define(
        &mut self,
        wanted: &str,
        members: Vec<String>,
        except: Vec<String>,
        ranges: Ranges,
        place: &Place,
        text: &str,
    ) -> (String, Ranges) {
        let name = self.names.take(wanted, "set");
        let set = SetText { members, except, place: place.clone(), text: text.to_owned() };
        let word =
            Word { text: name.clone(), ranges: ranges.clone(), set: Some(set), particular: true };
        self.words.endpoints.push(word);
        self.sets.insert(place.clone(), (name.clone(), ranges.clone()));
        (name, ranges)
    }
}
