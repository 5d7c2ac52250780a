//! The system calls that no safe wrapper offers: the ioctls of tun(4) and a few of bpf(2).
//!
//! This is the only file of the crate with `unsafe` in it.
#![allow(unsafe_code)]

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    path::Path,
};

use nix::{ioctl_write_int_bad, ioctl_write_ptr_bad, request_code_write};

// linux/if_tun.h
ioctl_write_ptr_bad!(tun_set_iff, request_code_write!(b'T', 202, 4), libc::ifreq);
ioctl_write_int_bad!(tun_set_offload, request_code_write!(b'T', 208, 4));
ioctl_write_ptr_bad!(tun_set_vnet_header, request_code_write!(b'T', 216, 4), libc::c_int);

/// TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6: the reader accepts partial checksums and super-packets.
const OFFLOADS: libc::c_int = 1 | 2 | 4;

/// Makes `fd`, an open `/dev/net/tun`, a queue of the tap `name` (made if it does not exist), with
/// a virtio-net header of `vnet_header` bytes and all offloads a guest would accept.
pub fn attach_tap(
    fd: BorrowedFd<'_>,
    name: &str,
    vnet_header: usize,
    multi_queue: bool,
) -> io::Result<()> {
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if multi_queue {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    // SAFETY: all-zero is a valid `ifreq`: integers, arrays and pointers only.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    let header = vnet_header as libc::c_int;
    // SAFETY: `fd` is open for the whole call, and each pointer refers to a live local of the type
    // that the ioctl reads.
    unsafe {
        tun_set_iff(fd.as_raw_fd(), &request)?;
        tun_set_vnet_header(fd.as_raw_fd(), &header)?;
        tun_set_offload(fd.as_raw_fd(), OFFLOADS)?;
    }
    Ok(())
}

/// Commands of bpf(2), from linux/bpf.h.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Bpf {
    MapCreate = 0,
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    MapGetNextKey = 4,
    ProgLoad = 5,
    ObjGet = 7,
    ProgTestRun = 10,
}

/// BPF_MAP_TYPE_PROG_ARRAY.
pub const PROG_ARRAY: u32 = 3;
/// BPF_MAP_TYPE_ARRAY.
pub const ARRAY: u32 = 2;
const SCHED_CLS: u32 = 3;

/// Calls bpf(2) with the leading part of `bpf_attr` that `attr` lays out.
fn bpf<T>(command: Bpf, attr: &mut T) -> io::Result<i32> {
    // SAFETY: every `T` passed here is a `repr(C)` prefix of `union bpf_attr` for its command,
    // fully initialised, and the kernel is told its size. Pointers inside it come from references
    // that outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_mut(attr),
            size_of::<T>() as libc::c_uint,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// Owns a descriptor that bpf(2) has just returned.
fn owned(fd: i32) -> OwnedFd {
    // SAFETY: only called with the result of a bpf command that returns a new descriptor.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Address of a buffer, as the attribute wants it.
fn address<T: ?Sized>(buffer: &T) -> u64 {
    std::ptr::from_ref(buffer).cast::<u8>() as u64
}

/// Creates a map with keys of four bytes.
pub fn map_create(map_type: u32, value_size: u32, max_entries: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
    }
    let mut attr = Attr { map_type, key_size: 4, value_size, max_entries, map_flags: 0 };
    bpf(Bpf::MapCreate, &mut attr).map(owned)
}

#[repr(C)]
struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value_or_next: u64,
    flags: u64,
}

fn element<K>(map: &OwnedFd, key: &K, value_or_next: &[u8]) -> Element {
    Element {
        map_fd: map.as_raw_fd() as u32,
        pad: 0,
        key: address(key),
        value_or_next: address(value_or_next),
        flags: 0,
    }
}

/// Sets `map[key] = value` in a map with keys of four bytes; `value` has the map's value size.
pub fn map_update(map: &OwnedFd, key: u32, value: &[u8]) -> io::Result<()> {
    bpf(Bpf::MapUpdateElem, &mut element(map, &key, value)).map(drop)
}

/// Reads an element of a map with keys of four bytes and values of eight.
pub fn map_word(map: &OwnedFd, key: u32) -> io::Result<u64> {
    let mut value = [0u8; 8];
    let mut attr = element(map, &key, &[]);
    attr.value_or_next = value.as_mut_ptr() as u64;
    bpf(Bpf::MapLookupElem, &mut attr)?;
    Ok(u64::from_ne_bytes(value))
}

