//! What the daemon keeps in its store: the applied policy and on which terms, the ports, the
//! settings.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_store::{
    Error, Store, Transaction,
    record::{self, Record},
};
use portcullis_switch::PortSpec;
use serde::{Deserialize, Serialize};

use crate::{
    api::{SourceFile, Usage},
    daemon::{
        ledger::Mark,
        trial::{Standing, Trial},
    },
};

const POLICY: &str = "policy";
const TRIAL: &str = "trial";
const SETTINGS: &str = "settings";
const PORTS: &str = "ports/";
/// By guest and network.
const USAGE: &str = "usage/";
/// By the name that a port had.
const USAGE_MARKS: &str = "usage-marks/";

/// The policy that was applied last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedPolicy {
    /// The generation that it became.
    pub generation: u32,
    /// When, seconds since 1970.
    pub applied_unix_s: u64,
    /// Its files.
    pub sources: Vec<SourceFile>,
    /// Where durations of rules count from, by anchor, seconds since 1970.
    #[serde(default)]
    pub since_unix_s: BTreeMap<String, u64>,
}

impl AppliedPolicy {
    /// Names of its files.
    pub fn files(&self) -> Vec<String> {
        self.sources.iter().map(|source| source.name.clone()).collect()
    }
}

impl Record for AppliedPolicy {
    const KIND: &'static str = "policy";
    const VERSION: u32 = 1;
}

/// A shared policy; as a record it is the policy itself.
type Shared = Arc<AppliedPolicy>;

#[derive(Serialize, Deserialize)]
struct StoredTrial {
    #[serde(flatten)]
    deadline: crate::daemon::clock::Deadline,
    before: Option<AppliedPolicy>,
}

impl Record for StoredTrial {
    const KIND: &'static str = "trial";
    const VERSION: u32 = 1;
}

/// What was said to `up`, for the next time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Connections that the flow table holds.
    pub flows: Option<u32>,
    /// The group that may use the socket besides the owner.
    pub group: Option<String>,
}

impl Record for Settings {
    const KIND: &'static str = "settings";
    const VERSION: u32 = 1;
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Port(PortSpec);

impl Record for Port {
    const KIND: &'static str = "port";
    const VERSION: u32 = 1;
}

/// The state in its store.
#[derive(Debug)]
pub struct State<S> {
    store: S,
}

impl<S: Store> State<S> {
    /// The state in this store.
    pub fn new(store: S) -> Self {
        Self { store }
    }

    /// The applied policy, and on which terms.
    ///
    /// # Errors
    /// The store's.
    pub fn standing(&self) -> Result<Standing<Shared>, Error> {
        let policy = record::get::<AppliedPolicy>(&self.store, POLICY)?;
        let trial = record::get::<StoredTrial>(&self.store, TRIAL)?;
        Ok(Standing {
            policy: policy.map(|(policy, _)| Arc::new(policy)),
            trial: trial.map(|(trial, _)| Trial {
                deadline: trial.deadline,
                before: trial.before.map(Arc::new),
            }),
        })
    }

    /// Remembers the applied policy and its terms, in one step.
    ///
    /// # Errors
    /// The store's.
    pub fn set_standing(&mut self, standing: &Standing<Shared>) -> Result<(), Error> {
        let change = match &standing.policy {
            Some(policy) => Transaction::new().put(POLICY, record::seal(POLICY, &**policy)?),
            None => Transaction::new().delete(POLICY),
        };
        let change = match &standing.trial {
            Some(trial) => {
                let before = trial.before.as_deref().cloned();
                let stored = StoredTrial { deadline: trial.deadline.clone(), before };
                change.put(TRIAL, record::seal(TRIAL, &stored)?)
            }
            None => change.delete(TRIAL),
        };
        self.store.commit(&change).map(drop)
    }

    /// The settings.
    ///
    /// # Errors
    /// The store's.
    pub fn settings(&self) -> Result<Settings, Error> {
        Ok(record::get(&self.store, SETTINGS)?.map_or_else(Settings::default, |(s, _)| s))
    }

    /// Remembers the settings.
    ///
    /// # Errors
    /// The store's.
    pub fn set_settings(&mut self, settings: &Settings) -> Result<(), Error> {
        let value = record::seal(SETTINGS, settings)?;
        self.store.put(SETTINGS, &value).map(drop)
    }

    /// The ports, sorted by name.
    ///
    /// # Errors
    /// The store's.
    pub fn ports(&self) -> Result<Vec<PortSpec>, Error> {
        let ports = record::list::<Port>(&self.store, PORTS)?;
        Ok(ports.into_iter().map(|(_, port)| port.0).collect())
    }

    /// Remembers a port.
    ///
    /// # Errors
    /// The store's.
    pub fn put_port(&mut self, port: &PortSpec) -> Result<(), Error> {
        let key = port_key(&port.name);
        let value = record::seal(&key, &Port(port.clone()))?;
        self.store.put(&key, &value).map(drop)
    }

