//! Hosts, guests and worlds made of network namespaces, for tests and the demo.
//!
//! A [`Lab`] owns everything that it makes (namespaces, processes, a directory, the switch of its
//! host) and removes it when it is dropped, also on panic. A lab whose process was killed is
//! removed by the next one. Nothing here knows how Portcullis works: it runs the `portcullis`
//! command as a person would, and looks at packets.

pub mod assault;
pub mod capture;
pub mod console;
pub mod demo;
pub mod end;
pub mod error;
pub mod frame;
pub mod front;
pub mod hammer;
pub mod host;
pub mod inject;
pub mod lab;
pub mod liar;
pub mod other_build;
pub mod patience;
pub mod probe;
pub mod process;
pub mod qemu;
pub mod random;
pub mod server;
pub mod shifting;
pub mod small;
pub mod space;
pub mod stream;
pub mod sums;
pub mod sys;
pub mod tap;
pub mod timed;
pub mod timeline;
pub mod tiny;
pub mod vhost;
pub mod vlan;
pub mod vm;
pub mod world;

pub use error::{Error, Result};
pub use lab::Lab;
pub use space::Space;
