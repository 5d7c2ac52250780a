//! Ctrl-C ends the run in order: what was made is removed on the way out.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::error::Error;

/// Has somebody asked to stop?
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens to SIGINT and SIGTERM from now on; the second one ends the process at once.
    pub fn listen() -> Result<Self, Error> {
        let flagged = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flagged))
                .and_then(|_| flag::register(signal, Arc::clone(&flagged)))
                .map_err(|e| Error::system(format!("listening to signal {signal}"), e))?;
        }
        Ok(Self(flagged))
    }

    /// `Err` once somebody has asked to stop.
    pub fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_seen() {
        let interrupt = Interrupt::default();
        assert!(interrupt.check().is_ok());
        interrupt.0.store(true, Ordering::Relaxed);
        assert!(matches!(interrupt.check(), Err(Error::Interrupted)));
    }
}
