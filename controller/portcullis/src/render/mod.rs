//! Results for people.

pub mod lapse;
pub mod status;
pub mod table;
