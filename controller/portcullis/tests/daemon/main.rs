//! The daemon on a fake switch: everything but the kernel is real. Needs no privileges.

mod clients;
mod ends;
mod fake;
mod machine;
mod promises;
mod told;
mod trials;
