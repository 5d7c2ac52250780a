//! The doors by which other programs come in: QEMU, and whoever starts guests and containers.

mod cni;
mod discover;
mod libvirt;
mod qemu;
mod refusals;
mod strangers;
mod wire;
