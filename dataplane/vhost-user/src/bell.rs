//! Calls to a guest's driver, which nobody can hold up.
//!
//! A call is an eventfd of the front end's. A write to one waits where its counter is full, unless
//! `O_NONBLOCK` is set; and that is a property of the open file, which the front end has, too: it can
//! fill the counter and clear the flag between any check of ours and the write. So the thread that
//! carries frames never writes to it. It has the kernel do something that is done at once, to read
//! nothing from /dev/null, and say so by that eventfd (`IOCB_FLAG_RESFD` of `io_submit(2)`). That adds
//! in the kernel (`eventfd_signal`), where a full counter stays full, and nobody waits.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// Completions that the kernel keeps for us.
const ROOM: u32 = 256;
/// Calls after which they are taken out: long before there is no room.
const TAKEN_AFTER: u32 = 64;

/// `IOCB_CMD_PREAD` and `IOCB_FLAG_RESFD` (`linux/aio_abi.h`).
const READ: u16 = 0;
const TELL: u32 = 1;

/// `struct iocb`, of a little-endian machine.
#[repr(C)]
#[derive(Default)]
struct Request {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    priority: i16,
    file: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    told: u32,
}

/// `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Completion {
    words: [u64; 4],
}

/// What rings all bells of the engine.
pub struct Ringer {
    context: libc::c_ulong,
    nothing: File,
    rung: AtomicU32,
}

impl Ringer {
    /// One that rings nothing yet.
    ///
    /// # Errors
    /// The kernel has no asynchronous I/O, or none left (`fs.aio-max-nr`).
    pub fn new() -> io::Result<Self> {
        let nothing = File::open("/dev/null")?;
        let mut context: libc::c_ulong = 0;
        // SAFETY: `io_setup` writes one number, which lives on this frame and is 0 before.
        let made = unsafe { libc::syscall(libc::SYS_io_setup, ROOM, &raw mut context) };
        checked(made)?;
        Ok(Self { context, nothing, rung: AtomicU32::new(0) })
    }

    /// Adds one to an eventfd. Never waits.
    fn ring(&self, bell: &File) -> io::Result<()> {
        if self.rung.fetch_add(1, Ordering::Relaxed).is_multiple_of(TAKEN_AFTER) {
            self.take_completions();
        }
        self.submit(bell)
    }

    fn submit(&self, bell: &File) -> io::Result<()> {
        let mut request = Request {
            opcode: READ,
            file: self.nothing.as_raw_fd() as u32,
            flags: TELL,
            told: bell.as_raw_fd() as u32,
            ..Request::default()
        };
        let list = [&raw mut request];
        // SAFETY: the context is ours and lives, the list has one entry; the kernel has read all of
        // the request when the call returns, and writes into no buffer, since nothing is read.
        checked(unsafe { libc::syscall(libc::SYS_io_submit, self.context, 1, list.as_ptr()) })
    }

    fn take_completions(&self) {
        let mut taken = [Completion::default(); TAKEN_AFTER as usize];
        let (none, most) = (0, taken.len());
        // SAFETY: the kernel writes at most so many entries as the array has, and waits for none.
        let _ = unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.context,
                none,
                most,
                taken.as_mut_ptr(),
                ptr::null_mut::<libc::timespec>(),
            )
        };
    }
}

impl Drop for Ringer {
    fn drop(&mut self) {
        // SAFETY: the context is ours, and nothing that it does has memory of ours.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}

fn checked(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How a driver is called.
#[derive(Clone)]
pub struct Bell {
    eventfd: Arc<File>,
    ringer: Arc<Ringer>,
}

impl Bell {
    /// One that rings by this eventfd; a descriptor that is none refuses to ring.
    pub fn new(eventfd: File, ringer: Arc<Ringer>) -> Self {
        Self { eventfd: Arc::new(eventfd), ringer }
    }

    /// Calls the driver.
    pub fn ring(&self) {
        // What fails here is the front end's: its descriptor.
        let _ = self.ringer.ring(&self.eventfd);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::fd::FromRawFd,
        sync::mpsc,
        thread,
        time::Duration,
    };

    use super::*;

    fn eventfd() -> File {
        // SAFETY: makes a descriptor, which the file then owns alone.
        unsafe { File::from_raw_fd(libc::eventfd(0, 0)) }
    }

    fn count(mut eventfd: &File) -> u64 {
        let mut number = [0; 8];
        eventfd.read_exact(&mut number).unwrap();
        u64::from_ne_bytes(number)
    }

    #[test]
    fn each_call_counts() {
        let (file, ringer) = (eventfd(), Arc::new(Ringer::new().unwrap()));
        let bell = Bell::new(file.try_clone().unwrap(), ringer);
        // More than there is room for at once.
        for calls in [1, 3, 1000] {
            (0..calls).for_each(|_| bell.ring());
            assert_eq!(count(&file), calls);
        }
    }

    #[test]
    fn a_counter_that_is_full_holds_up_nobody() {
        let (mut file, ringer) = (eventfd(), Arc::new(Ringer::new().unwrap()));
        file.write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
        let bell = Bell::new(file.try_clone().unwrap(), ringer);
        let (done, wait) = mpsc::channel();
        thread::spawn(move || {
            (0..1000).for_each(|_| bell.ring());
            done.send(()).unwrap();
        });
        wait.recv_timeout(Duration::from_secs(60)).expect("a call that waits");
        assert_eq!(count(&file), u64::MAX);
    }

    #[test]
    fn what_is_no_eventfd_is_refused() {
        let ringer = Ringer::new().unwrap();
        let other = File::open("/dev/null").unwrap();
        let refused = ringer.ring(&other).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
}
