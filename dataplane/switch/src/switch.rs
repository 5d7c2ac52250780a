//! The switch itself: one owner of tables, programs and ports.
//!
//! A new policy is a new generation in the other slot. A port that comes or goes changes the slot
//! in use, closing first and opening last; then the generation goes up by two, which keeps the
//! slot and makes every connection look for its way again.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    time::Instant,
};

use portcullis_image::Image;
use portcullis_pipeline::{
    addr::Mac,
    layout::{RULES, SLOTS, Settings},
};
use portcullis_ports::{Interfaces, alias_of, link, name as ifname};

use crate::{
    batch::Cursor,
    bpffs::Bpffs,
    clock,
    code::Code,
    denied::Banks,
    device,
    error::{Error, Result},
    events::Events,
    gates::Gates,
    grace, lanes,
    legs::LegDevice,
    links::Links,
    loaded::{Loaded, Slots},
    maps::{Maps, name},
    numbers::{self, Numbers},
    peer::Peer,
    pieces,
    place::{Candidate, Leg, Place, place, table_index},
    slot::{self, OpenPort, Tables},
    spec::{Config, PortKind, PortSpec},
    status::{Closed, PortStatus, RemoveReport, StartReport, Traffic},
    taken::Pass,
    tune::Looks,
    undo::Made,
    uplink,
    version::Version,
    writer::{Writer, bytes},
    xdp::XdpLinks,
};

/// A port that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) spec: PortSpec,
    /// 0 where there is no interface.
    pub(crate) ifindex: u32,
    pub(crate) mtu: u32,
    /// May its driver hide VLAN tags from a gate?
    pub(crate) hides_tags: bool,
    pub(crate) place: std::result::Result<Place, Closed>,
}

impl Port {
    /// Its interface index, and the numbers of its subports.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        let all = self.place.iter().flat_map(|place| place.nics(self.ifindex));
        let subports = all.map(|(_, port)| port).filter(|port| *port != self.ifindex);
        std::iter::once(self.ifindex).chain(subports)
    }
}

/// What is in force, as this process knows it.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) generation: u32,
    /// `None` until this process has installed one.
    pub(crate) image: Option<Arc<Image>>,
    pub(crate) host_addrs: Vec<IpAddr>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) ports: Vec<Port>,
    pub(crate) legs: Vec<(u32, LegDevice)>,
}

/// A running switch. Dropping it leaves everything in force; see [`Switch::shutdown`].
pub struct Switch {
    pub(crate) config: Config,
    pub(crate) alias: String,
    pub(crate) bpffs: Bpffs,
    pub(crate) links: Links,
    pub(crate) lanes: XdpLinks,
    pub(crate) gates: Gates,
    pub(crate) looks: Looks,
    pub(crate) maps: Maps,
    pub(crate) code: Code,
    pub(crate) state: State,
    pub(crate) loaded: Slots,
    pub(crate) banks: Banks,
    pub(crate) events: Events,
    /// Rule counters that may be other than zero, by slot.
    pub(crate) counted: [usize; SLOTS as usize],
    /// What a slot held before the last change, to be dropped when nobody waits.
    pub(crate) past: Option<Loaded>,
    pub(crate) sweep_from: Cursor,
    /// The pass that the sweeper is in the middle of.
    pub(crate) pass: Option<Pass>,
    /// What counters said whose place another number got, by place; until somebody asks.
    pub(crate) retired: Vec<(u32, Traffic)>,
    /// When routers were last advertised.
    pub(crate) announced: Option<Instant>,
    /// The way to the other half, for whoever has one.
    pub(crate) peer: Option<RefCell<Box<dyn Peer>>>,
}

impl Switch {
    /// Starts the switch, or takes over one whose process is gone: what filters goes on filtering,
    /// by the programs of this build. Ports stay closed until [`Switch::install`].
    pub fn start(config: Config) -> Result<(Self, StartReport)> {
        Self::start_with(config, &Version::default())
    }

