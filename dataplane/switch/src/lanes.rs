//! The fast lane of taps: an XDP program in front of the filter, where frames are small enough
//! for it to pay. It forwards what belongs to a known connection and leaves the rest to the
//! filter, so a port is as closed with it as without.

use aya::{
    maps::{DevMapHash, MapData, xdp::XdpMapError},
    programs::XdpMode,
};

use crate::{
    error::{Error, Result},
    maps::{Maps, name},
    place::table_index,
};

/// Native only: generic XDP would come after the packet buffer, and copy large frames.
pub const MODE: XdpMode = XdpMode::Driver;

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
