//! The loaded programs: reused while they come from the same object, else loaded beside the old
//! ones, which run on until the new ones are whole.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aya::{
    EbpfLoader, VerifierLogLevel,
    maps::ProgramArray,
    programs::{Program, ProgramError, ProgramInfo, SchedClassifier, Xdp},
};

use aya_obj::programs::XdpAttachType;

use crate::{
    bpffs::{self, Bpffs},
    error::{Chain, Error, Result, is_refusal},
    maps::{self, name},
    status::{Notice, Origin, ProgramStatus},
    version::Version,
};

/// Programs of the object, and where each stands in the tail-call table.
const PROGRAMS: &[(&str, Option<u32>)] = &[
    ("ingress", None),
    ("flood", Some(0)),
    ("answer", Some(1)),
    ("advertise", Some(2)),
    ("dhcp", Some(3)),
    ("dhcp6", Some(4)),
    ("announce", None),
    ("clock", None),
    ("probe", None),
    ("lane", None),
    ("gate", None),
    ("gate_generic", None),
];

/// Directory in which a load is put together; only a whole one gets its name.
const UNFINISHED: &str = "loading";

/// The programs.
pub struct Code {
    /// Filter and forwarder of every port.
    pub ingress: SchedClassifier,
    /// Sends a frame out of a port.
    pub announce: SchedClassifier,
    /// Tells the jiffies.
    pub clock: SchedClassifier,
    /// Says what a slot makes of a packet.
    pub probe: SchedClassifier,
    /// The fast lane of taps.
    pub lane: Xdp,
    /// The gate of uplinks, for their drivers.
    pub gate: Xdp,
    /// The same for generic XDP.
    pub gate_generic: Xdp,
    /// Where they come from.
    pub origin: Origin,
    dir: PathBuf,
}

impl Code {
    /// Finds or loads the programs of a version, over the tables pinned at `bpffs`, which are
    /// made where they are missing.
    pub fn ready(
        bpffs: &Bpffs,
        version: &Version<'_>,
        flows: u32,
        notices: &mut Vec<Notice>,
    ) -> Result<Self> {
        if bpffs::remove(&bpffs.version().join(UNFINISHED))? > 0 {
            notices.push(Notice::HalfLoaded);
        }
        maps::check_sizes(&bpffs.maps())?;
        let dir = bpffs.code(fnv1a(version.object));
        let others = bpffs.all_code()?.iter().any(|d| *d != dir);
        let origin = match (dir.exists(), others) {
            (true, _) => Origin::Reused,
            (false, true) => Origin::Replaced,
            (false, false) => Origin::Loaded,
        };
        if origin != Origin::Reused {
            load(bpffs, version.object, flows, &dir)?;
        }
        let pinned = maps::pinned_entries(&bpffs.maps(), name::FLOWS)?.unwrap_or(flows);
        if pinned != flows {
            notices.push(Notice::FlowTableSize { pinned, wanted: flows });
        }
        Ok(Self {
            ingress: pinned_program(&dir, "ingress")?,
            announce: pinned_program(&dir, "announce")?,
            clock: pinned_program(&dir, "clock")?,
            probe: pinned_program(&dir, "probe")?,
            lane: pinned_xdp(&dir, "lane")?,
            gate: pinned_xdp(&dir, "gate")?,
            gate_generic: pinned_xdp(&dir, "gate_generic")?,
            origin,
            dir,
        })
    }

    /// Removes the pins of programs that no port runs any more.
    pub fn retire_others(&self, bpffs: &Bpffs) -> Result<()> {
        for dir in bpffs.all_code()?.iter().filter(|d| **d != self.dir) {
            bpffs::remove(dir)?;
        }
        Ok(())
    }

    /// What the kernel says of each program.
    pub fn status(&self) -> Result<Vec<ProgramStatus>> {
        PROGRAMS.iter().map(|(name, _)| status(&self.dir, name)).collect()
    }
}

fn status(dir: &Path, name: &'static str) -> Result<ProgramStatus> {
    let info =
        ProgramInfo::from_pin(dir.join(name)).map_err(Error::program("look at a program"))?;
    Ok(ProgramStatus {
        name,
        id: info.id(),
        tag: format!("{:016x}", info.tag()),
        verified_instructions: info.verified_instruction_count(),
    })
}

fn pinned_program(dir: &Path, name: &str) -> Result<SchedClassifier> {
    SchedClassifier::from_pin(dir.join(name)).map_err(Error::program("open a pinned program"))
}

fn pinned_xdp(dir: &Path, name: &str) -> Result<Xdp> {
    Xdp::from_pin(dir.join(name), XdpAttachType::Interface)
        .map_err(Error::program("open a pinned program"))
}

/// Loads the object and pins its programs in `dir`, all or none.
fn load(bpffs: &Bpffs, object: &[u8], flows: u32, dir: &Path) -> Result<()> {
    let unfinished = bpffs.version().join(UNFINISHED);
    fs::create_dir_all(&unfinished).map_err(|e| Error::file("create", &unfinished, e))?;
    let loaded = load_into(bpffs, object, flows, &unfinished);
    if loaded.is_err() {
        bpffs::remove(&unfinished)?;
        return loaded;
    }
    fs::rename(&unfinished, dir).map_err(|e| Error::file("create", dir, e))
}

fn load_into(bpffs: &Bpffs, object: &[u8], flows: u32, dir: &Path) -> Result<()> {
    let maps = bpffs.maps();
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS);
    for map in name::ALL {
        loader.map_pin_path(map, maps.join(map));
    }
    loader.map_pin_path(name::TAILS, dir.join(name::TAILS));
    loader.map_max_entries(name::FLOWS, flows);
    let mut object = loader.load(object).map_err(load_error)?;
    let tails =
        object.take_map(name::TAILS).ok_or_else(|| Error::Incomplete { part: name::TAILS })?;
    let mut tails = ProgramArray::try_from(tails).map_err(Error::map("open", name::TAILS))?;
    for (name, tail) in PROGRAMS {
        let program = object.program_mut(name).ok_or_else(|| Error::Incomplete { part: name })?;
        verify(program).map_err(|e| load_error(e.into()))?;
        if let Some(index) = tail {
            let fd = program.fd().map_err(Error::program("load a program"))?;
            tails.set(*index, fd, 0).map_err(Error::map("fill", name::TAILS))?;
        }
        let path = dir.join(name);
        program.pin(&path).map_err(|e| Error::Pin { path, source: Chain::new(e) })?;
    }
    Ok(())
}

/// Loads one program into the kernel.
fn verify(program: &mut Program) -> std::result::Result<(), ProgramError> {
    match program {
        Program::Xdp(p) => p.load(),
        Program::SchedClassifier(p) => p.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn load_error(error: aya::EbpfError) -> Error {
    match is_refusal(&error) {
        true => Error::NotPermitted { action: "load BPF programs".into() },
        false => Error::Load { source: Chain::new(error) },
    }
}

/// FNV-1a, 64 bits: the name of an object's pins.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| {
        (hash ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
