//! The doors by which other programs come in: QEMU, and whoever starts guests and containers.

mod qemu;
mod strangers;
