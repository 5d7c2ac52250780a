//! What holds about rules besides their verdicts: ends and observers.

use std::{
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use portcullis_image::{Image, Rule};
use portcullis_pipeline::policy::Cell;

use crate::bed::{Bed, class, image, is_silent, reaches, socket};

/// [`image`], changed.
pub fn changed(pairs: &[(u32, u32)], change: impl FnOnce(&mut Image)) -> Arc<Image> {
    let mut changed = (*image(pairs)).clone();
    change(&mut changed);
    Arc::new(changed)
}

/// Nobody is there to take the rule out: the programs stop it by themselves.
#[test]
fn a_rule_that_ends_lets_nothing_more_through() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let pairs = [(class::PC1, class::PC2), (class::PC1, class::WEB)];
        let ending = changed(&pairs, |image| image.rules[0].until_unix_s = now.as_secs() + 3);
        switch.install(ending, &bed.specs(), &[]).unwrap();
        drop(switch);
        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        let web = socket(&bed.web, "10.20.0.11:0");
        assert!(reaches(&pc1, &pc2) && reaches(&pc2, &pc1), "before the end");
        thread::sleep(Duration::from_secs(3).saturating_sub(since(now)));
        assert!(is_silent(&pc1, &pc2) && is_silent(&pc2, &pc1), "a running connection is cut");
        let fresh = socket(&bed.pc1, "10.10.0.11:0");
        assert!(is_silent(&fresh, &pc2), "and no new one begins");
        assert!(reaches(&pc1, &web), "the other rule goes on");
    });
}

fn since(start: Duration) -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() - start
}

#[test]
fn an_observing_rule_counts_what_it_would_do() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        let observing = changed(&[(class::PC1, class::PC2)], |image| {
            image.rules.push(Rule {
                name: "watch".into(),
                allow: false,
                observe: true,
                ..image.rules[0].clone()
            });
            image.shadows = image.cells.clone();
            image.shadows[1] = Cell::new(false, 2).0;
        });
        switch.install(observing, &bed.specs(), &[]).unwrap();
        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        assert!(reaches(&pc1, &pc2), "it decides nothing");
        let rules = switch.status().unwrap().rules;
        let hits = |name: &str| rules.iter().find(|r| r.rule == name).map(|r| (r.hits, r.observe));
        assert_eq!((hits("rule-1"), hits("watch")), (Some((1, false)), Some((1, true))));
    });
}
