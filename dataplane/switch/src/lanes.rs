//! The fast lane of taps: an XDP program in front of the filter, where frames are small enough
//! for it to pay. It forwards what belongs to a known connection and leaves the rest to the
//! filter, so a port is as closed with it as without.

use aya::{
    maps::{DevMapHash, MapData, xdp::XdpMapError},
    programs::{
        Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        xdp::XdpLink,
    },
};
use portcullis_ports::link;

use crate::{
    bpffs::{self, Bpffs},
    error::{Chain, Error, Result},
    links::link_error,
    maps::{Maps, name},
    place::table_index,
};

/// The lanes of one switch.
pub struct Lanes {
    bpffs: Bpffs,
}

impl Lanes {
    /// Those pinned at `bpffs`.
    pub fn new(bpffs: Bpffs) -> Self {
        Self { bpffs }
    }

    /// Ports that have one.
    pub fn ports(&self) -> Result<Vec<String>> {
        Ok(bpffs::list(&self.bpffs.lanes())?.iter().map(|p| bpffs::name_of(p)).collect())
    }

    /// Has this port one?
    pub fn is_open(&self, port: &str) -> bool {
        self.bpffs.lane(port).exists()
    }

    /// Gives a tap its lane, or makes the program take over the one that is there.
    pub fn open(&self, program: &mut Xdp, port: &str) -> Result<()> {
        if self.replace(program, port)? {
            return Ok(());
        }
        let action = || format!("give {port} the fast lane");
        // Native only: generic XDP would come after the packet buffer, and copy large frames.
        let id = program.attach(port, XdpMode::Driver).map_err(Error::program(action()))?;
        let link = program.take_link(id).map_err(Error::program(action()))?;
        let link: FdLink = link.try_into().map_err(|e| link_error(action(), e))?;
        let path = self.bpffs.lane(port);
        link.pin(&path).map_err(|e| Error::Pin { path, source: Chain::new(e) })?;
        Ok(())
    }

    /// Takes a port's lane away. None being there is fine.
    pub fn close(&self, port: &str) -> Result<()> {
        bpffs::remove(&self.bpffs.lane(port)).map(drop)
    }

    /// Makes the program take over everywhere; lanes of interfaces that are gone are forgotten.
    pub fn take_over(&self, program: &mut Xdp) -> Result<()> {
        for port in self.ports()? {
            if link::find(&port)?.is_none() {
                self.close(&port)?;
            } else {
                self.open(program, &port)?;
            }
        }
        Ok(())
    }

    /// Makes the program take over a port's lane. False where there is none (any more): then no
    /// pin is left either.
    fn replace(&self, program: &mut Xdp, port: &str) -> Result<bool> {
        let path = self.bpffs.lane(port);
        if !path.exists() {
            return Ok(false);
        }
        let action = || format!("replace the fast lane of {port}");
        let failed = |e| link_error(action(), e);
        let pinned = FdLink::from(PinnedLink::from_pin(&path).map_err(failed)?);
        let runs = pinned.info().map_err(failed)?.program_id();
        if runs == program.info().map_err(Error::program(action()))?.id() {
            return Ok(true);
        }
        let link: XdpLink = pinned.try_into().map_err(failed)?;
        match program.attach_to_link(link) {
            Ok(id) => {
                // Taken out and closed: the pin keeps it attached.
                drop(program.take_link(id).map_err(Error::program(action()))?);
                Ok(true)
            }
            // The interface of the link is gone.
            Err(_) => {
                bpffs::remove(&path)?;
                Ok(false)
            }
        }
    }
}

/// Frames that went by the lane of an interface.
pub fn taken(maps: &Maps, ifindex: u32) -> Result<u64> {
    let of_each = maps.lane_hits.get(&table_index(ifindex), 0);
    Ok(of_each.map_err(Error::map("read", name::LANE_HITS))?.iter().sum())
}

/// Lets the lanes of other ports send to this interface. The kernel forgets it when it goes.
pub fn admit(lanes: &mut DevMapHash<MapData>, ifindex: u32) -> Result<()> {
    lanes.insert(ifindex, ifindex, None, 0).map_err(|e| match e {
        XdpMapError::MapError(e) => Error::map("write", name::LANES)(e),
        // Said of elements with a program of their own; these have none.
        XdpMapError::ChainedProgramNotSupported => Error::Incomplete { part: name::LANES },
    })
}
