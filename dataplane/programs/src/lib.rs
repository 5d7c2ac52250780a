//! The compiled eBPF objects, built from `ebpf/` by this crate's build script and embedded.

/// Bytes with the alignment that an ELF parser wants.
#[repr(C, align(32))]
struct Aligned<T: ?Sized>(T);

/// The switch: the programs of `ebpf/src/switch.rs` and `ebpf/src/xdp.rs`, and all maps.
pub static OBJECT: &[u8] = {
    const BYTES: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/switch")));
    &BYTES.0
};

/// The bench's yardsticks: the programs and maps of `ebpf/src/yardstick.rs`.
pub static YARDSTICK: &[u8] = {
    const BYTES: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/yardstick")));
    &BYTES.0
};
