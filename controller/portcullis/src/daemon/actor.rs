//! The one owner of the switch: takes orders from a queue, one after the other, on a thread of
//! its own, because everything it does to the kernel blocks.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use portcullis_host_rules::HostRules;
use portcullis_store::Store;
use portcullis_switch::{Config, PortSpec, StartReport};
use tokio::sync::oneshot;
use vmm_attach::LinkWatch;

use super::{
    clock::Now,
    failure::{host_failure, switch_failure},
    journal::Journal,
    ledger::Ledger,
    log::log,
    ready::Ready,
    trial::Standing,
    waiting::Waiting,
};
use crate::{
    api::{self, EventQuery, Failure, Info, Removed, Response, SourceFile, Started, code},
    dataplane::{DataPlane, Launcher},
    error::Error,
    state::{AppliedPolicy, State},
};

/// What the actor can be asked to do.
#[derive(Debug)]
pub enum Order {
    /// See [`api::Request::Info`].
    Info,
    /// See [`api::Request::Status`].
    Status,
    /// See [`api::Request::Policy`].
    Policy,
    /// Enforce a policy that was compiled.
    Apply(Box<Candidate>),
    /// Say what a policy would change.
    Preview(Box<Preview>),
    /// See [`api::Request::Events`].
    Events(EventQuery),
    /// See [`api::Request::Usage`].
    Usage,
    /// See [`api::Request::Confirm`].
    Confirm,
    /// See [`api::Request::Rollback`].
    Rollback,
    /// See [`api::Request::Attach`].
    Attach(PortSpec),
    /// See [`api::Request::Detach`].
    Detach(String),
    /// See [`api::Request::Down`].
    Down,
}

/// A policy that passed all checks.
#[derive(Debug)]
pub struct Candidate {
    /// Its files.
    pub sources: Vec<SourceFile>,
    /// What the switch gets.
    pub ready: Ready,
    /// How long it waits for a confirmation; `None`: it needs none.
    pub confirm: Option<Duration>,
}

/// A policy that is looked at, and what is known of it.
#[derive(Debug)]
pub struct Preview {
    /// What the switch would get.
    pub ready: Ready,
    /// The policy that it was compared with.
    pub from: Option<Arc<AppliedPolicy>>,
    /// What differs, for people.
    pub rendered: String,
    /// What differs, for programs.
    pub changes: serde_json::Value,
}

/// An order, and where its answer goes.
#[derive(Debug)]
pub struct Job {
    /// What to do.
    pub order: Order,
    /// Where to say what came of it. Nobody may be listening any more.
    pub reply: oneshot::Sender<Response>,
}

/// What stands in the queue.
#[derive(Debug)]
pub enum Message {
    /// An order.
    Job(Job),
    /// Tell the policy in force: what the next one is compiled and compared with.
    Known(oneshot::Sender<Option<Arc<AppliedPolicy>>>),
    /// End, and leave everything in force.
    Stop,
}

/// How the actor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The filters stay in force.
    Stopped,
    /// Everything was removed.
    Removed,
}

/// How often the actor looks after things by itself.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Removal of idle connections.
    pub sweep: Duration,
    /// Change of the host's addresses.
    pub host: Duration,
    /// Events of logged rules, and changes of the host's interfaces.
    pub events: Duration,
    /// What guests have used goes to the store.
    pub usage: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let (sweep, host) = (Duration::from_secs(1), Duration::from_secs(3));
        let (events, usage) = (Duration::from_millis(250), Duration::from_secs(30));
        Self { sweep, host, events, usage }
    }
}

/// What is not as it should be; each topic has its latest news only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    Restore,
    Store,
    HostAddresses,
    Outside,
    Trial,
    Ends,
    Sweep,
    Tune,
    Engine,
    Usage,
    Strangers,
}

