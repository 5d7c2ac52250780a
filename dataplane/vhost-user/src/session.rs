//! A connection with a front end (QEMU's "Vhost-user Protocol"): what it says of memory and queues,
//! checked, and told to the thread that carries frames. One thread for each port, so that a front
//! end which stalls keeps nobody but itself waiting.

use std::{
    fs::File,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
};

use vhost::{
    VhostUserMemoryRegionBase,
    vhost_user::{
        BackendReqHandler, Error, GpuBackend, Result, VhostUserBackendReqHandlerMut,
        message::{
            VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags,
            VhostUserInflight, VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures,
            VhostUserShMemConfig, VhostUserSharedMsg, VhostUserSingleMemoryRegion,
            VhostUserVringAddrFlags, VhostUserVringState,
        },
    },
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use crate::{
    bell::{Bell, Ringer},
    carrier::{Carrier, Desk},
    dirty::Log,
    enable,
    fault::Watch,
    features::{Features, LOG, PROTOCOL_FEATURES},
    flight::{Area, Flight},
    port::{QUEUES, RECEIVE},
    region::{self, Region, refused},
    ring::{Direction, Memory, Notes, Ring, SIZE_MAX, Shape},
    shared::Shared,
};

/// Most regions that a front end may share.
const REGIONS_MAX: usize = 64;

/// Where the frames of a port are carried.
#[derive(Clone)]
pub struct Post {
    /// The thread that carries them.
    pub desk: Desk,
    /// Calls its guest.
    pub ringer: Arc<Ringer>,
    /// Index of its tap.
    pub ifindex: u32,
}

/// Speaks with a front end until it goes, or breaks the protocol.
pub fn serve(stream: UnixStream, post: &Post) {
    let (desk, ifindex) = (&post.desk, post.ifindex);
    let session = Arc::new(Mutex::new(Session::new(post.clone())));
    let Ok(mut early) = stream.try_clone() else { return };
    let mut handler = BackendReqHandler::from_stream(stream, Arc::clone(&session));
    let reason = loop {
        let taken = session.lock().map(|mut session| {
            session.features.is_none()
                && enable::take(&mut early, |index, enable| session.set_vring_enable(index, enable))
        });
        if matches!(taken, Ok(true)) {
            continue;
        }
        match handler.handle_request() {
            // What was refused has been answered; the connection goes on.
            Ok(()) | Err(Error::ReqHandlerError(_)) => {}
            Err(reason) => break reason,
        }
    };
    if !matches!(reason, Error::Disconnected | Error::SocketBroken(_) | Error::PartialMessage) {
        eprintln!("port with interface index {ifindex}: front end refused: {reason}");
    }
    drop(handler);
    let ended = desk.ask(move |carrier| {
        with(carrier, ifindex, |carrier, at| {
            let Carrier { ports, epoll, .. } = carrier;
            (0..QUEUES).for_each(|queue| drop(ports[at].take_ring(queue, epoll)));
            ports[at].negotiated(None);
            ports[at].stopped = None;
        });
    });
    // Without that thread there is no port either.
    let _ = ended;
}

/// Does something with a port, if it is there.
fn with<R>(
    carrier: &mut Carrier,
    ifindex: u32,
    act: impl FnOnce(&mut Carrier, usize) -> R,
) -> Option<R> {
    let at = carrier.at(ifindex)?;
    Some(act(carrier, at))
}

/// What is known of a queue.
#[derive(Default)]
struct Queue {
    size: u16,
    /// Descriptors, available ring, used ring: for the front end.
    places: Option<[u64; 3]>,
    base: u16,
    /// Guest address under which its used ring is logged.
    logged: Option<u64>,
    kick: Option<File>,
    call: Option<Bell>,
    enabled: bool,
    /// From the first kick descriptor until somebody asks for its base.
    started: bool,
}

/// A connection.
struct Session {
    post: Post,
    features: Option<Features>,
    regions: Vec<Region>,
    memory: Arc<Memory>,
    watches: Arc<[Watch]>,
    queues: [Queue; QUEUES],
    /// Where it is kept what is in flight.
    flights: Option<Arc<Area>>,
    /// Where it is noted which pages are written.
    log: Option<Arc<Shared>>,
}

impl Session {
    fn new(post: Post) -> Self {
        Self {
            post,
            features: None,
            regions: Vec::new(),
            memory: Arc::default(),
            watches: Arc::default(),
            queues: Default::default(),
            flights: None,
            log: None,
        }
    }

    fn queue(&mut self, index: u32) -> Result<&mut Queue> {
        self.queues.get_mut(index as usize).ok_or(Error::InvalidParam)
    }

    /// Stops a queue, and remembers how far it was.
    fn stop(&mut self, index: usize) -> Result<()> {
        let ifindex = self.post.ifindex;
        let stopped = self.post.desk.ask(move |carrier| {
            with(carrier, ifindex, |carrier, at| {
                let Carrier { ports, epoll, .. } = carrier;
                let ring = ports[at].take_ring(index, epoll)?;
                Some(ring.next_available())
            })
        });
        if let Some(base) = stopped.map_err(refused)?.flatten() {
            self.queues[index].base = base;
        }
        Ok(())
    }

    /// Runs a queue if all is said about it.
    fn run(&mut self, index: usize) -> Result<()> {
        let Some(ring) = self.ring(index)? else { return Ok(()) };
        let ifindex = self.post.ifindex;
        let run = self.post.desk.ask(move |carrier| {
            with(carrier, ifindex, |carrier, at| {
                let Carrier { ports, epoll, .. } = carrier;
                ports[at].run_ring(index, ring, epoll)
            })
        });
        run.map_err(refused)?.unwrap_or(Ok(())).map_err(Error::ReqHandlerError)
    }

    fn ring(&self, index: usize) -> Result<Option<Ring>> {
        let queue = &self.queues[index];
        let (Some(features), Some(places), Some(kick)) = (self.features, queue.places, &queue.kick)
        else {
            return Ok(None);
        };
        let ready = queue.started && queue.enabled && queue.size > 0 && !self.regions.is_empty();
        // Nothing is written that would have to be logged and cannot.
        let logs = features.has(LOG);
        if !ready || logs && self.log.is_none() {
            return Ok(None);
        }
        let [table, used, available] = places.map(|user| self.guest_address(user));
        let (Some(table), Some(used), Some(available)) = (table, used, available) else {
            return Err(refused("a queue outside the shared memory"));
        };
        let shape = Shape {
            size: queue.size,
            table,
            available,
            used,
            event_index: features.has(VIRTIO_RING_F_EVENT_IDX),
            indirect: features.has(VIRTIO_RING_F_INDIRECT_DESC),
        };
        let direction = if index == RECEIVE { Direction::Write } else { Direction::Read };
        let kick = kick.try_clone().map_err(Error::ReqHandlerError)?;
        let memory = (Arc::clone(&self.memory), Arc::clone(&self.watches));
        let ring = Ring::new(memory, shape, direction, queue.base, kick, queue.call.clone());
        let flight = self.flights.as_ref().and_then(|area| Flight::new(area, index, queue.size));
        let log = self.log.as_ref().filter(|_| logs);
        let log = log.map(|shared| Log::new(Arc::clone(shared), queue.logged));
        let notes = Notes { flight, log };
        let ring = match notes {
            Notes { flight: None, log: None } => ring,
            notes => ring.and_then(|ring| ring.noting(notes)),
        };
        ring.map(Some).map_err(refused)
    }

    /// Does something that running queues must not see half done.
    fn change(
        &mut self,
        indexes: &[usize],
        act: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        indexes.iter().try_for_each(|index| self.stop(*index))?;
        let acted = act(self);
        indexes.iter().try_for_each(|index| self.run(*index))?;
        acted
    }

    fn change_one(&mut self, index: u32, act: impl FnOnce(&mut Queue)) -> Result<()> {
        self.queue(index)?;
        let index = index as usize;
        self.change(&[index], |session| {
            act(&mut session.queues[index]);
            Ok(())
        })
    }

    fn guest_address(&self, user: u64) -> Option<u64> {
        let has = |region: &&Region| user >= region.user && user - region.user < region.bytes;
        let region = self.regions.iter().find(has)?;
        Some(region.guest + (user - region.user))
    }

    /// Has these regions from now on.
    fn share(&mut self, regions: Vec<Region>) -> Result<()> {
        let (memory, watches) = region::together(&regions)?;
        (self.memory, self.watches) = (Arc::new(memory), watches);
        self.regions = regions;
        Ok(())
    }

    fn tell_features(&mut self) -> Result<()> {
        let (ifindex, features) = (self.post.ifindex, self.features);
        let told = self.post.desk.ask(move |carrier| {
            with(carrier, ifindex, |carrier, at| carrier.ports[at].negotiated(features));
        });
        told.map_err(refused)
    }
}

fn unsupported<R>() -> Result<R> {
    Err(Error::InvalidOperation("not offered"))
}

impl VhostUserBackendReqHandlerMut for Session {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.reset_device()
    }

    fn reset_device(&mut self) -> Result<()> {
        for index in 0..QUEUES {
            self.stop(index)?;
            self.queues[index] = Queue::default();
        }
        (self.features, self.flights, self.log) = (None, None, None);
        self.tell_features()
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(Features::offered().0)
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        if features & !Features::offered().0 != 0 {
            return Err(refused(format!("features {features:#x}, which were not offered")));
        }
        self.change(&[0, 1], |session| {
            let features = Features(features);
            session.features = Some(features);
            if !features.enables() {
                session.queues.iter_mut().for_each(|queue| queue.enabled = true);
            }
            session.tell_features()
        })
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        let regions: Result<Vec<_>> =
            regions.iter().zip(files).map(|(one, file)| Region::new(one, file)).collect();
        let regions = regions?;
        self.change(&[0, 1], |session| session.share(regions))?;
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let size = u16::try_from(num).ok().filter(|n| n.is_power_of_two() && *n <= SIZE_MAX);
        let size = size.ok_or_else(|| refused(format!("a queue of {num} descriptors")))?;
        self.change_one(index, |queue| queue.size = size)
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        log: u64,
    ) -> Result<()> {
        let logged = flags.contains(VhostUserVringAddrFlags::VHOST_VRING_F_LOG).then_some(log);
        self.change_one(index, |queue| {
            (queue.places, queue.logged) = (Some([descriptor, used, available]), logged);
        })
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let base = u16::try_from(base).map_err(refused)?;
        self.change_one(index, |queue| queue.base = base)
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        self.queue(index)?;
        self.stop(index as usize)?;
        let queue = self.queue(index)?;
        (queue.started, queue.kick, queue.call) = (false, None, None);
        Ok(VhostUserVringState::new(index, queue.base.into()))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let kick = region::eventfd(fd)?;
        self.change_one(index.into(), |queue| (queue.started, queue.kick) = (true, kick))
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let ringer = Arc::clone(&self.post.ringer);
        let call = region::eventfd(fd)?.map(|eventfd| Bell::new(eventfd, ringer));
        self.change_one(index.into(), |queue| queue.call = call)
    }

    fn set_vring_err(&mut self, index: u8, _fd: Option<File>) -> Result<()> {
        self.queue(index.into()).map(drop)
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        Ok(PROTOCOL_FEATURES)
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        match features & !PROTOCOL_FEATURES.bits() {
            0 => Ok(()),
            _ => Err(refused(format!("protocol features {features:#x}"))),
        }
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(QUEUES as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.change_one(index, |queue| queue.enabled = enable)
    }

    fn get_config(&mut self, _: u32, _: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        unsupported()
    }

    fn set_config(&mut self, _: u32, _: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        unsupported()
    }

    fn set_gpu_socket(&mut self, _: GpuBackend) -> Result<()> {
        unsupported()
    }

    fn get_shared_object(&mut self, _: VhostUserSharedMsg) -> Result<File> {
        unsupported()
    }

    fn get_inflight_fd(&mut self, asked: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        let VhostUserInflight { num_queues, queue_size, .. } = *asked;
        if usize::from(num_queues) > QUEUES || queue_size > SIZE_MAX {
            // There is no answer that says no.
            return Err(Error::InvalidParam);
        }
        let file = Area::create(num_queues, queue_size).map_err(|_| Error::BackendInternalError)?;
        let bytes = Area::bytes(num_queues, queue_size);
        Ok((VhostUserInflight::new(bytes, 0, num_queues, queue_size), file))
    }

    fn set_inflight_fd(&mut self, kept: &VhostUserInflight, file: File) -> Result<()> {
        let VhostUserInflight { mmap_size, mmap_offset, num_queues, queue_size } = *kept;
        if mmap_size < Area::bytes(num_queues, queue_size) {
            return Err(refused(format!("{mmap_size} bytes for what is in flight")));
        }
        let area = Area::open(file, mmap_offset, num_queues, queue_size);
        let area = Arc::new(area.map_err(Error::ReqHandlerError)?);
        self.change(&[0, 1], |session| {
            session.flights = Some(area);
            Ok(())
        })
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Ok(REGIONS_MAX as u64)
    }

    fn add_mem_region(
        &mut self,
        added: &VhostUserSingleMemoryRegion,
        file: File,
        _postcopy: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        if self.regions.len() == REGIONS_MAX {
            return Err(refused("too many regions of memory"));
        }
        let added = Region::new(added, file)?;
        self.change(&[0, 1], |session| {
            let mut regions = std::mem::take(&mut session.regions);
            regions.push(added);
            session.share(regions)
        })?;
        Ok(None)
    }

    fn remove_mem_region(&mut self, gone: &VhostUserSingleMemoryRegion) -> Result<()> {
        let (guest, bytes) = (gone.guest_phys_addr, gone.memory_size);
        self.change(&[0, 1], |session| {
            let mut regions = std::mem::take(&mut session.regions);
            regions.retain(|region| (region.guest, region.bytes) != (guest, bytes));
            session.share(regions)
        })
    }

    fn set_device_state_fd(
        &mut self,
        _: VhostTransferStateDirection,
        _: VhostTransferStatePhase,
        _: File,
    ) -> Result<Option<File>> {
        unsupported()
    }

    fn check_device_state(&mut self) -> Result<()> {
        unsupported()
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        unsupported()
    }

    fn set_log_base(&mut self, log: &VhostUserLog, file: File) -> Result<()> {
        let shared = Shared::map(file, log.mmap_offset, log.mmap_size);
        let shared = Arc::new(shared.map_err(|_| Error::InvalidParam)?);
        self.change(&[0, 1], |session| {
            session.log = Some(shared);
            Ok(())
        })
    }
}
