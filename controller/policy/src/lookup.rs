//! The image's answer for one connection, found as the data plane finds it.

use portcullis_image::Image;
use portcullis_pipeline::{addr::Addr, policy::Cell};

use crate::model::Purpose;

/// Class of an address. `scope` is the network id in which a link-local address stands.
pub fn class_of(image: &Image, scope: u32, addr: Addr) -> u32 {
    let scope = if addr.is_link_local_v6() { scope } else { 0 };
    let exact = image.addresses.binary_search_by_key(&(addr, scope), |a| (a.addr, a.scope));
    if let Ok(i) = exact {
        return image.addresses[i].class;
    }
    let longest = (0..=128u8).rev().find_map(|len| {
        let first = masked(addr, len);
        let found = image.prefixes.binary_search_by_key(&(first, len), |p| (p.addr, p.len));
        found.ok().map(|i| image.prefixes[i].class)
    });
    longest.unwrap_or(image.world)
}

/// The cell that judges a new connection.
pub fn lookup(
    image: &Image,
    scope: u32,
    src: Addr,
    dst: Addr,
    purpose: impl Into<Purpose>,
) -> Cell {
    Cell(image.cells[place(image, scope, src, dst, purpose.into())])
}

/// What the cell would be if the rules that only observe were in force.
pub fn lookup_observed(
    image: &Image,
    scope: u32,
    src: Addr,
    dst: Addr,
    purpose: impl Into<Purpose>,
) -> Cell {
    let cells = if image.shadows.is_empty() { &image.cells } else { &image.shadows };
    Cell(cells[place(image, scope, src, dst, purpose.into())])
}

/// The cell that judges a new connection from a class of addresses to another.
pub fn cell_of(image: &Image, src: u32, dst: u32, purpose: impl Into<Purpose>) -> Cell {
    Cell(image.cells[place_of(image, src, dst, purpose.into())])
}

fn place(image: &Image, scope: u32, src: Addr, dst: Addr, purpose: Purpose) -> usize {
    let src = class_of(image, scope, src);
    let dst = class_of(image, scope, dst);
    place_of(image, src, dst, purpose)
}

fn place_of(image: &Image, src: u32, dst: u32, purpose: Purpose) -> usize {
    let table = purpose.protocol.table() as usize;
    let service = image.service_tables[table].class[usize::from(purpose.number)];
    let source = image.source_tables.get(table).map_or(0, |t| t.class[usize::from(purpose.source)]);
    let service = u32::from(service) * image.sources + u32::from(source);
    let row = image.rows[(src * image.classes + dst) as usize];
    (row * image.services + service) as usize
}

fn masked(addr: Addr, len: u8) -> Addr {
    let bits = u128::from(addr.hi) << 64 | u128::from(addr.lo);
    let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
    Addr { hi: ((bits & mask) >> 64) as u64, lo: (bits & mask) as u64 }
}
