//! What the switch tells about connections: events as they begin, and those that run.

use portcullis_switch::Seen;

use crate::{
    bed::{Bed, class, image, reaches, socket},
    rules::changed,
};

#[test]
fn logged_connections_are_named() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        let pairs = [(class::PC1, class::PC2), (class::PC2, class::PC1)];
        let logging = changed(&pairs, |image| image.rules[0].log_per_s = 2);
        switch.install(logging, &bed.specs(), &[]).unwrap();
        let pc2 = socket(&bed.pc2, "10.10.0.12:0");
        for _ in 0..20 {
            assert!(reaches(&socket(&bed.pc1, "10.10.0.11:0"), &pc2));
        }
        assert!(reaches(&socket(&bed.pc2, "10.10.0.12:0"), &socket(&bed.pc1, "10.10.0.11:0")));
        // Another policy names other rules; what was told before keeps its names.
        switch.install(image(&pairs[1..]), &bed.specs(), &[]).unwrap();
        let events = switch.events();
        let status = switch.status().unwrap().events;
        assert_eq!(status.told, events.len() as u64);
        let suppressed: u32 = events.iter().map(|event| event.suppressed).sum();
        assert!(!events.is_empty() && events.len() < 20, "{events:?}");
        assert!(u64::from(suppressed) <= status.suppressed && status.lost == 0, "{status:?}");
        for event in &events {
            assert_eq!((event.seen, event.rule.as_str()), (Seen::Allowed, "rule-1"));
            assert_eq!((event.file.as_deref(), event.line), (Some("test.yaml"), Some(1)));
            assert_eq!(event.from_guest.as_deref(), Some("pc1"));
            assert_eq!(event.to_guest.as_deref(), Some("pc2"));
            assert_eq!(event.from_port.as_deref(), Some("port1"));
            assert_eq!(event.to_port.as_deref(), Some("port2"));
            assert_eq!(event.network.as_deref(), Some("lan"));
            assert_eq!((event.protocol, event.reason), (17, None));
            assert_eq!(event.dport, Some(pc2.local_addr().unwrap().port()));
        }
        assert!(switch.events().is_empty(), "each is told once");
    });
}

#[test]
fn running_connections_are_listed_as_they_were_opened() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        switch.install(image(&[(class::PC2, class::PC1)]), &bed.specs(), &[]).unwrap();
        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        assert!(reaches(&pc2, &pc1));
        let listed = |switch: &portcullis_switch::Switch| {
            let mut flows = Vec::new();
            switch.flows(&mut |flow| flows.push(flow)).unwrap();
            let src = pc2.local_addr().unwrap();
            flows.into_iter().find(|f| f.src == src.ip() && f.sport == src.port()).unwrap()
        };
        let flow = listed(&switch);
        assert_eq!((flow.dst, flow.dport), {
            let to = pc1.local_addr().unwrap();
            (to.ip(), to.port())
        });
        assert_eq!(
            (flow.protocol, flow.state, flow.rule.as_deref()),
            (17, "opening", Some("rule-1"))
        );
        assert!(flow.idle_ms < 5000 && flow.network.is_none(), "{flow:?}");
        assert!(reaches(&pc1, &pc2));
        assert_eq!(listed(&switch).state, "open");
    });
}
