//! Results for people.

pub mod status;
pub mod table;
