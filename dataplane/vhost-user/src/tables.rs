//! The tables of a generation, from the kernel's half into the engine's form.

use portcullis_engine::Slot;
use portcullis_pipeline::layout::{GenerationEntry, ServiceTable};
use portcullis_switch::peer::SlotCopy;

/// Bring a copy of a slot into the engine's form. Denied sets are about the outside, to which
/// nothing goes from here.
pub fn slot(copy: SlotCopy) -> Slot {
    let shadows = copy.shape.shadows as usize;
    let mut cells = copy.cells;
    if shadows != 0 {
        cells.resize(shadows, 0);
        cells.extend(copy.shadows);
    }
    let tables = copy.tables;
    let mut slot = Slot {
        shape: Some(GenerationEntry { denied: 0, ..copy.shape }),
        ports: tables.ports.into_values().map(|port| (port.ifindex, port)).collect(),
        subports: tables.subports.into_iter().collect(),
        networks: tables.networks.into_iter().collect(),
        vlans: tables.vlans.into_iter().collect(),
        members: tables.members.into_iter().collect(),
        notices: tables.notices.into_iter().collect(),
        addresses: tables.addresses.into_iter().collect(),
        services: copy.services.iter().map(classes).collect(),
        sources: copy.sources.iter().map(classes).collect(),
        rows: copy.rows,
        cells,
        rules: copy.rules,
        ends: copy.first_end,
        ..Slot::default()
    };
    for ((addr, len), entry) in tables.prefixes {
        slot.prefix(addr, len, entry);
    }
    slot
}

fn classes(numbers: &Vec<u16>) -> ServiceTable {
    let mut table = ServiceTable { class: [0; 65_536] };
    for (to, from) in table.class.iter_mut().zip(numbers) {
        *to = *from;
    }
    table
}
