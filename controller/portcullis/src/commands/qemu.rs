//! `qemu-helper`: what QEMU starts to get a tap.

use std::os::fd::AsFd;

use serde_json::Value;

use super::{Context, Outcome, plug, port};
use crate::{cli::door::QemuHelperArgs, error::Error};

/// Attaches a NIC's tap, if it has none yet, and passes it to QEMU. It stays when QEMU ends, so
/// that the guest finds it again.
pub fn helper(args: &QemuHelperArgs, context: &Context) -> Result<Outcome, Error> {
    let plugged = plug::tap(&args.br, context)?;
    let name = &plugged.port.name;
    let handed = vmm_attach::open_queues(name, 1).and_then(|queues| {
        queues.iter().try_for_each(|queue| vmm_attach::hand_back(args.fd, queue.as_fd()))
    });
    if let Err(source) = handed {
        plugged.undo(context)?;
        return Err(Error::HandOver { port: name.clone(), source: Box::new(source) });
    }
    let aside = port::notice(&plugged.port, context);
    Ok(Outcome { aside, ..Outcome::fine("", Value::Null) })
}
