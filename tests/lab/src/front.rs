//! A vhost-user front end, and the driver of its queues: what a virtual machine monitor and its guest
//! are to a vhost-user port, without either. What it writes into the shared memory is anybody's
//! choice, so it can lie, too.

use std::{
    fs::File,
    io,
    num::Wrapping,
    os::fd::{AsFd, AsRawFd},
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::memfd::{MFdFlags, memfd_create},
};
use vhost::{
    VhostBackend, VhostUserDirtyLogRegion, VhostUserMemoryRegionInfo, VringConfigData,
    vhost_user::{
        Frontend, VhostUserFrontend,
        message::{VhostUserInflight, VhostUserProtocolFeatures},
    },
};
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};
use vmm_sys_util::{
    epoll::{ControlOperation, Epoll, EpollEvent, EventSet},
    eventfd::{EFD_NONBLOCK, EventFd},
};

use crate::{
    Error, Result,
    sys::{self, VNET_HEADER},
};

/// Descriptors of each queue.
pub const SIZE: u16 = 256;
/// Where a queue's parts are: its descriptor table first.
const AVAILABLE: u64 = 0x4000;
const USED: u64 = 0x5000;
/// Distance of two queues.
const QUEUE: u64 = 0x8000;
/// Where the buffers for what is sent begin.
const SENT: u64 = 0x10_0000;

/// Whether a driver wants to be told by index when there is something (`VIRTIO_F_EVENT_IDX`).
pub const EVENT_IDX: u64 = 1 << 29;
const LOG: u64 = 1 << 26;
const PROTOCOL_FEATURES: u64 = 1 << 30;
/// Bytes of a page of the log.
pub const PAGE: u64 = 4096;
const WRITE: u16 = 2;
/// Of the queues.
const RECEIVE: usize = 0;
const SEND: usize = 1;

/// The memory of a guest.
pub type Memory = GuestMemoryMmap<()>;

/// How many descriptors a guest's queues have, and how large its buffers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Descriptors of each queue: a power of two, at most 1,024.
    pub size: u16,
    /// Distance of two buffers for what is sent, bytes.
    pub sent_each: u64,
    /// Of two buffers for what is received: a frame that needs more is in several.
    pub received_each: u64,
}

impl Layout {
    /// Everything that can be sent, a super-packet too, goes into one buffer.
    pub const WIDE: Self = Self { size: SIZE, sent_each: 0x1_2000, received_each: 0x1000 };

    /// Where a buffer for what is sent is.
    pub const fn sent(&self, slot: u16) -> u64 {
        SENT + self.sent_each * slot as u64
    }

    /// Where a buffer for what is received is.
    pub const fn received(&self, slot: u16) -> u64 {
        self.sent(self.size) + self.received_each * slot as u64
    }

    /// Does only the other side write to this page: a used ring, or buffers for what is received?
    pub fn is_theirs(&self, page: u64) -> bool {
        let at = page * PAGE;
        at >= self.received(0) || [RECEIVE, SEND].iter().any(|queue| self.parts(*queue)[2] == at)
    }

    /// Bytes of the memory.
    pub const fn memory(&self) -> u64 {
        self.received(self.size).next_multiple_of(0x1000)
    }

    /// Where the parts of a queue are: descriptor table, available ring, used ring.
    pub const fn parts(&self, queue: usize) -> [u64; 3] {
        let base = QUEUE * queue as u64;
        [base, base + AVAILABLE, base + USED]
    }
}

/// A connection, with both queues running.
pub struct Front {
    /// The socket's other end is told by this.
    pub frontend: Frontend,
    watch: UnixStream,
    /// The guest's memory.
    pub memory: Arc<Memory>,
    /// What was negotiated.
    pub features: u64,
    /// What the guest sends; `None` once it was taken out.
    pub send: Option<SendQueue>,
    /// What it receives.
    pub receive: Option<ReceiveQueue>,
    flights: Option<(VhostUserInflight, File)>,
}

/// What comes of speaking with the other side.
type Negotiated<T> = std::result::Result<T, vhost::Error>;

