//! The system-wide limit of connection tracking, raised for a run.
//!
//! It is one number for all namespaces and can be written in the first one only; a second of SYNs
//! would fill its default.

use std::fs;

use crate::error::Error;

const PATH: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// Connections that a router under test must hold.
const NEEDED: u64 = 2_097_152;

/// The raised limit. Ends with this value.
#[derive(Debug)]
pub struct Limit {
    previous: Option<u64>,
}

impl Limit {
    /// Raises the limit where it is lower.
    pub fn raise() -> Result<Self, Error> {
        let text = fs::read_to_string(PATH).map_err(|e| Error::system(PATH, e))?;
        let previous = text.trim().parse().ok().filter(|&limit: &u64| limit < NEEDED);
        if previous.is_some() {
            fs::write(PATH, NEEDED.to_string()).map_err(|e| Error::system(PATH, e))?;
        }
        Ok(Self { previous })
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Some(previous) = self.previous
            && let Err(error) = fs::write(PATH, previous.to_string())
        {
            eprintln!("{PATH} could not be set back to {previous}: {error}");
        }
    }
}
