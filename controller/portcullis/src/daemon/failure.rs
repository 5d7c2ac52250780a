//! Errors of the switch as the daemon tells them.

use std::fmt::Write;

use crate::api::{Failure, code};

/// An error of the switch for the client.
pub fn switch_failure(error: &impl std::error::Error) -> Failure {
    Failure::new(code::SWITCH, chain(error))
}

/// An error of the host's stack for the client.
pub fn host_failure(error: &portcullis_host_rules::Error) -> Failure {
    Failure::new(code::HOST_RULES, format!("the host's rules: {}", chain(error)))
        .hint("nothing changed: what was in force is in force")
}

/// An error with its causes, those that it does not name itself.
pub fn chain(error: &impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            let _ = write!(text, ": {more}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn causes_are_named_once() {
        let inner = Layer { text: "no memory", source: None };
        let middle = Layer { text: "map: no memory", source: Some(Box::new(inner)) };
        let outer = Layer { text: "cannot load", source: Some(Box::new(middle)) };
        assert_eq!(switch_failure(&outer).message, "cannot load: map: no memory");
    }
}