/// What stays when the other side dies.
struct Kept {
    memory: Arc<Memory>,
    queues: [Queue; 2],
    /// Where it is kept what is in flight.
    flights: Option<(VhostUserInflight, File)>,
}

impl Kept {
    /// Of one who begins.
    fn new(
        frontend: &mut Frontend,
        features: u64,
        layout: Layout,
        keeps: bool,
    ) -> Negotiated<Self> {
        let wanted = VhostUserInflight::new(0, 0, 2, layout.size);
        let flights = keeps.then(|| frontend.get_inflight_fd(&wanted)).transpose()?;
        let memory = Arc::new(memory(layout).map_err(|_| vhost::Error::InvalidGuestMemory)?);
        let event_index = features & EVENT_IDX != 0;
        let queue = |index| Queue::new(Arc::clone(&memory), index, layout, event_index);
        let queues = [RECEIVE, SEND].map(queue);
        Ok(Self { memory, queues, flights })
    }
}

impl Front {
    /// Connects and negotiates all that is offered, but for these features.
    pub fn connect(socket: &Path, without: u64) -> Result<Self> {
        let stream = UnixStream::connect(socket).map_err(Error::file(socket))?;
        Self::over(stream, !without, Layout::WIDE)
    }

    /// Negotiates what is offered of these features, with whoever is on the other side.
    pub fn over(stream: UnixStream, wanted: u64, layout: Layout) -> Result<Self> {
        let kept = |frontend: &mut _, features| Kept::new(frontend, features, layout, false);
        Self::with(stream, wanted, kept)
    }

