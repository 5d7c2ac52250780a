//! The queues of a tap, opened by name.

use std::os::fd::OwnedFd;

use portcullis_ports::{link, tap};

use crate::error::{Error, Result};

/// Opens all queues of a tap that the switch made with so many. Nobody else has any of them then, so
/// what a VMM of before has set (QEMU leaves the header of virtio 0.9) becomes what it was.
pub fn open_queues(name: &str, queues: u16) -> Result<Vec<OwnedFd>> {
    let open = (0..queues).map(|_| tap::open_queue(name, queues));
    let open = open.collect::<portcullis_ports::Result<Vec<_>>>()?;
    if let Some(queue) = open.first() {
        let header = |source| Error::Header { name: name.into(), source };
        tap::set_header_size(queue, tap::VNET_HEADER).map_err(header)?;
    }
    Ok(open)
}

/// Largest packet that a tap takes, bytes.
pub fn mtu(name: &str) -> Result<u32> {
    Ok(link::get(name)?.mtu)
}
