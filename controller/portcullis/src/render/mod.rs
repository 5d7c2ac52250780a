//! Results for people.

pub mod discovery;
pub mod events;
pub mod lapse;
pub mod outside;
pub mod status;
pub mod table;
pub mod usage;