    /// Connects, and keeps what is in flight for when the other side dies.
    pub fn keeping(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).map_err(Error::file(socket))?;
        let kept = |frontend: &mut _, features| Kept::new(frontend, features, Layout::WIDE, true);
        Self::with(stream, !0, kept)
    }

    /// Connects once more after the other side has died: memory, queues and what was in flight are
    /// those of before.
    pub fn again(self, socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).map_err(Error::file(socket))?;
        let (Some(send), Some(receive)) = (self.send, self.receive) else {
            return Err(Error::TimedOut { what: "queues that were taken out".into(), seconds: 0 });
        };
        let kept = Kept { memory: self.memory, queues: [receive.0, send.0], flights: self.flights };
        Self::with(stream, self.features, |_, _| Ok(kept))
    }

    fn with(
        stream: UnixStream,
        wanted: u64,
        kept: impl FnOnce(&mut Frontend, u64) -> Negotiated<Kept>,
    ) -> Result<Self> {
        let watch = stream.try_clone().map_err(Error::system("dup"))?;
        let frontend = Frontend::from_stream(stream, 2);
        // There is no log before somebody wants one.
        Self::negotiate(frontend, watch, wanted & !LOG, kept).map_err(failed("negotiating"))
    }

    fn negotiate(
        mut frontend: Frontend,
        watch: UnixStream,
        wanted: u64,
        kept: impl FnOnce(&mut Frontend, u64) -> Negotiated<Kept>,
    ) -> Negotiated<Self> {
        frontend.set_owner()?;
        let features = frontend.get_features()? & wanted;
        frontend.set_features(features)?;
        if features & PROTOCOL_FEATURES != 0 {
            let all = frontend.get_protocol_features()?;
            let wanted = VhostUserProtocolFeatures::REPLY_ACK
                | VhostUserProtocolFeatures::INFLIGHT_SHMFD
                | VhostUserProtocolFeatures::LOG_SHMFD;
            frontend.set_protocol_features(all & wanted)?;
        }
        frontend.set_hdr_flags(vhost::vhost_user::message::VhostUserHeaderFlag::NEED_REPLY);
        let Kept { memory, queues, flights } = kept(&mut frontend, features)?;
        if let Some((area, file)) = &flights {
            frontend.set_inflight_fd(area, file.as_raw_fd())?;
        }
        let region = memory.iter().next().expect("one region");
        let region = VhostUserMemoryRegionInfo::from_guest_region(region)?;
        frontend.set_mem_table(&[region])?;
        for queue in &queues {
            queue.tell(&mut frontend, region.userspace_addr, features)?;
        }
        let [receive, send] = queues;
        let (mut receive, send) = (ReceiveQueue(receive), SendQueue(send));
        if receive.0.available.0 == 0 {
            receive.fill();
        }
        let (send, receive) = (Some(send), Some(receive));
        Ok(Self { frontend, watch, memory, features, send, receive, flights })
    }

    /// From now on the other side is to note every page that it writes; the file has a bit for each.
    pub fn log(&mut self) -> Result<File> {
        let file = memfd_create("log", MFdFlags::MFD_CLOEXEC);
        let file = File::from(file.map_err(Error::system("memfd_create"))?);
        file.set_len(self.contents().len() as u64 / PAGE).map_err(Error::system("ftruncate"))?;
        self.tell_log(&file).map_err(failed("telling of a log"))?;
        Ok(file)
    }

    fn tell_log(&mut self, file: &File) -> Negotiated<()> {
        let mmap_size = file.metadata().map_or(0, |file| file.len());
        let (mmap_offset, mmap_handle) = (0, file.as_raw_fd());
        let region = VhostUserDirtyLogRegion { mmap_size, mmap_offset, mmap_handle };
        self.frontend.set_log_base(0, Some(region))?;
        self.frontend.set_features(self.features | LOG)?;
        let user = self.memory.get_host_address(GuestAddress(0)).expect("its beginning") as u64;
        let queues = [self.receive.as_ref().map(|q| &q.0), self.send.as_ref().map(|q| &q.0)];
        for queue in queues.into_iter().flatten() {
            self.frontend.set_vring_addr(queue.index, &queue.places(user, true))?;
        }
        Ok(())
    }

    /// Where it is kept what is in flight, by one that does.
    pub fn flights(&self) -> Option<&File> {
        self.flights.as_ref().map(|(_, file)| file)
    }

    /// All of the memory, as it is now.
    pub fn contents(&self) -> Vec<u8> {
        let region = self.memory.iter().next().expect("one region");
        let mut all = vec![0; region.len() as usize];
        self.memory.read_slice(&mut all, GuestAddress(0)).expect("in the memory");
        all
    }

    /// The socket, to see whether the other side is there.
    pub fn watch(&self) -> &UnixStream {
        &self.watch
    }

    /// Makes the file of the memory empty, under whoever has it mapped. It must not be used any more.
    pub fn take_memory_back(&self) {
        let region = self.memory.iter().next().expect("one region");
        let file = region.file_offset().expect("of a file").file();
        file.set_len(0).expect("a file that may shrink");
    }

    /// Is the other side gone? Waits so long for that.
    pub fn is_cut(&self, wait_ms: u8) -> bool {
        let mut ready = [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::from(wait_ms)).is_ok_and(|count| count > 0)
    }

    /// Sends a frame with nothing left to do about it.
    pub fn say(&mut self, frame: &[u8]) -> bool {
        let whole = [&[0; VNET_HEADER], frame].concat();
        self.send.as_mut().is_some_and(|queue| queue.send(&whole))
    }

    /// The next frame that comes, without its header, if one comes in time.
    pub fn hear(&mut self, wait_ms: u16) -> Option<Vec<u8>> {
        let queue = self.receive.as_mut()?;
        for _ in 0..=wait_ms / 10 {
            if let Some(frame) = queue.receive() {
                return Some(frame[VNET_HEADER..].to_vec());
            }
            queue.wait(10);
        }
        None
    }
}

fn failed(what: &'static str) -> impl FnOnce(vhost::Error) -> Error {
    move |source| Error::System {
        call: format!("{what} with a vhost-user port"),
        source: io::Error::other(source.to_string()),
    }
}

fn memory(layout: Layout) -> io::Result<Memory> {
    let file = File::from(memfd_create("guest", MFdFlags::MFD_CLOEXEC)?);
    file.set_len(layout.memory())?;
    let offset = FileOffset::new(file, 0);
    let ranges = [(GuestAddress(0), layout.memory() as usize, Some(offset))];
    Memory::from_ranges_with_files(ranges).map_err(io::Error::other)
}

