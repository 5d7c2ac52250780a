//! Errors as the specification wants them.

use std::io;

use serde_json::{Value, json};

use crate::error::Error;

/// Codes of the specification, and ours.
pub mod code {
    /// Incompatible CNI version.
    pub const VERSION: u32 = 1;
    /// Unsupported field in the configuration.
    pub const FIELD: u32 = 2;
    /// Container unknown.
    pub const CONTAINER: u32 = 3;
    /// Invalid necessary environment variables.
    pub const ENVIRONMENT: u32 = 4;
    /// I/O failure.
    pub const IO: u32 = 5;
    /// Failed to decode content.
    pub const DECODE: u32 = 6;
    /// Invalid network configuration.
    pub const CONFIG: u32 = 7;
    /// Try again later.
    pub const AGAIN: u32 = 11;
    /// The plugin cannot serve `ADD`.
    pub const UNAVAILABLE: u32 = 50;
    /// The switch has refused, or something is not as it should be.
    pub const OURS: u32 = 100;
}

/// Why something did not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CniError {
    /// See [`code`].
    pub code: u32,
    /// In a sentence.
    pub message: String,
    /// What to do about it.
    pub details: Option<String>,
}

impl CniError {
    /// An error without details.
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: None }
    }

    /// An environment variable that is missing or wrong.
    pub fn variable(name: &str, why: &str) -> Self {
        Self::new(code::ENVIRONMENT, format!("{name}: {why}"))
    }

    /// Nothing can be read.
    pub fn io(error: &io::Error) -> Self {
        Self::new(code::IO, format!("the configuration cannot be read: {error}"))
    }

    /// As it is printed.
    pub fn to_json(&self, version: &str) -> Value {
        let mut value = json!({ "cniVersion": version, "code": self.code, "msg": self.message });
        if let Some(details) = &self.details {
            value["details"] = details.clone().into();
        }
        value
    }
}

impl From<Error> for CniError {
    fn from(error: Error) -> Self {
        let code = match &error {
            // The daemon comes back; its filters stay meanwhile.
            Error::NoDaemon { .. } | Error::Socket { .. } => code::AGAIN,
            _ => code::OURS,
        };
        Self { code, message: error.to_string(), details: error.hint() }
    }
}
