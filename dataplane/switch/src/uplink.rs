//! Uplinks: NICs that are not ours. What they were like before is noted in bpffs, so that they
//! can be given back as they were, also after a crash.

use std::fs;

use portcullis_ports::{ethtool, link};

use crate::{
    bpffs::{self, Bpffs},
    error::{Error, Result},
};

/// Notes: it was down, it took only its own frames.
const WAS_DOWN: &str = "was-down";
const WAS_PLAIN: &str = "was-plain";
/// Note: it took VLAN tags out of frames.
const TOOK_TAGS: &str = "took-tags";

/// Brings an uplink up and makes it take the frames of all MACs behind it.
pub fn open(bpffs: &Bpffs, port: &str) -> Result<()> {
    let link = link::get(port)?;
    let notes = bpffs.uplink(port);
    for (note, applies) in [(WAS_DOWN, !link.up), (WAS_PLAIN, !link.promiscuous)] {
        if applies {
            let path = notes.join(note);
            fs::create_dir_all(&path).map_err(|e| Error::file("create", path, e))?;
        }
    }
    link::set_promiscuous(link.index, true)?;
    link::set_up(link.index, true)?;
    Ok(())
}

/// Makes an uplink leave VLAN tags in its frames. False if it cannot.
pub fn shows_tags(bpffs: &Bpffs, port: &str) -> Result<bool> {
    if !ethtool::takes_tags(port)? {
        return Ok(true);
    }
    let note = bpffs.uplink(port).join(TOOK_TAGS);
    fs::create_dir_all(&note).map_err(|e| Error::file("create", note, e))?;
    Ok(ethtool::set_takes_tags(port, false).is_ok() && !ethtool::takes_tags(port)?)
}

/// Makes an uplink what it was before. One that is gone needs nothing.
pub fn give_back(bpffs: &Bpffs, port: &str) -> Result<()> {
    let notes = bpffs.uplink(port);
    if let Some(link) = link::find(port)? {
        if notes.join(WAS_PLAIN).exists() {
            link::set_promiscuous(link.index, false)?;
        }
        if notes.join(TOOK_TAGS).exists() {
            ethtool::set_takes_tags(port, true)?;
        }
        if notes.join(WAS_DOWN).exists() {
            link::set_up(link.index, false)?;
        }
    }
    bpffs::remove(&notes).map(drop)
}
