//! The process ends, is killed, comes back, is another build: the filter stays.

use std::{fs, path::PathBuf};

use portcullis_pipeline::LAYOUT_VERSION;
use portcullis_ports::{link, tap};
use portcullis_switch::{Notice, Origin, Switch};

use crate::bed::{Bed, class, image, is_silent, reaches, socket};

const ALLOWED: &[(u32, u32)] = &[(class::PC1, class::PC2), (class::PC1, class::WEB)];

#[test]
fn filtering_outlives_the_process() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        let first = switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap().generation;
        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        let fresh = socket(&bed.pc2, "10.10.0.12:0");
        assert!(reaches(&pc1, &pc2));
        drop(switch);
        assert!(reaches(&pc1, &pc2) && reaches(&pc2, &pc1) && is_silent(&fresh, &pc1));

        let (mut switch, report) = Switch::start(bed.config.clone()).unwrap();
        assert_eq!((report.programs, report.generation), (Origin::Reused, first));
        assert_eq!(report.filtered, ["pcs-dmz", "pcs-lan", "pcs-wan", "port1", "port2", "port3"]);
        assert!(reaches(&pc2, &pc1) && is_silent(&fresh, &pc1), "before it knows the policy");
        let indexes = |p: Vec<portcullis_switch::PortStatus>| -> Vec<u32> {
            p.iter().map(|p| p.ifindex).collect()
        };
        let before: Vec<u32> = ["port1", "port2"].map(|n| link::get(n).unwrap().index).to_vec();
        let installed = switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        assert_eq!(indexes(installed.ports)[..2], before, "the same interfaces");
        assert!(reaches(&pc2, &pc1) && is_silent(&fresh, &pc1));
    });
}

#[test]
fn another_size_of_the_flow_table_is_told() {
    Bed::new().run(|bed| {
        drop(bed.start());
        let config = portcullis_switch::Config { flows: 8192, ..bed.config.clone() };
        let (switch, report) = Switch::start(config).unwrap();
        assert_eq!(report.notices.len(), 1, "{report:?}");
        assert!(report.notices[0].to_string().contains("4096"), "{}", report.notices[0]);
        assert_eq!(switch.status().unwrap().flows.capacity, 4096);
    });
}

#[test]
fn remove_after_a_crash_takes_what_is_ours_only() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        tap::create("theirs", 1, "portcullis:another").unwrap();
        // As a killed process leaves it: no clean-up runs.
        std::mem::forget(switch);
        let report = Switch::remove(&bed.config).unwrap();
        assert_eq!(report.interfaces.len(), 3 + 3 * 2, "{report:?}");
        assert!(report.pins > 20, "{report:?}");
        let left: Vec<String> = link::list().unwrap().into_iter().map(|l| l.name).collect();
        assert!(left.contains(&"theirs".to_owned()) && left.contains(&"lo".to_owned()));
        assert!(!left.iter().any(|n| n.starts_with("port") || n.starts_with("pc")), "{left:?}");
        assert!(!bed.config.run_dir.join("bpf").exists());
        assert_eq!(Switch::remove(&bed.config).unwrap(), Default::default(), "again");
    });
}

#[test]
fn every_program_has_a_verified_size() {
    Bed::new().run(|bed| {
        let programs = bed.start().status().unwrap().programs;
        let names: Vec<_> = programs.iter().map(|p| p.name).collect();
        let all = [
            "ingress",
            "flood",
            "answer",
            "advertise",
            "dhcp",
            "dhcp6",
            "announce",
            "clock",
            "probe",
            "lane",
            "gate",
            "gate_generic",
        ];
        assert_eq!(names, all);
        assert!(programs.iter().all(|p| p.verified_instructions.is_some_and(|n| n < 1_000_000)));
    });
}

/// Everything pinned, of this layout.
fn pins(bed: &Bed) -> PathBuf {
    bed.config.run_dir.join(format!("bpf/v{LAYOUT_VERSION}"))
}