/// A queue, from its driver's side.
pub struct Queue {
    memory: Arc<Memory>,
    index: usize,
    layout: Layout,
    base: u64,
    event_index: bool,
    /// Chains made available so far.
    pub available: Wrapping<u16>,
    /// Chains that came back and were looked at.
    seen: Wrapping<u16>,
    kicked: Wrapping<u16>,
    /// Kicks the device.
    pub kick: EventFd,
    call: EventFd,
    calls: Epoll,
}

impl Queue {
    fn new(memory: Arc<Memory>, index: usize, layout: Layout, event_index: bool) -> Self {
        let bell = || EventFd::new(EFD_NONBLOCK).expect("an eventfd");
        let zero = Wrapping(0);
        let base = QUEUE * index as u64;
        let (kick, call) = (bell(), bell());
        let calls = Epoll::new().expect("an epoll");
        let event = EpollEvent::new(EventSet::IN, 0);
        calls.ctl(ControlOperation::Add, call.as_raw_fd(), event).expect("an eventfd");
        Self {
            memory,
            index,
            layout,
            base,
            event_index,
            available: zero,
            seen: zero,
            kicked: zero,
            kick,
            call,
            calls,
        }
    }

    fn tell(
        &self,
        frontend: &mut Frontend,
        user: u64,
        features: u64,
    ) -> std::result::Result<(), vhost::Error> {
        let size = self.layout.size;
        frontend.set_vring_num(self.index, size)?;
        frontend.set_vring_addr(self.index, &self.places(user, false))?;
        frontend.set_vring_base(self.index, self.returned())?;
        frontend.set_vring_call(self.index, &self.call)?;
        frontend.set_vring_kick(self.index, &self.kick)?;
        if features & PROTOCOL_FEATURES != 0 {
            frontend.set_vring_enable(self.index, true)?;
        }
        Ok(())
    }

    /// Where its parts are, and under which address its used ring is logged.
    fn places(&self, user: u64, logged: bool) -> VringConfigData {
        let size = self.layout.size;
        let [table, available, used] = self.layout.parts(self.index);
        VringConfigData {
            queue_max_size: size,
            queue_size: size,
            flags: u32::from(logged),
            desc_table_addr: user + table,
            used_ring_addr: user + used,
            avail_ring_addr: user + available,
            log_addr: logged.then_some(used),
        }
    }

    /// Writes a number somewhere behind the queue's beginning.
    fn put(&self, offset: u64, value: u16) {
        let place = GuestAddress(self.base + offset);
        self.memory.store(value, place, Ordering::Relaxed).expect("in the memory");
    }

    fn get(&self, offset: u64) -> u16 {
        let place = GuestAddress(self.base + offset);
        self.memory.load(place, Ordering::Acquire).expect("in the memory")
    }

    /// Writes a descriptor.
    pub fn describe(&self, index: u16, address: u64, length: u32, flags: u16, next: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        let place = GuestAddress(self.base + u64::from(index) * 16);
        self.memory.write_slice(&bytes, place).expect("in the memory");
    }

    /// Makes a chain available, without saying so.
    pub fn offer(&mut self, head: u16) {
        self.put(AVAILABLE + 4 + u64::from(self.available.0 % self.layout.size) * 2, head);
        self.available += 1;
    }

    /// Says how many are available.
    pub fn publish(&mut self) {
        let place = GuestAddress(self.base + AVAILABLE + 2);
        self.memory.store(self.available.0, place, Ordering::Release).expect("in the memory");
    }

    /// Kicks if that is wanted.
    pub fn kick(&mut self) {
        fence(Ordering::SeqCst);
        let (old, new) = (self.kicked, self.available);
        self.kicked = new;
        let wanted = if self.event_index {
            let event = Wrapping(self.get(USED + 4 + u64::from(self.layout.size) * 8));
            new - event - Wrapping(1) < new - old
        } else {
            self.get(USED) & 1 == 0
        };
        if wanted {
            let _ = self.kick.write(1);
        }
    }

