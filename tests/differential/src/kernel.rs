//! The loaded programs, driven by BPF_PROG_TEST_RUN.

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf, EbpfLoader, TestRun, TestRunOptions, VerifierLogLevel,
    maps::{
        Array, DevMapHash, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap,
        ProgramArray, RingBuf,
    },
    programs::{Program, SchedClassifier, Xdp},
};
use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};
use portcullis_pipeline::{
    event::Budget,
    layout::{EventEntry, FlowKey, PORTS, RULES, Settings, Traffic},
};
use zerocopy::FromBytes;

/// Connections that fit.
pub const FLOWS: u32 = 65_536;
/// Slots of the answering programs, `tail` of the object.
const TAILS: &[(&str, u32)] = &[("answer", 1), ("advertise", 2), ("dhcp", 3), ("dhcp6", 4)];
/// `struct __sk_buff`, bytes, and where its fields are (linux/bpf.h).
const CONTEXT: usize = 192;
const IFINDEX_AT: usize = 40;
const CONTROL_AT: usize = 48;
/// `struct xdp_md`, bytes, and where its field is.
const XDP_CONTEXT: usize = 24;
const XDP_IFINDEX_AT: usize = 12;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;
/// More than any frame grows.
const OUT: usize = 16_384;

/// A program of the object, loaded, and how many instructions the verifier walked.
pub type Loaded = (String, u64);

/// Loads every program of the object.
pub fn load() -> Result<(Ebpf, Vec<Loaded>)> {
    let mut ebpf = EbpfLoader::new()
        .map_max_entries("FLOWS", FLOWS)
        .verifier_log_level(VerifierLogLevel::STATS)
        .load(portcullis_programs::OBJECT)
        .context("the object does not load")?;
    let mut loaded = Vec::new();
    let names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        let program = ebpf.program_mut(&name).with_context(|| format!("no program `{name}`"))?;
        match program {
            Program::Xdp(p) => p.load(),
            Program::SchedClassifier(p) => p.load(),
            _ => bail!("`{name}` is of a kind that is not expected"),
        }
        .with_context(|| format!("the verifier refuses `{name}`"))?;
        loaded.push((name, verified(program)?));
    }
    Ok((ebpf, loaded))
}

/// Instructions that the verifier walked; 0 from kernels that do not tell (before 5.16).
fn verified(program: &Program) -> Result<u64> {
    Ok(program.info()?.verified_instruction_count().unwrap_or(0).into())
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program `{name}`"))?.try_into()?)
}

/// What came of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The hook's return code.
    pub code: u32,
    /// What the programs wrote down.
    pub words: [u32; 5],
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// The programs and their maps.
pub struct Kernel {
    pub(crate) ebpf: Ebpf,
    pub(crate) settings: Settings,
    events: RingBuf<MapData>,
    cpu: usize,
    context: Vec<u8>,
    out: Vec<u8>,
}

impl Kernel {
    /// Over programs that are loaded; answers are built, copies of broadcasts are not sent.
    pub fn new(mut ebpf: Ebpf) -> Result<Self> {
        for (name, at) in TAILS {
            let fd = program(&mut ebpf, name)?.fd()?.try_clone()?;
            let mut tails: ProgramArray<_> = map(&mut ebpf, "TAILS")?.try_into()?;
            tails.set(*at, &fd, 0)?;
        }
        let events = ebpf.take_map("EVENTS").context("no map `EVENTS`")?.try_into()?;
        let settings =
            Settings { tick_scale: 0, tick_offset: 0, errors_per_second: 0, ends: [0; 2] };
        let (context, out) = (vec![0; CONTEXT], vec![0; OUT]);
        Ok(Self { ebpf, settings, events, cpu: stay_here()?, context, out })
    }

    /// Runs one frame through the ingress program of a port. `None`: the kernel's own checks of
    /// test frames refuse it (an IP EtherType without an IP header, for instance).
    pub fn run(&mut self, frame: &[u8], ifindex: u32) -> Result<Option<Ran>> {
        self.context.fill(0);
        self.context[IFINDEX_AT..IFINDEX_AT + 4].copy_from_slice(&ifindex.to_ne_bytes());
        self.test_run("ingress", frame)
    }

    /// Lets the fast lane send to these interfaces.
    pub fn open_lanes(&mut self, ifindexes: &[u32]) -> Result<()> {
        let mut lanes: DevMapHash<_> = map(&mut self.ebpf, "LANES")?.try_into()?;
        for &ifindex in ifindexes {
            lanes.insert(ifindex, ifindex, None, 0)?;
        }
        Ok(())
    }

    /// Does the fast lane take this frame?
    pub fn lane(&mut self, frame: &[u8], ifindex: u32) -> Result<bool> {
        match self.xdp("lane", frame, ifindex)? {
            XDP_PASS => Ok(false),
            XDP_REDIRECT => Ok(true),
            other => bail!("the fast lane returns {other}"),
        }
    }

    /// Does the gate of uplinks drop this frame (`None`), or send it straight on?
    pub fn gate(&mut self, frame: &[u8], ifindex: u32) -> Result<Option<bool>> {
        match self.xdp("gate", frame, ifindex)? {
            XDP_PASS => Ok(Some(false)),
            XDP_REDIRECT => Ok(Some(true)),
            XDP_DROP => Ok(None),
            other => bail!("the gate returns {other}"),
        }
    }

