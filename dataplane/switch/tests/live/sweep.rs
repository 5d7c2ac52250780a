//! Idle connections go, live ones stay.

use std::time::{Duration, Instant};

use aya::maps::{HashMap, Map, MapData};

use crate::bed::{Bed, class, image, reaches, socket};

/// The pinned flow table, as bytes.
fn flows(bed: &Bed) -> HashMap<MapData, [u8; 40], [u8; 64]> {
    let maps = format!("bpf/v{}/maps", portcullis_pipeline::LAYOUT_VERSION);
    let pin = bed.config.run_dir.join(maps).join("FLOWS");
    HashMap::try_from(Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap()).unwrap()
}

#[test]
fn the_sweeper_takes_the_idle() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        switch.install(image(&[(class::PC1, class::PC2)]), &bed.specs(), &[]).unwrap();
        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        assert!(reaches(&pc1, &pc2));
        let used = switch.status().unwrap().flows.used;
        assert!(used >= 1);

        let mut flows = flows(bed);
        // Never heard of since the clock began, so idle for longer than any limit allows.
        for i in 0..100_u8 {
            flows.insert([i; 40], [0; 64], 0).unwrap();
        }
        let report = switch.sweep().unwrap();
        assert_eq!((report.removed, report.complete), (100, true), "{report:?}");
        assert_eq!(switch.status().unwrap().flows.used, used);
        assert!(reaches(&pc2, &pc1), "the live one");
    });
}

/// While a full table is swept, packets pass; and no piece of it takes long.
#[test]
fn a_sweep_stalls_nobody() {
    let long = std::env::var_os("PORTCULLIS_TEST_LONG").is_some();
    let (idle, room) = if long { (1_000_000_u64, 1 << 20) } else { (200_000, 1 << 18) };
    let mut bed = Bed::new();
    bed.config.flows = room;
    bed.run(|bed| {
        let mut switch = bed.start();
        switch.install(image(&[(class::PC1, class::PC2)]), &bed.specs(), &[]).unwrap();
        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        assert!(reaches(&pc1, &pc2));
        let mut flows = flows(bed);
        for i in 0..idle as u32 {
            let mut key = [7; 40];
            key[..4].copy_from_slice(&i.to_ne_bytes());
            flows.insert(key, [0; 64], 0).unwrap();
        }
        let (mut removed, mut slowest) = (0, Duration::ZERO);
        // One round over the table, and what the first piece of the next one finds.
        for _ in 0..2 * idle / 32_768 + 4 {
            let started = Instant::now();
            let report = switch.sweep().unwrap();
            slowest = slowest.max(started.elapsed());
            removed += report.removed;
            assert!(reaches(&pc1, &pc2) && reaches(&pc2, &pc1));
            if report.complete {
                break;
            }
        }
        println!("{removed} of {idle} removed, the slowest piece took {slowest:?}");
        assert_eq!(removed, idle);
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    });
}