/// The key after `key` (the first one for `None`) of a hash map with keys of `N` bytes.
fn map_next<const N: usize>(map: &OwnedFd, key: Option<&[u8; N]>) -> io::Result<Option<[u8; N]>> {
    let mut next = [0u8; N];
    let mut attr = Element {
        map_fd: map.as_raw_fd() as u32,
        pad: 0,
        key: key.map_or(0, address),
        value_or_next: next.as_mut_ptr() as u64,
        flags: 0,
    };
    match bpf(Bpf::MapGetNextKey, &mut attr) {
        Ok(_) => Ok(Some(next)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Deletes every entry of a hash map with keys of `N` bytes; how many there were.
pub fn map_clear<const N: usize>(map: &OwnedFd) -> io::Result<u64> {
    let mut deleted = 0;
    let mut key = map_next::<N>(map, None)?;
    while let Some(entry) = key {
        // The next key first: after a deletion the kernel would search from the start again.
        key = map_next(map, Some(&entry))?;
        let mut attr = element(map, &entry, &[]);
        // The kernel wants everything behind the key to be zero.
        attr.value_or_next = 0;
        bpf(Bpf::MapDeleteElem, &mut attr)?;
        deleted += 1;
    }
    Ok(deleted)
}

/// Opens what is pinned at `path`.
pub fn object_get(path: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    let mut attr = Attr { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    bpf(Bpf::ObjGet, &mut attr).map(owned)
}

/// Loads a tc classifier; on refusal also what the verifier said.
pub fn program_load(instructions: &[u64]) -> Result<OwnedFd, (io::Error, String)> {
    #[repr(C)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
    }
    let license = c"GPL";
    let mut log = vec![0u8; 65_536];
    let mut attr = Attr {
        prog_type: SCHED_CLS,
        insn_cnt: instructions.len() as u32,
        insns: address(instructions),
        license: license.as_ptr() as u64,
        log_level: 1,
        log_size: log.len() as u32,
        log_buf: log.as_mut_ptr() as u64,
        kern_version: 0,
        prog_flags: 0,
    };
    bpf(Bpf::ProgLoad, &mut attr).map(owned).map_err(|error| {
        log.truncate(log.iter().position(|&b| b == 0).unwrap_or(log.len()));
        (error, String::from_utf8_lossy(&log).into_owned())
    })
}

/// What BPF_PROG_TEST_RUN tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// Return value of the last run.
    pub verdict: u32,
    /// Mean of all runs, in whole ns, by the kernel's clock.
    pub duration_ns: u32,
}

/// Runs a tc classifier `repeat` times over one frame, as if it had come in at `ifindex` of this
/// thread's network namespace.
pub fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    ifindex: u32,
    repeat: u32,
) -> io::Result<TestRun> {
    // struct __sk_buff: only what the kernel accepts may be set; `ifindex` is its word 10.
    let mut context = [0u32; 11];
    context[10] = ifindex;
    test_run_in(program, frame, &context, repeat)
}

/// The same for an XDP program.
pub fn test_run_xdp(
    program: BorrowedFd<'_>,
    frame: &[u8],
    ifindex: u32,
    repeat: u32,
) -> io::Result<TestRun> {
    // struct xdp_md: where the data ends, and `ingress_ifindex`.
    let context = [0, frame.len() as u32, 0, ifindex, 0, 0];
    test_run_in(program, frame, &context, repeat)
}

fn test_run_in(
    program: BorrowedFd<'_>,
    frame: &[u8],
    context: &[u32],
    repeat: u32,
) -> io::Result<TestRun> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx_size_in: u32,
        ctx_size_out: u32,
        ctx_in: u64,
        ctx_out: u64,
        flags: u32,
        cpu: u32,
        batch_size: u32,
        pad: u32,
    }
    let mut attr = Attr {
        prog_fd: program.as_raw_fd() as u32,
        retval: 0,
        data_size_in: frame.len() as u32,
        data_size_out: 0,
        data_in: address(frame),
        data_out: 0,
        repeat,
        duration: 0,
        ctx_size_in: size_of_val(context) as u32,
        ctx_size_out: 0,
        ctx_in: address(context),
        ctx_out: 0,
        flags: 0,
        cpu: 0,
        batch_size: 0,
        pad: 0,
    };
    bpf(Bpf::ProgTestRun, &mut attr)?;
    Ok(TestRun { verdict: attr.retval, duration_ns: attr.duration })
}

/// The number of a descriptor, as an instruction or a map value holds it.
pub fn number(fd: &impl AsFd) -> i32 {
    fd.as_fd().as_raw_fd()
}
