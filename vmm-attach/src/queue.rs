//! The queues of a tap, opened by name.

use std::os::fd::OwnedFd;

use portcullis_ports::{link, tap};

use crate::error::{Error, Result};

/// Opens all queues of a tap that the switch made with so many.
pub fn open_queues(name: &str, queues: u16) -> Result<Vec<OwnedFd>> {
    (0..queues).map(|_| open(name, queues)).collect()
}

/// Largest packet that a tap takes, bytes.
pub fn mtu(name: &str) -> Result<u32> {
    Ok(link::get(name)?.mtu)
}

fn open(name: &str, queues: u16) -> Result<OwnedFd> {
    let queue = tap::open_queue(name, queues)?;
    let got =
        tap::header_size(&queue).map_err(|source| Error::Look { name: name.into(), source })?;
    let expected = tap::VNET_HEADER;
    if got == expected {
        Ok(queue)
    } else {
        Err(Error::HeaderSize { name: name.into(), got, expected })
    }
}