/// The policy in force.
pub(super) struct InForce {
    pub(super) policy: Arc<AppliedPolicy>,
    /// What the switch got.
    pub(super) ready: Ready,
    /// When.
    pub(super) clock: Now,
}

/// The owner of the switch. What it does when asked stands in `orders`, what it does by itself
/// in `upkeep`.
pub struct Actor<L: Launcher, S> {
    launcher: L,
    config: Config,
    pub(super) plane: L::Plane,
    pub(super) host_rules: HostRules,
    pub(super) state: State<S>,
    pub(super) info: Info,
    pub(super) ports: Vec<PortSpec>,
    pub(super) waiting: Waiting,
    pub(super) standing: Standing<Arc<AppliedPolicy>>,
    pub(super) in_force: Option<InForce>,
    /// What was in force before, to be dropped when nobody waits for an answer.
    pub(super) past: Option<InForce>,
    pub(super) host: Vec<IpAddr>,
    pub(super) problems: BTreeMap<Topic, String>,
    pub(super) journal: Journal,
    /// `None` until the store has told it: nothing waits for that.
    pub(super) ledger: Option<Ledger>,
    pub(super) pace: Pace,
    /// `None` where the kernel tells nothing of its interfaces; they are looked at each time then.
    pub(super) links: Option<LinkWatch>,
    /// Were ports attached or detached since the interfaces of others were looked at?
    pub(super) ports_changed: bool,
    /// When to try again what the clock demanded and what failed.
    pub(super) retry_at: Instant,
    /// The policy passed all checks at the start, and the kernel refused it.
    pub(super) restore_again: bool,
}

impl<L: Launcher, S: Store> Actor<L, S> {
    /// Starts the switch and restores what the state says. The running filters stay in force
    /// meanwhile; what cannot be restored is told by the status.
    ///
    /// # Errors
    /// The switch cannot be started, or the state cannot be read.
    pub fn start(
        launcher: L,
        config: Config,
        state: State<S>,
        info: Info,
        pace: Pace,
    ) -> Result<Self, Error> {
        let ports = state.ports()?;
        let standing = state.standing()?;
        let started = launcher.start(config.clone());
        let (plane, report) = started.map_err(|error| Error::Failed(switch_failure(&error)))?;
        let host_rules = HostRules::new(host_rules_of(&config));
        let host_rules = host_rules.map_err(|error| Error::Failed(host_failure(&error)))?;
        let mut actor = Self {
            launcher,
            config,
            plane,
            host_rules,
            state,
            info,
            ports,
            waiting: Waiting::new(pace.host),
            standing,
            in_force: None,
            past: None,
            host: Vec::new(),
            problems: BTreeMap::new(),
            journal: Journal::default(),
            ledger: None,
            pace,
            links: LinkWatch::new().ok(),
            ports_changed: true,
            retry_at: Instant::now(),
            restore_again: false,
        };
        actor.host = actor.read_host().unwrap_or_default();
        actor.expect_strangers();
        let restored = actor.restore();
        if restored.is_none() {
            actor.adopt_ports();
        }
        actor.info.start = started_info(&report, restored);
        Ok(actor)
    }

