//! A machine with a fake kernel, and a daemon on it.

use std::{
    path::PathBuf,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use portcullis::{
    api::{Applied, Failure, Info, Port, Refused, Request, Response, SourceFile, Status},
    client::{self, Client},
    daemon::{
        self, Options,
        actor::{Ended, Pace},
        server::Patience,
    },
    error::Error,
    paths::Paths,
    state::Settings,
};
use portcullis_store::{Memory, Store};
use portcullis_switch::{Gate, PortKind, PortSpec};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::fake::{FakeLauncher, World};

/// A machine: what outlives a daemon.
pub struct Machine {
    folder: TempDir,
    pub world: World,
    pub store: Memory,
    pub settings: Settings,
}

impl Machine {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (world, store) = (World::default(), Memory::new());
        Self { folder, world, store, settings: Settings::default() }
    }

    pub fn paths(&self) -> Paths {
        Paths::new(&self.folder.path().join("run"), &self.folder.path().join("state"))
    }

    pub fn start(&self) -> Daemon {
        self.try_start(self.store.clone()).unwrap()
    }

    pub fn try_start<S: Store + 'static>(&self, store: S) -> Result<Daemon, Error> {
        let mut options = Options::new(self.paths(), self.settings.clone());
        let often = Duration::from_millis(20);
        options.pace = Pace { sweep: often, host: often, events: often, usage: often };
        options.patience =
            Patience { message: Duration::from_millis(300), idle: Duration::from_millis(2000) };
        options.lock_wait = Duration::ZERO;
        let launcher = FakeLauncher(self.world.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = mpsc::channel();
        let paths = self.paths();
        let thread = thread::spawn(move || {
            let stop = async { drop(stopped.await) };
            let ready = |info: &Info| ready.send(info.clone()).unwrap();
            daemon::run(options, launcher, || Ok(store), ready, stop)
        });
        match is_ready.recv() {
            Ok(info) => Ok(Daemon { paths, info, stop: Some(stop), thread: Some(thread) }),
            Err(_) => Err(thread.join().unwrap().unwrap_err()),
        }
    }
}

/// A running daemon; stops when it is dropped.
pub struct Daemon {
    pub paths: Paths,
    pub info: Info,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<Ended, Error>>>,
}

impl Daemon {
    pub fn socket(&self) -> PathBuf {
        self.paths.socket()
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.paths).unwrap()
    }

    pub fn ask(&self, request: &Request) -> Result<Response, Error> {
        client::ask(&self.paths, request)
    }

    pub fn status(&self) -> Status {
        match self.ask(&Request::Status).unwrap() {
            Response::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    pub fn applied_text(&self) -> Option<String> {
        match self.ask(&Request::Policy).unwrap() {
            Response::Policy { sources } => sources.map(|s| s[0].text.clone()),
            other => panic!("{other:?}"),
        }
    }

    pub fn apply(&self, text: &str) -> Result<Applied, ApplyError> {
        self.apply_on(text, None)
    }

    /// For so many seconds, unless it is confirmed.
    pub fn apply_on(&self, text: &str, confirm_s: Option<u32>) -> Result<Applied, ApplyError> {
        let sources = vec![SourceFile { name: "p.yaml".into(), text: text.into() }];
        match self.ask(&Request::Apply { sources, color: false, confirm_s }) {
            Ok(Response::Applied(applied)) => Ok(applied),
            Ok(Response::Refused(refused)) => Err(ApplyError::Refused(refused)),
            Err(Error::Failed(failure)) => Err(ApplyError::Failed(failure)),
            other => panic!("{other:?}"),
        }
    }

    pub fn attach(&self, port: PortSpec) -> Result<Port, Failure> {
        match self.ask(&Request::Attach { port }) {
            Ok(Response::Attached(port)) => Ok(port),
            Err(Error::Failed(failure)) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    pub fn detach(&self, name: &str) -> Result<(), Failure> {
        match self.ask(&Request::Detach { name: name.into() }) {
            Ok(Response::Detached) => Ok(()),
            Err(Error::Failed(failure)) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    /// As SIGTERM does.
    pub fn stop(mut self) -> Ended {
        self.end().unwrap()
    }

    /// Waits for a daemon that ends by itself.
    pub fn wait(mut self) -> Result<Ended, Error> {
        let thread = self.thread.take().unwrap();
        thread.join().unwrap()
    }

    fn end(&mut self) -> Result<Ended, Error> {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.end();
        }
    }
}

#[derive(Debug)]
pub enum ApplyError {
    Refused(Refused),
    Failed(Failure),
}

pub fn tap(name: &str, guest: &str) -> PortSpec {
    let kind = PortKind::Tap { queues: 1 };
    PortSpec { name: name.into(), kind, guest: Some(guest.into()), network: None }
}

pub fn uplink(name: &str, untagged: &str) -> PortSpec {
    let kind =
        PortKind::Uplink { tagged: vec![], untagged: Some(untagged.into()), xdp: Gate::Auto };
    PortSpec { name: name.into(), kind, guest: None, network: None }
}

/// A small policy whose text depends on `n`.
pub fn policy(n: u32) -> String {
    format!(
        "# number {n}\n\
         networks:\n  lan: {{ vlan: 10, subnets: [10.10.0.0/24], gateway: true, kind: lan }}\n\
         guests:\n  pc1: {{ network: lan, ip: 10.10.0.11 }}\n  \
         pc2: {{ network: lan, ip: 10.10.0.12 }}\n\
         rules:\n  - {{ name: web, allow: {{ from: host, to: pc1, for: tcp/{} }} }}\n",
        1000 + n
    )
}