    /// As [`Switch::start`], in another version.
    pub fn start_with(config: Config, version: &Version<'_>) -> Result<(Self, StartReport)> {
        let bpffs = Bpffs::of(&config.run_dir);
        bpffs.mount()?;
        let mut notices = Vec::new();
        let mut code = Code::ready(&bpffs, version, config.flows, &mut notices)?;
        let mut maps = Maps::open(&bpffs.maps())?;
        set_clock(&mut maps, &code)?;
        let links = Links::new(bpffs.clone(), version.hook);
        let filtered = links.take_over(&mut code.ingress, &mut notices)?;
        let lanes = XdpLinks::new(bpffs.lanes(), "fast lane");
        lanes.take_over(&mut code.lane)?;
        let gates = Gates::new(&bpffs);
        gates.take_over(&mut code)?;
        code.retire_others(&bpffs)?;
        // One that died in the middle of a flip may have left packets in the slot that is written
        // next.
        grace::wait()?;
        let generation = maps.generation()?;
        let (programs, hook) = (code.origin, version.hook);
        let report = StartReport { programs, hook, generation, filtered, notices };
        let alias = alias_of(&config.instance);
        let state = State { generation, ..State::default() };
        let counted = [RULES as usize; SLOTS as usize];
        let sweep_from = Cursor::default();
        let banks = Banks::of(&maps, generation)?;
        let events = Events::default();
        let switch = Self {
            config,
            alias,
            bpffs,
            links,
            lanes,
            gates,
            looks: Looks::default(),
            maps,
            code,
            state,
            loaded: Slots::default(),
            banks,
            events,
            counted,
            past: None,
            sweep_from,
            pass: None,
            retired: Vec::new(),
            announced: None,
            peer: None,
        };
        Ok((switch, report))
    }

    /// Gives a guest its port, or the switch an uplink, under the policy in force.
    pub fn attach(&mut self, spec: &PortSpec) -> Result<PortStatus> {
        self.bpffs.require()?;
        ifname::check(&spec.name)?;
        if self.state.ports.iter().any(|p| p.spec.name == spec.name) {
            return Err(Error::PortExists { name: spec.name.clone() });
        }
        let mut made = Made::default();
        match self.attach_new(spec, &mut made) {
            Ok(()) => {}
            Err(e) => {
                self.state.ports.retain(|p| p.spec.name != spec.name);
                // The tables first: nothing may point at an interface that goes.
                let reloaded = self.reload();
                self.unmake(&made);
                reloaded?;
                return Err(e);
            }
        }
        self.set_gates();
        let port = self.state.ports.last().expect("attached just now");
        Ok(PortStatus { vhost: self.vhost_status(port, &self.told()), ..self.port_status(port) })
    }

    /// Takes a port away: closed first, then its interface. An uplink becomes what it was.
    pub fn detach(&mut self, port: &str) -> Result<()> {
        if let Some(at) = self.state.ports.iter().position(|p| p.spec.name == port) {
            let removed = self.state.ports.remove(at);
            let open = self.open_ports();
            let ours = removed.spec.kind.is_ours();
            self.reload().inspect_err(|_| self.state.ports.insert(at, removed))?;
            self.give_back(port, ours)?;
            // Another port may have waited for what this one held.
            self.open_all(&open, None)?;
            self.set_gates();
            return Ok(());
        }
        // A port of an earlier process, before the first install of this one.
        if !self.links.ports()?.iter().any(|p| p == port) {
            let known = self.state.ports.iter().map(|p| p.spec.name.clone()).collect();
            return Err(Error::NoSuchPort { name: port.into(), known });
        }
        let link = link::find(port)?;
        if let Some(link) = &link {
            let generation = self.state.generation;
            self.loaded.take(generation);
            Writer::new(&mut self.maps, generation).close(table_index(link.index))?;
            grace::wait()?;
        }
        self.give_back(port, link.is_some_and(|l| l.alias == self.alias))
    }

    /// Removes the switch with everything that is its own.
    pub fn shutdown(self) -> Result<RemoveReport> {
        let config = self.config.clone();
        drop(self);
        Self::remove(&config)
    }

    /// Puts a generation in force: when it returns, no packet is judged by an older one.
    ///
    /// Whoever reads the new word finds the slot as it was written before: every address in it
    /// depends on the word, which orders a reader's loads, and the fence orders our stores.
    ///
    /// After an error `state.generation` says what is in force, and the number is used up.
    pub(crate) fn flip(&mut self, generation: u32) -> Result<()> {
        self.prepare_other_half(generation)?;
        fence(Ordering::SeqCst);
        self.set_generation(generation)?;
        self.state.generation = generation;
        let followed = self.commit_other_half(generation);
        let read = self.maps.generation();
        grace::wait()?;
        match read? {
            read if read == generation => followed,
            _ => Err(Error::ReadBack { map: name::GENERATION, at: generation.to_string() }),
        }
    }