    /// Who the daemon is.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Works until it is told to end.
    pub fn run(mut self, queue: &Receiver<Message>) -> Ended {
        let mut sweep_at = Instant::now() + self.pace.sweep;
        let mut host_at = Instant::now() + self.pace.host;
        let mut events_at = Instant::now() + self.pace.events;
        let mut usage_at = Instant::now() + self.pace.usage;
        loop {
            let next = sweep_at.min(host_at).min(events_at).min(usage_at);
            let wait = next.saturating_duration_since(Instant::now());
            let wait = self.until_lapse().map_or(wait, |lapse| wait.min(lapse));
            match queue.recv_timeout(wait) {
                Ok(Message::Job(Job { order: Order::Down, reply })) => match self.down() {
                    Ok(removed) => {
                        let _ = reply.send(Response::Down(removed));
                        return Ended::Removed;
                    }
                    Err((failure, again)) => {
                        let _ = reply.send(Response::Failed(failure));
                        let Some(actor) = again else { return Ended::Stopped };
                        self = *actor;
                    }
                },
                Ok(Message::Job(Job { order, reply })) => {
                    let _ = reply.send(self.answer(order));
                    self.past = None;
                    self.plane.tidy();
                }
                Ok(Message::Known(reply)) => drop(reply.send(self.standing.policy.clone())),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.note_usage();
                    return Ended::Stopped;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.lapse();
            if Instant::now() >= events_at {
                self.note_events();
                self.watch_for_strangers();
                events_at = Instant::now() + self.pace.events;
            }
            if Instant::now() >= sweep_at {
                self.sweep();
                self.tune();
                self.look_after_engine();
                sweep_at = Instant::now() + self.pace.sweep;
            }
            if Instant::now() >= usage_at {
                self.note_usage();
                usage_at = Instant::now() + self.pace.usage;
            }
            if Instant::now() >= host_at {
                self.refresh_host();
                self.restore_in_time();
                self.look_after_host_rules();
                self.miss();
                self.revive();
                host_at = Instant::now() + self.pace.host;
            }
        }
    }

    fn answer(&mut self, order: Order) -> Response {
        let result = match order {
            Order::Info => Ok(Response::Info(self.info.clone())),
            Order::Status => self.status(),
            Order::Policy => Ok(Response::Policy {
                sources: self.standing.policy.as_ref().map(|p| p.sources.clone()),
            }),
            Order::Apply(candidate) => self.apply(*candidate).map(Response::Applied),
            Order::Preview(preview) => self.preview(*preview),
            Order::Events(query) => self.tell_events(&query),
            Order::Usage => self.usage(),
            Order::Confirm => self.confirm(),
            Order::Rollback => self.rollback().map(Response::RolledBack),
            Order::Attach(port) => self.attach(port).map(Response::Attached),
            Order::Detach(name) => self.detach(&name).map(|()| Response::Detached),
            Order::Down => Err(Failure::new(code::ENDING, "the daemon is ending")),
        };
        result.unwrap_or_else(Response::Failed)
    }

    /// Removes everything. If that fails half way, the switch is started again, so that there
    /// is somebody to ask again; if even that fails, the daemon ends.
    fn down(mut self) -> Result<Removed, (Failure, Option<Box<Self>>)> {
        // Its counters go.
        self.note_usage();
        let Self { launcher, config, plane, state, info, pace, .. } = self;
        drop(plane);
        let rules = portcullis_host_rules::remove(host_rules_of(&config));
        let removed = rules
            .map_err(|error| host_failure(&error))
            .and_then(|()| launcher.remove(&config).map_err(|error| switch_failure(&error)));
        match removed {
            Ok(removed) => {
                log("everything was removed");
                Ok(removed.into())
            }
            Err(failure) => {
                log(format!("down: {}", failure.message));
                let again = Self::start(launcher, config, state, info, pace);
                Err((failure, again.ok().map(Box::new)))
            }
        }
    }

    pub(super) fn problem(&mut self, topic: Topic, text: String) {
        if self.problems.get(&topic) != Some(&text) {
            log(&text);
            self.problems.insert(topic, text);
        }
    }
}

/// Where the host's rules of a switch are noted, and under which name.
pub fn host_rules_of(config: &Config) -> portcullis_host_rules::Config {
    let (run_dir, instance) = (config.run_dir.clone(), config.instance.clone());
    portcullis_host_rules::Config { run_dir, instance }
}

fn started_info(report: &StartReport, restored: Option<u32>) -> Started {
    Started {
        programs: api::word(report.programs),
        filtered: report.filtered.clone(),
        generation: restored.unwrap_or(report.generation),
        notices: report.notices.iter().map(ToString::to_string).collect(),
    }
}