    /// What an XDP program returns for a frame.
    fn xdp(&mut self, name: &str, frame: &[u8], ifindex: u32) -> Result<u32> {
        let mut context = [0u8; XDP_CONTEXT];
        // The end of the data, from its beginning on.
        context[4..8].copy_from_slice(&u32::try_from(frame.len())?.to_ne_bytes());
        context[XDP_IFINDEX_AT..XDP_IFINDEX_AT + 4].copy_from_slice(&ifindex.to_ne_bytes());
        let program = self.ebpf.program(name).with_context(|| format!("no program `{name}`"))?;
        let program: &Xdp = program.try_into()?;
        let ran = program.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut self.out),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        })?;
        Ok(ran.return_value)
    }

    /// Asks the probe what a slot says about a frame in a network.
    pub fn ask(&mut self, frame: &[u8], slot: u32, network: u32) -> Result<Option<Ran>> {
        self.context.fill(0);
        self.context[CONTROL_AT..CONTROL_AT + 4].copy_from_slice(&slot.to_ne_bytes());
        self.context[CONTROL_AT + 4..CONTROL_AT + 8].copy_from_slice(&network.to_ne_bytes());
        self.test_run("probe", frame)
    }

    fn test_run(&mut self, name: &str, frame: &[u8]) -> Result<Option<Ran>> {
        let mut left = vec![0; CONTEXT];
        let program: &SchedClassifier =
            self.ebpf.program(name).with_context(|| format!("no program `{name}`"))?.try_into()?;
        let ran = program.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut self.out),
            ctx_in: Some(&self.context),
            ctx_out: Some(&mut left),
            ..TestRunOptions::new()
        });
        let ran = match ran {
            Ok(ran) => ran,
            Err(e) if format!("{e:?}").contains("InvalidInput") => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let mut words = [0; 5];
        for (word, at) in words.iter_mut().zip((CONTROL_AT..).step_by(4)) {
            *word = u32::from_ne_bytes(left[at..at + 4].try_into()?);
        }
        let frame = self.out[..ran.data_size_out as usize].to_vec();
        Ok(Some(Ran { code: ran.return_value, words, frame }))
    }

    /// Takes the events out that there are for the log.
    pub fn take_events(&mut self) -> Result<Vec<EventEntry>> {
        let mut events = Vec::new();
        while let Some(record) = self.events.next() {
            match EventEntry::read_from_bytes(&record) {
                Ok(event) => events.push(event),
                Err(_) => bail!("an event of {} bytes", record.len()),
            }
        }
        Ok(events)
    }

    /// Events that the ring had no room for.
    pub fn events_lost(&mut self) -> Result<u64> {
        self.counter("EVENTS_LOST", 0)
    }

    /// What there is of a rule's events on this processor.
    pub fn budget(&mut self, slot: u32, rule: u32) -> Result<Budget> {
        let array: PerCpuArray<_, u64> = map(&mut self.ebpf, "EVENT_BUDGETS")?.try_into()?;
        Ok(Budget(array.get(&(slot * RULES + rule), 0)?[self.cpu]))
    }

    /// All connections, as (key, entry) in bytes.
    pub fn flows(&mut self) -> Result<Vec<(FlowKey, [u8; 64])>> {
        let hash: HashMap<_, [u8; 40], [u8; 64]> = map(&mut self.ebpf, "FLOWS")?.try_into()?;
        let mut flows = Vec::new();
        for entry in hash.iter() {
            let (key, value) = entry?;
            let Ok(key) = FlowKey::read_from_bytes(&key) else { bail!("a key of 40 bytes") };
            flows.push((key, value));
        }
        Ok(flows)
    }

    /// The sum over processors of one counter.
    fn counter(&mut self, name: &str, index: u32) -> Result<u64> {
        let array: PerCpuArray<_, u64> = map(&mut self.ebpf, name)?.try_into()?;
        Ok(array.get(&index, 0)?.iter().sum())
    }

    /// What passed a port, on this processor.
    pub fn traffic(&mut self, port: u32) -> Result<Traffic> {
        let array: PerCpuArray<_, [u8; size_of::<Traffic>()]> =
            map(&mut self.ebpf, "TRAFFIC")?.try_into()?;
        let bytes = array.get(&(port & (PORTS - 1)), 0)?[self.cpu];
        let Ok(traffic) = Traffic::read_from_bytes(&bytes) else {
            bail!("counters of another size")
        };
        Ok(traffic)
    }

    /// Connections that a port has opened, and those of them that are half open.
    pub fn taken(&mut self, port: u32) -> Result<[u64; 2]> {
        let array: Array<_, [u64; 8]> = map(&mut self.ebpf, "PORT_STATE")?.try_into()?;
        let [flows, half_open, ..] = array.get(&(port & (PORTS - 1)), 0)?;
        Ok([flows, half_open])
    }

    /// Frames from a port that were dropped for the reason with this number.
    pub fn port_drops(&mut self, port: u32, reason: u32) -> Result<u64> {
        let hash: PerCpuHashMap<_, [u32; 2], u64> =
            map(&mut self.ebpf, "PORT_DROPS")?.try_into()?;
        match hash.get(&[port & (PORTS - 1), reason], 0) {
            Ok(each) => Ok(each.iter().sum()),
            Err(MapError::KeyNotFound) => Ok(0),
            Err(e) => Err(e.into()),
        }
    }

    /// Frames dropped for the reason with this number.
    pub fn drops(&mut self, reason: u32) -> Result<u64> {
        self.counter("DROPS", reason)
    }

    /// Decisions by a rule of a slot.
    pub fn rule_hits(&mut self, slot: u32, rule: u32) -> Result<u64> {
        self.counter("RULE_HITS", slot * RULES + rule)
    }
}

/// Stays on this processor, whose number it gives: budgets are per processor.
fn stay_here() -> Result<usize> {
    let cpu = sched_getcpu()?;
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(cpu)
}

pub(crate) fn map<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Map> {
    ebpf.map_mut(name).with_context(|| format!("no map `{name}`"))
}