    fn set_generation(&mut self, generation: u32) -> Result<()> {
        let word = u64::from(generation);
        self.maps.generation.set(0, word, 0).map_err(Error::map("flip", name::GENERATION))
    }

    /// Makes the slot in use agree with the ports that there are now.
    pub(crate) fn reload(&mut self) -> Result<()> {
        let Some(image) = self.state.image.clone() else { return Ok(()) };
        let known = self.numbers()?;
        place_all(&image, &self.state.legs, &mut self.state.ports, &known);
        let host_addrs = &self.state.host_addrs;
        let tables = build(&image, &self.state.legs, &self.state.ports, host_addrs, &known);
        self.maps.most.check(&tables)?;
        self.retire_others(&known, &tables.subports)?;
        let generation = self.state.generation;
        let loaded = self.loaded.take(generation);
        let mut writer = Writer::new(&mut self.maps, generation);
        if let Err(e) = writer.change(&self.state.tables, &tables) {
            writer.restore(&self.state.tables)?;
            return Err(e);
        }
        self.state.tables = Arc::new(tables);
        let tables = Arc::clone(&self.state.tables);
        self.loaded.put(generation, loaded.map(|held| Loaded { tables, ..held }));
        let next = generation + SLOTS;
        writer.shape(&slot::shape(&image, next, self.banks.used()))?;
        self.flip(next)
    }

