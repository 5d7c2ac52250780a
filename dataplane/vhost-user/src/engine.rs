//! The engine's process: takes orders of the daemon at a socket, and goes on without one.

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use portcullis_engine::{Slot, words};
use portcullis_pipeline::{Tables as _, layout::FlowSide};
use portcullis_switch::{
    Owner,
    peer::{PortTold, Source, Told},
};
use zerocopy::IntoBytes;

use crate::{
    bell::Ringer,
    carrier::{self, Carrier, Desk},
    client::control_of,
    clock::{Clock, since_boot_ns},
    door::Door,
    fault,
    features::Features,
    mailbox::Ended,
    message::{Answer, Ask, LANGUAGE, Line},
    port::Port,
    sandbox,
    session::Post,
    socket,
    tables::slot,
};

/// Why the engine does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its socket.
    #[error("cannot {action} {}: {source}", path.display())]
    Socket {
        /// What was to be done.
        action: &'static str,
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The tables of the kernel's half.
    #[error(transparent)]
    Tables(#[from] portcullis_switch::Error),
    /// What calls guests.
    #[error(
        "cannot call guests: {source} (the kernel needs asynchronous I/O, CONFIG_AIO, and some left: \
         see fs.aio-nr and fs.aio-max-nr)"
    )]
    Ringer {
        /// What the kernel said.
        source: io::Error,
    },
    /// What it gives up before it speaks with guests.
    #[error(transparent)]
    Sandbox(#[from] portcullis_sandbox::Error),
    /// Its thread.
    #[error("cannot start the thread that carries frames: {source}")]
    Thread {
        /// What the kernel said.
        source: io::Error,
    },
}

/// Why an order was not followed.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Tables(#[from] portcullis_switch::Error),
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error("{port} came with {files} descriptors, not with those of its tap and its socket")]
    Files { port: String, files: usize },
    #[error("a thread for {port}: {source}")]
    Thread { port: String, source: io::Error },
    #[error("the tap of {port}: {source}")]
    Tap { port: String, source: io::Error },
    #[error("generation {wanted} was not prepared, but {prepared:?}")]
    NotPrepared { wanted: u32, prepared: Option<u32> },
}

/// Serves ports of the switch in `run_dir` until it is told to end.
///
/// # Errors
/// It cannot start.
pub fn run(run_dir: &Path) -> Result<(), Error> {
    let path = control_of(run_dir);
    let failed = |action| {
        let path = path.clone();
        move |source| Error::Socket { action, path, source }
    };
    fault::survive().map_err(|source| Error::Thread { source })?;
    let source = Source::open(run_dir)?;
    let ringer = Ringer::new().map_err(|source| Error::Ringer { source })?;
    let listener = socket::listen(&path, Owner::default()).map_err(failed("listen at"))?;
    // All that is opened is open; the rest comes from the daemon.
    sandbox::NEEDS.enter()?;
    let (desk, thread) =
        carrier::start(source.flows() as usize).map_err(|source| Error::Thread { source })?;
    let ringer = Arc::new(ringer);
    let mut engine = Engine { source, desk, ringer, doors: BTreeMap::new(), prepared: None };
    loop {
        let (stream, _) = listener.accept().map_err(failed("accept at"))?;
        if engine.obey(&mut Line::new(stream)) {
            break;
        }
    }
    engine.end();
    drop(thread.join());
    Ok(())
}

/// A generation that waits to be put in force.
struct Prepared {
    generation: u32,
    slot: Slot,
    clock: Clock,
}

struct Engine {
    source: Source,
    desk: Desk,
    ringer: Arc<Ringer>,
    /// By name of the port, with the index of its tap.
    doors: BTreeMap<String, (u32, Door)>,
    prepared: Option<Prepared>,
}

impl Engine {
    /// Follows the orders of a daemon until it goes. True: it was told to end.
    fn obey(&mut self, line: &mut Line) -> bool {
        while let Ok(Some(ask)) = line.hear::<Ask>() {
            let end = ask == Ask::End;
            let answer = self.answer(ask, line.take_files());
            let answer =
                answer.unwrap_or_else(|refused| Answer::Failed { reason: refused.to_string() });
            if line.say(&answer, &[]).is_err() || end {
                return end;
            }
        }
        false
    }

    fn answer(&mut self, ask: Ask, files: Vec<OwnedFd>) -> Result<Answer, Refused> {
        match ask {
            Ask::Hello => return Ok(Answer::Hello { language: LANGUAGE }),
            Ask::Serve { port, ifindex } => {
                if self.doors.get(&port).is_none_or(|(served, _)| *served != ifindex) {
                    self.release(&port)?;
                    return Ok(Answer::Wanted);
                }
            }
            Ask::Take { port, ifindex } => self.take(port, ifindex, files)?,
            Ask::Release { port } => self.release(&port)?,
            Ask::Prepare { generation, ticks, monotonic_ns } => {
                let slot = slot(self.source.read(generation)?);
                let clock = Clock::new(ticks, monotonic_ns);
                self.prepared = Some(Prepared { generation, slot, clock });
            }
            Ask::Commit { generation } => self.commit(generation)?,
            Ask::Tell => return Ok(Answer::Told(self.desk.ask(tell)?)),
            Ask::Events => {
                let entries = self.desk.ask(events)?;
                return Ok(Answer::Entries { entries });
            }
            Ask::Flows => {
                let entries = self.desk.ask(flows)?;
                return Ok(Answer::Entries { entries });
            }
            Ask::End => {}
        }
        Ok(Answer::Done)
    }

