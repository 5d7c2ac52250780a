//! Virtual processors, each in a thread of its own.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use kvm_ioctls::{VcpuExit, VcpuFd};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

use crate::{
    bus::Bus,
    error::{Error, Result},
    machine::End,
};

/// Between two knocks at a processor that is inside the guest.
const KNOCK: Duration = Duration::from_millis(1);

/// What processors are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Run,
    Pause,
    End,
}

/// What all processors of a machine look at.
struct Post {
    order: Mutex<Order>,
    changed: Condvar,
    /// Looked at on each exit: [`Order::Run`] is in force.
    runs: AtomicBool,
}

/// The processors of a machine.
pub struct Processors {
    post: Arc<Post>,
    threads: Vec<Thread>,
}

/// Where one of them runs.
struct Thread {
    handle: JoinHandle<()>,
    vcpu: Arc<Mutex<VcpuFd>>,
    /// It is not inside the guest, and will not enter before it has looked at the post.
    outside: Arc<AtomicBool>,
}

/// Where a processor's reads and writes go.
#[derive(Clone)]
pub struct Buses {
    /// IN and OUT.
    pub ports: Arc<Bus>,
    /// Addresses that are not memory.
    pub memory: Arc<Bus>,
}

extern "C" fn knocked(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

impl Processors {
    /// Threads for these processors, which wait to be [resumed](Self::resume). `ends`: who wants
    /// to know that the guest has ended.
    pub fn new(vcpus: Vec<VcpuFd>, buses: &Buses, ends: &Sender<End>) -> Result<Self> {
        let system = Error::system("a signal for the processors");
        register_signal_handler(SIGRTMIN(), knocked)
            .map_err(|error| system(io::Error::from_raw_os_error(error.errno())))?;
        let post = Arc::new(Post {
            order: Mutex::new(Order::Pause),
            changed: Condvar::new(),
            runs: AtomicBool::new(false),
        });
        let mut all = Self { post, threads: Vec::with_capacity(vcpus.len()) };
        for (id, vcpu) in vcpus.into_iter().enumerate() {
            let outside = Arc::new(AtomicBool::new(true));
            let vcpu = Arc::new(Mutex::new(vcpu));
            let processor = Processor {
                vcpu: Arc::clone(&vcpu),
                buses: buses.clone(),
                post: Arc::clone(&all.post),
                outside: Arc::clone(&outside),
                ends: ends.clone(),
            };
            let handle = thread::Builder::new()
                .name(format!("vcpu{id}"))
                .spawn(|| processor.work())
                .map_err(Error::system("a thread for a processor"))?;
            all.threads.push(Thread { handle, vcpu, outside });
        }
        Ok(all)
    }

    /// Lets them run.
    pub fn resume(&self) {
        self.order(Order::Run);
    }

    /// Returns when none of them is inside the guest any more.
    pub fn pause(&self) {
        self.order(Order::Pause);
        self.knock();
    }

    /// Asks each of them for something, while all stand still.
    pub fn each<T>(&self, mut ask: impl FnMut(&VcpuFd) -> Result<T>) -> Result<Vec<T>> {
        let lock =
            |thread: &'_ Thread| ask(&thread.vcpu.lock().unwrap_or_else(PoisonError::into_inner));
        self.threads.iter().map(lock).collect()
    }

    fn order(&self, order: Order) {
        *self.post.lock() = order;
        self.post.runs.store(order == Order::Run, Ordering::SeqCst);
        self.post.changed.notify_all();
    }

    /// One that was just about to enter the guest does not see the first knock.
    fn knock(&self) {
        for Thread { handle, outside, .. } in &self.threads {
            while !outside.load(Ordering::SeqCst) && !handle.is_finished() {
                let _ = handle.kill(SIGRTMIN());
                thread::sleep(KNOCK);
            }
        }
    }
}

impl Drop for Processors {
    fn drop(&mut self) {
        self.order(Order::End);
        self.knock();
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.handle.join();
        }
    }
}

impl Post {
    fn lock(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to do; false at the end.
    fn wait(&self) -> bool {
        let mut order = self.lock();
        while *order == Order::Pause {
            order = self.changed.wait(order).unwrap_or_else(PoisonError::into_inner);
        }
        *order == Order::Run
    }
}

/// One processor.
struct Processor {
    /// Locked while it runs.
    vcpu: Arc<Mutex<VcpuFd>>,
    buses: Buses,
    post: Arc<Post>,
    outside: Arc<AtomicBool>,
    ends: Sender<End>,
}

/// Why a processor is not inside the guest any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// The guest wanted something, and has it.
    Served,
    /// A signal came, or there is nothing that it could run.
    Interrupted,
}

impl Processor {
    fn work(self) {
        loop {
            self.outside.store(true, Ordering::SeqCst);
            if !self.post.wait() {
                return;
            }
            self.outside.store(false, Ordering::SeqCst);
            if let Err(end) = self.run() {
                self.outside.store(true, Ordering::SeqCst);
                let _ = self.ends.send(end);
                return;
            }
        }
    }

    /// Runs the guest until somebody wants it to stand still.
    fn run(&self) -> std::result::Result<(), End> {
        let mut vcpu = self.vcpu.lock().unwrap_or_else(PoisonError::into_inner);
        while self.post.runs.load(Ordering::SeqCst) {
            self.enter(&mut vcpu)?;
        }
        // An answer that it has been given reaches its registers when it enters next.
        vcpu.set_kvm_immediate_exit(1);
        while self.enter(&mut vcpu)? != Left::Interrupted {}
        vcpu.set_kvm_immediate_exit(0);
        Ok(())
    }

    /// Runs the guest until it wants something of us.
    fn enter(&self, vcpu: &mut VcpuFd) -> std::result::Result<Left, End> {
        let Buses { ports, memory } = &self.buses;
        match vcpu.run() {
            Ok(VcpuExit::IoIn(port, data)) => ports.read(port.into(), data),
            Ok(VcpuExit::IoOut(port, data)) => ports.write(port.into(), data),
            Ok(VcpuExit::MmioRead(address, data)) => memory.read(address, data),
            Ok(VcpuExit::MmioWrite(address, data)) => memory.write(address, data),
            Ok(VcpuExit::Hlt) => {}
            Ok(VcpuExit::Intr) => return Ok(Left::Interrupted),
            // A triple fault: on a real machine the processor's reset line.
            Ok(VcpuExit::Shutdown) => return Err(End::Reboot),
            Ok(other) => return Err(End::Failed { what: format!("{other:?}") }),
            Err(error) if [libc::EINTR, libc::EAGAIN].contains(&error.errno()) => {
                return Ok(Left::Interrupted);
            }
            Err(error) => return Err(End::Failed { what: format!("KVM_RUN: {error}") }),
        }
        Ok(Left::Served)
    }
}
