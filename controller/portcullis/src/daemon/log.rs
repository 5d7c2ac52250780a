//! The daemon's log: one line an event, on standard error.

use std::{fmt::Display, time::SystemTime};

/// Writes a line. A log that cannot be written must not stop the switch.
pub fn log(message: impl Display) {
    use std::io::Write;
    let line = format!("{} {message}\n", unix_seconds());
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    unix_millis() / 1000
}

/// Milliseconds since 1970.
pub fn unix_millis() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
