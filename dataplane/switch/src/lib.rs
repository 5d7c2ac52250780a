//! The kernel switch: loads, pins and fills the programs, owns the ports.
