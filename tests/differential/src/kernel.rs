//! The loaded programs, driven by BPF_PROG_TEST_RUN.

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf, EbpfLoader, TestRun, TestRunOptions, VerifierLogLevel,
    maps::{Array, HashMap, LpmTrie, Map, MapData, PerCpuArray, ProgramArray, lpm_trie::Key},
    programs::SchedClassifier,
};
use portcullis_image::Image;
use portcullis_pipeline::layout::{
    AddressKey, CELL_CHUNKS, CHUNK, FlowKey, NETWORKS, PORTS, PrefixKey, ROW_CHUNKS, RULES,
    SERVICE_TABLES, Settings,
};
use portcullis_switch::slot::{Tables, members, shape};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Connections that fit.
pub const FLOWS: u32 = 65_536;
/// Slot of the answering program, `tail::ANSWER` of the object.
const TAIL_ANSWER: u32 = 1;
/// `struct __sk_buff`, bytes, and where its fields are (linux/bpf.h).
const CONTEXT: usize = 192;
const IFINDEX_AT: usize = 40;
const CONTROL_AT: usize = 48;
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
        let program = program(&mut ebpf, &name)?;
        program.load().with_context(|| format!("the verifier refuses `{name}`"))?;
        loaded.push((name, verified(program)?));
    }
    Ok((ebpf, loaded))
}

/// Instructions that the verifier walked; 0 from kernels that do not tell (before 5.16).
fn verified(program: &SchedClassifier) -> Result<u64> {
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
    ebpf: Ebpf,
    context: Vec<u8>,
    out: Vec<u8>,
}

impl Kernel {
    /// Over programs that are loaded; answers are built, copies of broadcasts are not sent.
    pub fn new(mut ebpf: Ebpf) -> Result<Self> {
        let fd = program(&mut ebpf, "answer")?.fd()?.try_clone()?;
        let mut tails: ProgramArray<_> = map(&mut ebpf, "TAILS")?.try_into()?;
        tails.set(TAIL_ANSWER, &fd, 0)?;
        Ok(Self { ebpf, context: vec![0; CONTEXT], out: vec![0; OUT] })
    }

    fn set<V: IntoBytes + Immutable, const N: usize>(
        &mut self,
        name: &str,
        index: u32,
        value: &V,
    ) -> Result<()> {
        let mut array: Array<&mut MapData, [u8; N]> = map(&mut self.ebpf, name)?.try_into()?;
        let bytes: [u8; N] = value.as_bytes().try_into()?;
        array.set(index, bytes, 0).with_context(|| format!("{name}[{index}]"))
    }

    /// Sets the clock, in ticks.
    pub fn set_now(&mut self, ticks: u64, errors_per_second: u64) -> Result<()> {
        let settings = Settings { tick_scale: 0, tick_offset: ticks, errors_per_second, ends: [0; 2] };
        self.set::<_, 40>("SETTINGS", 0, &settings)
    }

    /// Writes a generation into its slot, which is empty, and puts it in force.
    pub fn install(&mut self, generation: u32, image: &Image, tables: &Tables) -> Result<()> {
        let slot = generation & 1;
        self.set::<_, 32>("GENERATIONS", slot, &shape(image, generation))?;
        for (index, entry) in &tables.ports {
            self.set::<_, 96>("PORTS", slot * PORTS + index, entry)?;
        }
        for (id, entry) in &tables.networks {
            self.set::<_, 64>("NETWORKS", slot * NETWORKS + id, entry)?;
        }
        for (vlan, id) in &tables.vlans {
            self.set::<_, 4>("VLANS", slot * 4096 + u32::from(*vlan), id)?;
        }
        for (id, ports) in &tables.members {
            self.set::<_, 4096>("MEMBERS", slot * NETWORKS + id, &members(ports))?;
        }
        for (table, index) in image.service_tables.iter().zip(slot * SERVICE_TABLES..) {
            self.set::<_, 131_072>("SERVICES", index, table)?;
        }
        self.chunks("ROWS", slot * ROW_CHUNKS, &image.rows)?;
        self.chunks("CELLS", slot * CELL_CHUNKS, &image.cells)?;
        self.addresses(slot, tables)?;
        self.prefixes(slot, tables)?;
        self.set::<_, 8>("GENERATION", 0, &u64::from(generation))
    }

    fn chunks(&mut self, name: &str, base: u32, numbers: &[u32]) -> Result<()> {
        for (part, index) in numbers.chunks(CHUNK).zip(base..) {
            let mut chunk = [0_u32; CHUNK];
            chunk[..part.len()].copy_from_slice(part);
            self.set::<_, { CHUNK * 4 }>(name, index, &chunk)?;
        }
        Ok(())
    }

    fn addresses(&mut self, slot: u32, tables: &Tables) -> Result<()> {
        let mut hash: HashMap<_, [u8; 24], [u8; 24]> =
            map(&mut self.ebpf, "ADDRESSES")?.try_into()?;
        let old: Vec<[u8; 24]> = hash.keys().collect::<Result<_, _>>()?;
        for key in old {
            if AddressKey::read_from_bytes(&key).is_ok_and(|k| k.slot == slot) {
                hash.remove(&key)?;
            }
        }
        for ((addr, scope), entry) in &tables.addresses {
            let key = AddressKey { addr: *addr, scope: *scope, slot };
            let value: [u8; 24] = entry.as_bytes().try_into()?;
            hash.insert(<[u8; 24]>::try_from(key.as_bytes())?, value, 0)?;
        }
        Ok(())
    }

    fn prefixes(&mut self, slot: u32, tables: &Tables) -> Result<()> {
        let mut trie: LpmTrie<_, [u8; 20], [u8; 8]> =
            map(&mut self.ebpf, "PREFIXES")?.try_into()?;
        let old: Vec<Key<[u8; 20]>> = trie.keys().collect::<Result<_, _>>()?;
        for key in old {
            if key.data()[..4] == slot.to_be_bytes() {
                trie.remove(&key)?;
            }
        }
        for ((addr, len), entry) in &tables.prefixes {
            let data = PrefixKey { slot_be: slot.to_be_bytes(), addr: addr.octets() };
            let key = Key::new(32 + u32::from(*len), data.as_bytes().try_into()?);
            trie.insert(&key, <[u8; 8]>::try_from(entry.as_bytes())?, 0)?;
        }
        Ok(())
    }

    /// Runs one frame through the ingress program of a port. `None`: the kernel's own checks of
    /// test frames refuse it (an IP EtherType without an IP header, for instance).
    pub fn run(&mut self, frame: &[u8], ifindex: u32) -> Result<Option<Ran>> {
        self.context.fill(0);
        self.context[IFINDEX_AT..IFINDEX_AT + 4].copy_from_slice(&ifindex.to_ne_bytes());
        let mut left = vec![0; CONTEXT];
        let program: &SchedClassifier =
            self.ebpf.program("ingress").context("no program `ingress`")?.try_into()?;
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

    /// Frames dropped for the reason with this number.
    pub fn drops(&mut self, reason: u32) -> Result<u64> {
        self.counter("DROPS", reason)
    }

    /// Decisions by a rule of a slot.
    pub fn rule_hits(&mut self, slot: u32, rule: u32) -> Result<u64> {
        self.counter("RULE_HITS", slot * RULES + rule)
    }
}

fn map<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Map> {
    ebpf.map_mut(name).with_context(|| format!("no map `{name}`"))
}