    /// Kicks whether it is wanted or not.
    pub fn insist(&self) {
        let _ = self.kick.write(1);
    }

    /// Fills the counter of its calls, and has writers wait until there is room: both are properties of
    /// the open file, which the other side has, too.
    pub fn hold_up_calls(&self) -> Result<()> {
        self.call.write(u64::MAX - 1).map_err(Error::system("filling a counter"))?;
        sys::block(&self.call)
    }

    /// Chains that came back and were looked at so far, modulo 65,536.
    pub fn seen(&self) -> u16 {
        self.seen.0
    }

    /// Chains that came back so far, looked at or not.
    pub fn returned(&self) -> u16 {
        self.get(USED + 2)
    }

    /// Chains that have not come back.
    pub fn outstanding(&self) -> u16 {
        (self.available - self.seen).0
    }

    /// The next chain that came back, with the bytes written into it.
    pub fn next_used(&mut self) -> Option<(u16, u32)> {
        if self.get(USED + 2) == self.seen.0 {
            return None;
        }
        let place = self.base + USED + 4 + u64::from(self.seen.0 % self.layout.size) * 8;
        let mut element = [0; 8];
        self.memory.read_slice(&mut element, GuestAddress(place)).expect("in the memory");
        self.seen += 1;
        let [a, b, _, _, c, d, e, f] = element;
        Some((u16::from_le_bytes([a, b]), u32::from_le_bytes([c, d, e, f])))
    }

    /// Waits for a call, at most so long.
    pub fn wait(&mut self, wait_ms: u8) {
        // Called for the next one that comes back.
        self.put(AVAILABLE + 4 + u64::from(self.layout.size) * 2, self.seen.0);
        fence(Ordering::SeqCst);
        if self.get(USED + 2) != self.seen.0 {
            return;
        }
        let _ = self.calls.wait(wait_ms.into(), &mut [EpollEvent::default()]);
        let _ = self.call.read();
    }
}

/// What the guest sends.
pub struct SendQueue(pub Queue);

impl SendQueue {
    /// Sends a frame with its header. False: there is no free buffer.
    pub fn send(&mut self, whole: &[u8]) -> bool {
        let queue = &mut self.0;
        while queue.next_used().is_some() {}
        let Layout { size, sent_each, .. } = queue.layout;
        if (queue.available - queue.seen).0 == size || whole.len() as u64 > sent_each {
            return false;
        }
        let slot = queue.available.0 % size;
        let place = queue.layout.sent(slot);
        queue.memory.write_slice(whole, GuestAddress(place)).expect("in the memory");
        queue.describe(slot, place, whole.len() as u32, 0, 0);
        queue.offer(slot);
        queue.publish();
        queue.kick();
        true
    }
}

/// What it receives.
pub struct ReceiveQueue(pub Queue);

impl ReceiveQueue {
    fn fill(&mut self) {
        let layout = self.0.layout;
        for slot in 0..layout.size {
            self.0.describe(slot, layout.received(slot), layout.received_each as u32, WRITE, 0);
            self.0.offer(slot);
        }
        self.0.publish();
        self.0.kick();
    }

    /// The next frame with its header, if one has come.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let queue = &mut self.0;
        let mut frame = Vec::new();
        let (mut left, mut first) = (1, true);
        while left > 0 {
            let (slot, bytes) = queue.next_used()?;
            let place = GuestAddress(queue.layout.received(slot));
            let at = frame.len();
            frame.resize(at + bytes as usize, 0);
            queue.memory.read_slice(&mut frame[at..], place).expect("in the memory");
            if std::mem::take(&mut first) {
                left = u16::from_le_bytes([*frame.get(10)?, *frame.get(11)?]).max(1);
            }
            queue.offer(slot);
            left -= 1;
        }
        queue.publish();
        queue.kick();
        Some(frame)
    }

    /// Waits for a call, at most so long.
    pub fn wait(&mut self, wait_ms: u8) {
        self.0.wait(wait_ms);
    }
}
