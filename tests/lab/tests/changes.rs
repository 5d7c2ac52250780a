//! A policy that changes all the time, with traffic running: every packet is explained by one
//! generation, nothing allowed is lost, nothing denied passes, and what is revoked is dead when
//! `apply` returns.

use std::time::Instant;

use portcullis_lab::{
    host::Host,
    lab::Lab,
    patience::{is_long, rounds},
    process::wait_for,
    shifting::{Fate, GUESTS, PAIRS, Shifting},
    timed::{TimedFlow, since},
    timeline::{Era, Timeline},
    world::{Guest, Nic, attach},
};

/// Changes in a short run, and in a long one.
const CHANGES: usize = 150;
const CHANGES_LONG: usize = 10_000;
/// Fewer may leave a pair as it was.
const CHANGES_MIN: usize = 40;

/// Applies a policy and notes when.
fn apply(lab: &Lab, host: &Host, policy: &Shifting, epoch: Instant) -> Era {
    let file = lab.file("policy.yaml", &policy.text()).unwrap();
    let asked_ns = since(epoch);
    host.apply(&file).unwrap_or_else(|error| panic!("{error}\n{}", policy.text()));
    Era { asked_ns, in_force_ns: since(epoch), allowed: policy.allowed().to_vec() }
}

fn start(guests: &[Guest], epoch: Instant) -> Vec<TimedFlow> {
    let guest = |name: &str| {
        let at = GUESTS.iter().position(|(guest, ..)| *guest == name);
        &guests[at.unwrap_or_else(|| panic!("{name} is no guest"))]
    };
    let flow = |pair: &portcullis_lab::shifting::Pair| {
        let to = guest(pair.to);
        let address = to.addresses.iter().find(|address| address.is_ipv6() == pair.v6).unwrap();
        TimedFlow::start(epoch, &guest(pair.from).space, &to.space, *address, pair.port).unwrap()
    };
    PAIRS.iter().map(flow).collect()
}

/// The latency that this share of the changes kept, ms.
fn quantile(sorted_ms: &[f64], share: f64) -> f64 {
    sorted_ms[((sorted_ms.len() - 1) as f64 * share).round() as usize]
}

#[test]
fn every_packet_is_explained_by_one_generation() {
    let changes = rounds(if is_long() { CHANGES_LONG } else { CHANGES }).max(CHANGES_MIN);
    let lab = Lab::new("plw").unwrap();
    let host = Host::new(&lab, "host").unwrap();
    host.up().unwrap();
    let epoch = Instant::now();
    let mut policy = Shifting::new(2026);
    let mut timeline = Timeline::default();
    apply(&lab, &host, &policy, epoch);
    let guests: Vec<Guest> = GUESTS
        .iter()
        .map(|(name, ..)| {
            let nic = if *name == "b2" { Nic::Tap } else { Nic::Veth };
            attach(&lab, &host, name, nic).unwrap()
        })
        .collect();
    // Once more: from here on the ports are there.
    timeline.push(apply(&lab, &host, &policy, epoch));
    let flows = start(&guests, epoch);
    wait_for("traffic", 10, || flows.iter().all(|flow| flow.sent() > 20)).unwrap();

    let mut took_ms = Vec::with_capacity(changes);
    for _ in 0..changes {
        policy.change();
        let era = apply(&lab, &host, &policy, epoch);
        took_ms.push((era.in_force_ns - era.asked_ns) as f64 / 1e6);
        timeline.push(era);
    }
    took_ms.sort_by(f64::total_cmp);
    let [median, p99] = [0.5, 0.99].map(|share| quantile(&took_ms, share));
    println!("{changes} changes, `portcullis apply`: median {median:.1} ms, 99 % {p99:.1} ms");

    let mut wrong = Vec::new();
    for (at, (pair, flow)) in PAIRS.iter().zip(flows).enumerate() {
        let findings = timeline.explain(at, &flow.finish());
        let what = format!("{} -> {} udp/{}, {:?}", pair.from, pair.to, pair.port, pair.fate);
        println!("{what}: {} of {} arrived", findings.arrived, findings.sent);
        if !findings.is_clean() {
            wrong.push(format!("{what}: {findings:?}"));
        }
        match pair.fate {
            Fate::Always => assert_eq!(findings.arrived, findings.sent, "{what}"),
            Fate::Never => assert_eq!(findings.arrived, 0, "{what}"),
            // Both happened, or nothing was tested.
            Fate::Changing => {
                assert!(findings.arrived > 50 && findings.arrived + 50 < findings.sent, "{what}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
