//! The compiled eBPF object, built from ebpf/ and embedded.
