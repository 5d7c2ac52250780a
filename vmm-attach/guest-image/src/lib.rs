//! The built-in test guest (`vmm-attach/guest`), compiled.

/// An ELF kernel for Linux' 64-bit boot protocol.
pub const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest"));