    fn attach_new(&mut self, spec: &PortSpec, made: &mut Made) -> Result<()> {
        let taken: BTreeSet<u32> = self.indexes().collect();
        let image = self.state.image.clone();
        let mac = image.as_deref().and_then(|i| mac_of(i, spec));
        let found = Interfaces::look()?;
        let port = self.ready_port(spec, mac, &taken, &found, made)?;
        self.state.ports.push(port);
        self.reload()?;
        let port = self.state.ports.last().expect("pushed above").clone();
        match (&port.place, image) {
            (Ok(_), Some(image)) => self.open(&port, &image),
            (Err(closed), _) if is_conflict(closed) => {
                Err(Error::Refused { name: spec.name.clone(), closed: closed.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Open ports: interface indexes, and numbers of subports.
    fn open_ports(&self) -> BTreeSet<u32> {
        let open = self.state.ports.iter().filter(|p| p.place.is_ok());
        open.flat_map(Port::numbers).collect()
    }

    /// The numbers that subports have, also those that an earlier process gave.
    pub(crate) fn numbers(&self) -> Result<Numbers> {
        match self.state.image {
            Some(_) => Ok(self.state.tables.subports.clone()),
            None => pieces::subports(&self.maps, self.state.generation & 1),
        }
    }

    /// Places of the port table that are in use.
    fn indexes(&self) -> impl Iterator<Item = u32> {
        let ports = self.state.ports.iter().map(|p| p.ifindex);
        let subports = self.state.tables.subports.values().copied();
        let legs = self.state.legs.iter().map(|(_, l)| l.ifindex);
        ports.chain(subports).chain(legs).map(table_index)
    }

    pub(crate) fn open(&mut self, port: &Port, image: &Image) -> Result<()> {
        match &port.place {
            Ok(place @ (Place::Nic(_) | Place::Trunk { .. })) => {
                if port.spec.kind.is_tap() {
                    lanes::admit(&mut self.maps.lanes, port.ifindex)?;
                }
                device::open_guest(&port.spec, image, place)
            }
            Ok(Place::Uplink { .. }) => uplink::open(&self.bpffs, &port.spec.name),
            Err(_) => Ok(()),
        }
    }

    /// Gives a tap the fast lane, or takes it away: see [`crate::lanes`]. Nothing that passes
    /// changes by it.
    pub fn set_lane(&mut self, port: &str, open: bool) -> Result<()> {
        if !open {
            return self.lanes.close(port);
        }
        let taps = || self.state.ports.iter().filter(|p| p.spec.kind.is_tap());
        if !taps().any(|p| p.spec.name == port) {
            let known = taps().map(|p| p.spec.name.clone()).collect();
            return Err(Error::NoSuchPort { name: port.into(), known });
        }
        self.lanes.open(&mut self.code.lane, port, lanes::MODE)
    }

    /// Gives up an interface whose port is closed: one of ours is deleted, an uplink becomes what
    /// it was.
    pub(crate) fn give_back(&self, port: &str, ours: bool) -> Result<()> {
        self.release(port)?;
        if ours {
            // Nothing is in front of an interface that is gone.
            if let Some(link) = link::find(port)?.filter(|l| l.is_ours(&self.alias)) {
                link::delete(link.index)?;
            }
            self.lanes.close(port)?;
            return self.links.detach(port);
        }
        self.gates.links.close(port)?;
        uplink::give_back(&self.bpffs, port)?;
        self.links.detach(port)
    }
}

/// Teaches the programs what a jiffy is, unless they know.
fn set_clock(maps: &mut Maps, code: &Code) -> Result<()> {
    if clock::rate_of(&maps.settings()?).is_some() {
        return Ok(());
    }
    let settings = clock::settings(clock::measure(&code.clock)?);
    maps.settings
        .set(0, bytes::<Settings, { size_of::<Settings>() }>(&settings), 0)
        .map_err(Error::map("write", name::SETTINGS))
}

/// Does it concern this port alone, so that no later policy would help?
const fn is_conflict(closed: &Closed) -> bool {
    matches!(
        closed,
        Closed::NicTaken { .. }
            | Closed::NetworkTaken { .. }
            | Closed::NetworkFull { .. }
            | Closed::NoSubport
            | Closed::IndexTaken { .. }
            | Closed::NoNetwork
    )
}

/// The MAC of the NIC that a spec means, where that is clear; of a trunk, of its interface.
pub(crate) fn mac_of(image: &Image, spec: &PortSpec) -> Option<Mac> {
    if matches!(spec.kind, PortKind::Uplink { .. } | PortKind::Stranger { .. }) {
        return None;
    }
    let candidate = Candidate { spec, ifindex: 0 };
    let place = place(image, &[], &[candidate], &Numbers::new()).pop()?.ok()?;
    device::mac(image, &place)
}

/// Places all ports that have an interface. A port that failed stays failed. `known`: see [`place`].
pub(crate) fn place_all(
    image: &Image,
    legs: &[(u32, LegDevice)],
    ports: &mut [Port],
    known: &Numbers,
) {
    let legs = leg_table(legs);
    let usable = |p: &Port| !matches!(p.place, Err(Closed::Failed { .. }));
    let candidates: Vec<_> = ports
        .iter()
        .filter(|p| usable(p))
        .map(|p| Candidate { spec: &p.spec, ifindex: p.ifindex })
        .collect();
    let mut places = place(image, &legs, &candidates, known).into_iter();
    for port in ports.iter_mut().filter(|p| usable(p)) {
        port.place = places.next().expect("one for each candidate");
    }
}

/// The tables of these ports. `known`: the numbers that subports have already; those of networks that
/// a trunk carries no more stay with its interface.
pub(crate) fn build(
    image: &Image,
    legs: &[(u32, LegDevice)],
    ports: &[Port],
    host_addrs: &[IpAddr],
    known: &Numbers,
) -> Tables {
    let open: Vec<OpenPort> = ports
        .iter()
        .filter_map(|p| {
            let place = p.place.clone().ok()?;
            Some(OpenPort { ifindex: p.ifindex, mtu: p.mtu, place, hides_tags: p.hides_tags })
        })
        .collect();
    let mut tables = slot::build(image, &leg_table(legs), &open, host_addrs);
    let interfaces = ports.iter().map(|p| p.ifindex).chain(legs.iter().map(|(_, l)| l.ifindex));
    let left = numbers::left(known, &tables.subports, &interfaces.collect());
    tables.subports.extend(left);
    tables
}

fn leg_table(legs: &[(u32, LegDevice)]) -> Vec<Leg> {
    legs.iter().map(|(id, leg)| Leg { network: *id, ifindex: leg.ifindex }).collect()
}
