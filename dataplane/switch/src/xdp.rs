//! XDP programs in front of the filters of ports, by links that are pinned: the fast lane of taps
//! ([`crate::lanes`]) and the gate of uplinks ([`crate::gates`]). A port is filtered with and
//! without them.

use std::path::PathBuf;

use aya::programs::{
    Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};
use portcullis_ports::link;

use crate::{
    bpffs,
    error::{Chain, Error, Result},
    linger,
    links::link_error,
};

/// The links of one such program.
pub struct XdpLinks {
    /// Where they are pinned.
    dir: PathBuf,
    /// What the program is, for people.
    what: &'static str,
}

impl XdpLinks {
    /// Those pinned in a directory.
    pub const fn new(dir: PathBuf, what: &'static str) -> Self {
        Self { dir, what }
    }

    /// Ports that have one.
    pub fn ports(&self) -> Result<Vec<String>> {
        Ok(bpffs::list(&self.dir)?.iter().map(|p| bpffs::name_of(p)).collect())
    }

    /// Has this port one?
    pub fn is_open(&self, port: &str) -> bool {
        self.pin(port).exists()
    }

    /// Puts the program in front of a port, or makes it take over from the one that is there,
    /// whatever the mode of that.
    pub fn open(&self, program: &mut Xdp, port: &str, mode: XdpMode) -> Result<()> {
        if self.replace(program, port)? {
            return Ok(());
        }
        let action = || format!("give {port} the {}", self.what);
        let id = program.attach(port, mode).map_err(Error::program(action()))?;
        let link = program.take_link(id).map_err(Error::program(action()))?;
        let link: FdLink = link.try_into().map_err(|e| link_error(action(), e))?;
        let path = self.pin(port);
        link.pin(&path).map_err(|e| Error::Pin { path, source: Chain::new(e) })?;
        Ok(())
    }

    /// Takes it away: when it returns it is gone. None being there is fine.
    pub fn close(&self, port: &str) -> Result<()> {
        let pin = self.pin(port);
        if !pin.exists() {
            return Ok(());
        }
        let failed = |e| link_error(format!("look at the {} of {port}", self.what), e);
        let link = FdLink::from(PinnedLink::from_pin(&pin).map_err(failed)?);
        let runs = link.info().map_err(failed)?.program_id();
        drop(link);
        bpffs::remove(&pin)?;
        linger::wait(|| Ok(in_front(port)? == Some(runs)))
    }

    /// Makes the program take over everywhere; links of interfaces that are gone are forgotten.
    pub fn take_over(&self, program: &mut Xdp) -> Result<()> {
        for port in self.ports()? {
            self.replace(program, &port)?;
        }
        Ok(())
    }

    fn pin(&self, port: &str) -> PathBuf {
        bpffs::entry(&self.dir, port)
    }

    /// Makes the program take over at a port. False where there is none (any more): then no pin is
    /// left either.
    pub fn replace(&self, program: &mut Xdp, port: &str) -> Result<bool> {
        let path = self.pin(port);
        if !path.exists() {
            return Ok(false);
        }
        let action = || format!("replace the {} of {port}", self.what);
        let failed = |e| link_error(action(), e);
        let pinned = FdLink::from(PinnedLink::from_pin(&path).map_err(failed)?);
        let runs = pinned.info().map_err(failed)?.program_id();
        if in_front(port)? != Some(runs) {
            // The interface of the link is gone; there may be another one of its name.
            bpffs::remove(&path)?;
            return Ok(false);
        }
        if runs != program.info().map_err(Error::program(action()))?.id() {
            let link: XdpLink = pinned.try_into().map_err(failed)?;
            let id = program.attach_to_link(link).map_err(Error::program(action()))?;
            // Taken out and closed: the pin keeps it attached.
            drop(program.take_link(id).map_err(Error::program(action()))?);
        }
        Ok(true)
    }
}

/// The XDP program in front of an interface of that name.
fn in_front(port: &str) -> Result<Option<u32>> {
    Ok(link::find(port)?.and_then(|link| link.xdp).map(|xdp| xdp.program))
}
