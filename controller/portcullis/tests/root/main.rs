//! The whole thing on the kernel's switch, in namespaces of its own. Needs root.

mod basics;
mod changes;
mod host;
mod size;
mod time;
mod told;
mod usage;
