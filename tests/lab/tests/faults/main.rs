//! Faults at every step of `apply`, `attach` and `up`, of the disk, of devices and of new versions:
//! no port opens, what runs goes on without losing a packet, what failed was not done, and the next
//! try does it.

mod devices;
mod full;
mod siege;
mod steps;
mod store;
mod versions;