    fn take(&mut self, port: String, ifindex: u32, files: Vec<OwnedFd>) -> Result<(), Refused> {
        let [queue, socket] = files.try_into().map_err(|files: Vec<OwnedFd>| Refused::Files {
            port: port.clone(),
            files: files.len(),
        })?;
        let failed = |source| Refused::Tap { port: port.clone(), source };
        let new = Port::new(port.clone(), ifindex, queue).map_err(failed)?;
        self.desk.ask(|carrier| carrier.add(new))?.map_err(failed)?;
        let (desk, ringer) = (Arc::clone(&self.desk), Arc::clone(&self.ringer));
        match Door::open(socket.into(), Post { desk, ringer, ifindex }) {
            Ok(door) => drop(self.doors.insert(port, (ifindex, door))),
            Err(source) => {
                self.desk.ask(move |carrier| carrier.remove(ifindex))?;
                return Err(Refused::Thread { port, source });
            }
        }
        Ok(())
    }

    fn release(&mut self, port: &str) -> Result<(), Refused> {
        let Some((ifindex, door)) = self.doors.remove(port) else { return Ok(()) };
        door.close();
        self.desk.ask(move |carrier| carrier.remove(ifindex))?;
        Ok(())
    }

    fn commit(&mut self, generation: u32) -> Result<(), Refused> {
        let prepared = self.prepared.take();
        let number = prepared.as_ref().map(|prepared| prepared.generation);
        let Some(ready) = prepared.filter(|prepared| prepared.generation == generation) else {
            return Err(Refused::NotPrepared { wanted: generation, prepared: number });
        };
        let Prepared { generation, slot, clock } = ready;
        // What stood there before is freed on this thread.
        drop(self.desk.ask(move |carrier| carrier.install(generation, slot, clock))?);
        Ok(())
    }

    fn end(mut self) {
        let ports: Vec<String> = self.doors.keys().cloned().collect();
        for port in ports {
            let _ = self.release(&port);
        }
        let _ = self.desk.ask(Carrier::end);
    }
}

fn tell(carrier: &mut Carrier) -> Told {
    let tables = &carrier.engine.tables;
    let counters = |ifindex| words(tables.port_traffic(ifindex)).map(|word| word.get());
    let state = |ifindex| {
        let (taken, returned) = (tables.port_state(ifindex), tables.port_returns(ifindex));
        taken.zip(returned).map_or((0, 0), |(taken, returned)| {
            let flows = taken.flows.get().wrapping_sub(returned.flows.get());
            (flows, taken.half_open.get().wrapping_sub(returned.half_open.get()))
        })
    };
    let port = |port: &Port| {
        let (flows, half_open) = state(port.ifindex);
        PortTold {
            name: port.name.clone(),
            ifindex: port.ifindex,
            connected: port.features.is_some(),
            features: port
                .features
                .map(Features::names)
                .unwrap_or_default()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            stopped: port.stopped.map(|(queue, lie)| format!("queue {queue}: {lie}")),
            no_room: port.losses.no_room,
            malformed: port.losses.malformed,
            traffic: counters(port.ifindex).to_vec(),
            flows: at_least_none(flows),
            half_open: at_least_none(half_open),
        }
    };
    let drops = tables.all_port_drops();
    Told {
        generation: tables.generation(),
        ports: carrier.ports.iter().map(port).collect(),
        gone: words(tables.gone_traffic()).map(|word| word.get()).to_vec(),
        drops: drops.into_iter().map(|(place, reason, n)| (place, reason as u32, n)).collect(),
        rules: tables.all_rule_hits(),
        flows: tables.flows.len() as u64,
        events_lost: tables.events_lost(),
    }
}

/// A number below zero is none.
const fn at_least_none(n: u64) -> u64 {
    if n > u64::MAX / 2 { 0 } else { n }
}

/// Events with the time since the boot, as the kernel's have.
fn events(carrier: &mut Carrier) -> Vec<Vec<u8>> {
    const NS_PER_TICK: u64 = 1_000_000_000 / portcullis_pipeline::tables::TICKS_PER_SECOND;
    let behind = since_boot_ns().wrapping_sub(carrier.clock.now() * NS_PER_TICK);
    let all = carrier.engine.tables.take_events();
    all.map(|mut event| {
        event.time = event.time.wrapping_add(behind);
        event.as_bytes().to_vec()
    })
    .collect()
}

fn flows(carrier: &mut Carrier) -> Vec<Vec<u8>> {
    let all = carrier.engine.tables.flows.iter();
    all.map(|(key, entry)| {
        let side = |side: &FlowSide| [side.way.get(), side.half.get(), side.sent.get()];
        let [a, b] = [&entry.a, &entry.b].map(side);
        let head = [entry.judged.get(), entry.last.get()];
        [key.as_bytes(), head.as_bytes(), a.as_bytes(), b.as_bytes()].concat()
    })
    .collect()
}