    /// Forgets a port.
    ///
    /// # Errors
    /// The store's.
    pub fn delete_port(&mut self, name: &str) -> Result<(), Error> {
        self.store.delete(&port_key(name)).map(drop)
    }

    /// What guests have used.
    ///
    /// # Errors
    /// The store's.
    pub fn usage(&self) -> Result<Vec<Usage>, Error> {
        Ok(record::list::<Usage>(&self.store, USAGE)?.into_iter().map(|(_, u)| u).collect())
    }

    /// Up to where the counters of the ports are in it, by the name that each had first.
    ///
    /// # Errors
    /// The store's.
    pub fn usage_marks(&self) -> Result<BTreeMap<String, Mark>, Error> {
        let marks = record::list::<Mark>(&self.store, USAGE_MARKS)?;
        let name = |key: &str| key.strip_prefix(USAGE_MARKS).unwrap_or(key).to_owned();
        Ok(marks.into_iter().map(|(key, mark)| (name(&key), mark)).collect())
    }

    /// Remembers what guests have used together with the marks of their ports, and forgets those
    /// marks that are `old`: in one step, as far as one takes so much.
    ///
    /// # Errors
    /// The store's.
    pub fn put_usage<'a>(
        &mut self,
        usage: impl Iterator<Item = &'a Usage>,
        marks: impl Iterator<Item = (&'a String, &'a Mark)>,
        old: &BTreeSet<String>,
    ) -> Result<(), Error> {
        let mark_key = |port: &String| format!("{USAGE_MARKS}{port}");
        let mut sealed: Vec<_> = old.iter().map(|port| (None, mark_key(port))).collect();
        for one in usage {
            let key = format!("{USAGE}{}/{}", one.guest, one.network);
            sealed.push((Some(record::seal(&key, one)?), key));
        }
        for (port, mark) in marks {
            let key = mark_key(port);
            sealed.push((Some(record::seal(&key, mark)?), key));
        }
        for some in sealed.chunks(portcullis_store::TRANSACTION_MAX) {
            let step = |t: Transaction, (value, key): &(Option<Vec<u8>>, String)| match value {
                Some(value) => t.put(key, value.clone()),
                None => t.delete(key),
            };
            self.store.commit(&some.iter().fold(Transaction::new(), step))?;
        }
        Ok(())
    }

    /// Forgets the policy with its terms, the ports and the settings.
    ///
    /// # Errors
    /// The store's; a part may be forgotten if there are very many ports.
    pub fn forget(&mut self) -> Result<(), Error> {
        let entries = self.store.list("")?.entries;
        for some in entries.chunks(portcullis_store::TRANSACTION_MAX) {
            let delete = some.iter().fold(Transaction::new(), |t, e| t.delete(e.key.as_str()));
            self.store.commit(&delete)?;
        }
        Ok(())
    }
}

fn port_key(name: &str) -> String {
    format!("{PORTS}{name}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis_store::Memory;
    use portcullis_switch::PortKind;

    use super::*;
    use crate::daemon::clock::{Deadline, Now};

    fn port(name: &str) -> PortSpec {
        let kind = PortKind::Tap { queues: 2 };
        PortSpec { name: name.into(), kind, guest: Some("g".into()), network: None }
    }

    #[test]
    fn everything_comes_back_and_can_be_forgotten() {
        let memory = Memory::new();
        let mut state = State::new(memory.clone());
        assert_eq!(state.standing().unwrap(), Standing::settled(None));
        assert_eq!(state.settings().unwrap(), Settings::default());
        let policy = AppliedPolicy {
            generation: 7,
            applied_unix_s: 1,
            sources: vec![SourceFile { name: "a".into(), text: "b".into() }],
            since_unix_s: BTreeMap::from([("debug".into(), 3)]),
        };
        let before = Arc::new(AppliedPolicy { generation: 6, ..policy.clone() });
        let now = Now { unix_ms: 1000, boot_ms: 10, boot: "b".into() };
        let deadline = Deadline::after(Duration::from_secs(9), &now);
        let trial = Some(Trial { deadline, before: Some(before) });
        let standing = Standing { policy: Some(Arc::new(policy)), trial };
        let settings = Settings { flows: Some(5), group: None };
        state.set_standing(&standing).unwrap();
        state.set_settings(&settings).unwrap();
        (0..300).for_each(|i| state.put_port(&port(&format!("p{i:03}"))).unwrap());
        state.delete_port("p000").unwrap();

        let mut again = State::new(memory);
        assert_eq!(again.standing().unwrap(), standing);
        assert_eq!(again.settings().unwrap(), settings);
        let ports = again.ports().unwrap();
        assert_eq!((ports.len(), &ports[0]), (299, &port("p001")));
        let settled = Standing::settled(standing.policy);
        again.set_standing(&settled).unwrap();
        assert_eq!(again.standing().unwrap(), settled);
        again.forget().unwrap();
        assert_eq!(again.standing().unwrap(), Standing::settled(None));
        assert_eq!(again.ports().unwrap().len(), 0);
    }
}
