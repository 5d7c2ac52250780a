//! A connection with a front end (QEMU's "Vhost-user Protocol"): what it says of memory and queues,
//! checked, and told to the thread that carries frames. One thread for each port, so that a front
//! end which stalls keeps nobody but itself waiting.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::net::UnixStream},
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
use vm_memory::{GuestAddress, GuestRegionMmap};

use crate::{
    bell::{Bell, Ringer},
    carrier::{Carrier, Desk},
    enable,
    fault::Watch,
    features::{Features, PROTOCOL_FEATURES},
    port::{QUEUES, RECEIVE},
    ring::{Direction, Memory, Ring, SIZE_MAX, Shape},
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

/// Memory that a front end has shared.
struct Region {
    /// Where it is for the front end, which names the places of queues so.
    user: u64,
    guest: u64,
    bytes: u64,
    map: Arc<GuestRegionMmap<()>>,
}

/// What is known of a queue.
#[derive(Default)]
struct Queue {
    size: u16,
    /// Descriptors, available ring, used ring: for the front end.
    places: Option<[u64; 3]>,
    base: u16,
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
        if !ready {
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
        let mut sorted: Vec<_> = regions.iter().map(|region| Arc::clone(&region.map)).collect();
        sorted.sort_by_key(|map| vm_memory::GuestMemoryRegion::start_addr(&**map));
        let memory = if sorted.is_empty() {
            Memory::new()
        } else {
            Memory::from_arc_regions(sorted).map_err(refused)?
        };
        let watch = |region: &Region| Watch::new(region.map.as_ptr(), region.bytes as usize);
        let watches: Option<Vec<_>> = regions.iter().map(watch).collect();
        self.watches = watches.ok_or_else(|| refused("too many regions of memory"))?.into();
        self.memory = Arc::new(memory);
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

fn refused(reason: impl std::fmt::Display) -> Error {
    Error::ReqHandlerError(io::Error::other(reason.to_string()))
}

fn unsupported<R>() -> Result<R> {
    Err(Error::InvalidOperation("not offered"))
}

fn region(region: &VhostUserMemoryRegion, file: File) -> Result<Region> {
    let (guest, bytes, user) = (region.guest_phys_addr, region.memory_size, region.user_addr);
    if guest.checked_add(bytes).is_none() || user.checked_add(bytes).is_none() {
        return Err(refused("memory that goes beyond the end of all addresses"));
    }
    let map = GuestRegionMmap::new(region.mmap_region(file)?, GuestAddress(guest));
    let map = Arc::new(map.ok_or_else(|| refused("memory of no address"))?);
    Ok(Region { user, guest, bytes, map })
}

/// A descriptor by which somebody is rung. An eventfd, and nothing else: what a file of another kind
/// does when somebody waits for it is its maker's choice.
fn eventfd(file: Option<File>) -> Result<Option<File>> {
    let Some(file) = file else { return Ok(None) };
    let kind = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    if !kind.is_ok_and(|kind| kind.as_os_str() == "anon_inode:[eventfd]") {
        return Err(refused("a descriptor that is no eventfd"));
    }
    Ok(Some(file))
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
        self.features = None;
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
            regions.iter().zip(files).map(|(one, file)| region(one, file)).collect();
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
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        self.change_one(index, |queue| queue.places = Some([descriptor, used, available]))
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
        let kick = eventfd(fd)?;
        self.change_one(index.into(), |queue| (queue.started, queue.kick) = (true, kick))
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let ringer = Arc::clone(&self.post.ringer);
        let call = eventfd(fd)?.map(|eventfd| Bell::new(eventfd, ringer));
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

    /// Frames are done with in their order, and none is in hand between two bursts: what is under
    /// way is said by the rings.
    fn get_inflight_fd(&mut self, _: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        unsupported()
    }

    fn set_inflight_fd(&mut self, _: &VhostUserInflight, _: File) -> Result<()> {
        unsupported()
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
        let added = region(added, file)?;
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

    fn set_log_base(&mut self, _: &VhostUserLog, _: File) -> Result<()> {
        unsupported()
    }
}