#[test]
fn programs_of_another_build_are_replaced_without_a_gap() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        assert!(reaches(&pc1, &pc2));
        let before = switch.status().unwrap().programs[0].id;
        drop(switch);
        // What runs now is from another object, as far as its pins tell.
        let pins = pins(bed);
        let code = fs::read_dir(&pins).unwrap().map(|e| e.unwrap().path());
        let code = code.into_iter().find(|p| p.to_string_lossy().contains("code-")).unwrap();
        fs::rename(&code, pins.join("code-another")).unwrap();
        fs::create_dir(pins.join("loading")).unwrap();

        let (switch, report) = Switch::start(bed.config.clone()).unwrap();
        assert_eq!((report.programs, report.filtered.len()), (Origin::Replaced, 6), "{report:?}");
        assert_ne!(switch.status().unwrap().programs[0].id, before);
        assert!(code.exists() && !pins.join("code-another").exists());
        let fresh = socket(&bed.pc2, "10.10.0.12:0");
        assert!(reaches(&pc2, &pc1) && is_silent(&fresh, &pc1));
    });
}

#[test]
fn nothing_is_lost_while_programs_change() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        assert!(reaches(&pc1, &pc2));
        let to = pc2.local_addr().unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        let (sent, arrived) = std::thread::scope(|scope| {
            // Read as they come: the socket's buffer takes no more than some hundreds.
            let receiver = scope.spawn(|| {
                let (mut next, mut buffer) = (0_u32, [0; 64]);
                loop {
                    match pc2.recv_from(&mut buffer) {
                        Ok((4, _)) => {
                            let got = u32::from_ne_bytes(buffer[..4].try_into().unwrap());
                            assert_eq!(got, next, "lost while the switch was restarted or changed");
                            next += 1;
                        }
                        Ok(other) => panic!("{other:?}"),
                        Err(_) if done.load(std::sync::atomic::Ordering::Relaxed) => return next,
                        Err(_) => {}
                    }
                }
            });
            let sender = scope.spawn(|| {
                let mut sent = 0_u32;
                // Bounded: a minute at most.
                while !done.load(std::sync::atomic::Ordering::Relaxed) && sent < 60_000 {
                    pc1.send_to(&sent.to_ne_bytes(), to).unwrap();
                    sent += 1;
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                sent
            });
            drop(switch);
            let mut switch = bed.start();
            switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
            switch.install(image(&ALLOWED[..1]), &bed.specs(), &[]).unwrap();
            switch.detach("port3").unwrap();
            switch.attach(&bed.specs()[2]).unwrap();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            (sender.join().unwrap(), receiver.join().unwrap())
        });
        assert_eq!(arrived, sent);
    });
}

#[test]
fn a_port_whose_interface_was_deleted_says_so_and_comes_back() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        link::delete(link::get("port2").unwrap().index).unwrap();
        let status = switch.status().unwrap();
        let port2 = status.ports.iter().find(|p| p.name == "port2").unwrap();
        assert!(!port2.open, "{port2:?}");
        drop(switch);
        let (mut switch, report) = Switch::start(bed.config.clone()).unwrap();
        assert_eq!(report.notices, [Notice::StaleLink { port: "port2".into() }]);
        let installed = switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        assert!(installed.ports.iter().all(|p| p.open), "{installed:?}");
        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        assert!(reaches(&pc1, &pc2));
    });
}

#[test]
fn an_unmounted_file_system_opens_nothing_while_somebody_holds_the_links() {
    Bed::new().run(|bed| {
        let mut switch = bed.start();
        switch.install(image(ALLOWED), &bed.specs(), &[]).unwrap();
        let (pc1, pc2) = (socket(&bed.pc1, "10.10.0.11:0"), socket(&bed.pc2, "10.10.0.12:0"));
        assert!(reaches(&pc1, &pc2));
        nix::mount::umount2(&bed.config.run_dir.join("bpf"), nix::mount::MntFlags::MNT_DETACH)
            .unwrap();
        let fresh = socket(&bed.pc2, "10.10.0.12:0");
        assert!(reaches(&pc1, &pc2) && reaches(&pc2, &pc1), "what runs goes on");
        assert!(is_silent(&fresh, &pc1), "nothing opens");
        let refused = switch.install(image(&ALLOWED[..1]), &bed.specs(), &[]).unwrap_err();
        assert!(refused.to_string().contains("unmounted"), "{refused}");
        assert!(switch.attach(&bed.specs()[0]).unwrap_err().to_string().contains("unmounted"));
        assert!(reaches(&pc1, &pc2) && is_silent(&fresh, &pc1));
    });
}
