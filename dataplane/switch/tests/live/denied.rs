//! Denied sets: written once, beside what is in force, and found again.

use std::{sync::Arc, thread, time::Duration, time::Instant};

use portcullis_image::{Denied, Image};
use portcullis_switch::Switch;

use crate::{
    bed::{Bed, class, dropped, image, socket},
    rules::changed,
};

const PAIRS: [(u32, u32); 1] = [(class::PC1, class::WORLD)];

fn denying(denied: &Arc<Denied>) -> Arc<Image> {
    changed(&PAIRS, |image| image.denied = Arc::clone(denied))
}

/// Every second address from here on, and as many /48s.
fn many(first: u32, count: u32) -> Arc<Denied> {
    let v4 = (0..count).map(|i| (first + 2 * i, first + 2 * i));
    let base = 0x2001_0db8_u128 << 96;
    let v6 = (0..u128::from(count / 4)).map(|i| (base + (i << 81), base + (i << 81) + 7));
    Arc::new(Denied { v4: v4.collect(), v6: v6.collect() })
}

/// How many datagrams of pc1 to these places are dropped for a denied set.
fn denied(bed: &Bed, switch: &Switch, to: &[&str]) -> u64 {
    let before = dropped(switch, "denied-set");
    for to in to {
        let from = if to.contains('[') { "[::]:0" } else { "0.0.0.0:0" };
        socket(&bed.pc1, from).send_to(b"hello", to).unwrap();
    }
    thread::sleep(Duration::from_millis(50));
    dropped(switch, "denied-set") - before
}

#[test]
fn a_million_are_denied_at_once_and_written_once() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        let inside = ["16.0.0.0:7", "16.0.1.4:7", "[2001:db8::7]:7", "[2001:db8:2::1]:7"];
        let outside = ["16.0.0.1:7", "9.9.9.9:7", "[2001:db8::8]:7", "[2001:dc8::1]:7"];
        switch.install(image(&PAIRS), &bed.specs(), &[]).unwrap();
        assert_eq!(denied(bed, &switch, &inside), 0, "nothing is denied yet");

        let million = many(0x1000_0000, 800_000);
        let mut timed = |what: &str, denied: &Arc<Denied>| {
            let (begin, next) = (Instant::now(), denying(denied));
            switch.install(next, &bed.specs(), &[]).unwrap();
            println!("{what}: {:?}", begin.elapsed());
            begin.elapsed()
        };
        let written = timed("1,000,000 ranges written", &million);
        let found = timed("the same again", &million);
        assert!(found < written / 2, "{found:?} and {written:?}");
        assert_eq!(denied(bed, &switch, &inside), 4);
        assert_eq!(denied(bed, &switch, &outside), 0);

        // A process that comes after this one knows nothing of what the banks hold.
        drop(switch);
        let mut switch = bed.start();
        assert_eq!(denied(bed, &switch, &inside), 4, "also while nobody is there");
        switch.install(denying(&many(0x0909_0909, 1)), &bed.specs(), &[]).unwrap();
        assert_eq!(denied(bed, &switch, &inside), 0);
        assert_eq!(denied(bed, &switch, &outside), 1);
        switch.install(image(&PAIRS), &bed.specs(), &[]).unwrap();
        assert_eq!(denied(bed, &switch, &outside), 0);
    });
}
