//! Real devices, each test in network namespaces of its own that vanish with their last fd.

use std::{net::IpAddr, os::fd::AsRawFd, thread};

use nix::sched::{CloneFlags, unshare};
use portcullis_ports::{
    Error, Interfaces, Netns, address,
    address::Prefixed,
    host_leg::{self, HostLeg},
    link, tap,
    veth::{self, Peer, PeerConfig},
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

const ALIAS: &str = "portcullis:test";

/// A fresh namespace, kept by an fd only: nothing to clean up, however the test ends.
fn namespace() -> Netns {
    thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        let file = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        Netns::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap()
    })
    .join()
    .unwrap()
}

fn prefixed(text: &str, len: u8) -> Prefixed {
    Prefixed { addr: text.parse().unwrap(), len }
}

#[test]
fn a_tap_is_created_down_and_opened_by_name() {
    namespace()
        .run(|| {
            let made = tap::create("vm1", 2, ALIAS).unwrap();
            assert!(!made.up);
            assert_eq!((made.kind.as_str(), made.alias.as_str()), ("tun", ALIAS));
            assert_eq!(link::list_ours(ALIAS).unwrap(), vec![made.clone()]);
            let off = std::fs::read_to_string("/proc/sys/net/ipv6/conf/vm1/disable_ipv6").unwrap();
            assert_eq!(off.trim(), "1");

            let first = tap::open_queue("vm1", 2).unwrap();
            let _second = tap::open_queue("vm1", 2).unwrap();
            assert_eq!(tap::header_size(&first).unwrap(), tap::VNET_HEADER);
            assert!(matches!(tap::open_queue("vm1", 1), Err(Error::NotThatTap { .. })));

            link::delete(made.index).unwrap();
            assert!(link::find("vm1").unwrap().is_none());
        })
        .unwrap();
}

#[test]
fn a_single_queue_is_held_by_one_only() {
    namespace()
        .run(|| {
            tap::create("vm1", 1, ALIAS).unwrap();
            let _held = tap::open_queue("vm1", 1).unwrap();
            assert!(matches!(tap::open_queue("vm1", 1), Err(Error::QueueBusy { .. })));
        })
        .unwrap();
}

#[test]
fn a_pair_whose_maker_died_is_nobodys() {
    namespace()
        .run(|| {
            let peer = || Peer { name: "peer0".into(), mac: None };
            let made = veth::create("port0", &peer(), None, ALIAS).unwrap();
            // As it is between its birth and its mark.
            link::set_alias(made.index, "").unwrap();
            let half = link::get("port0").unwrap();
            assert!(half.is_ours(ALIAS) && !half.is_ours("portcullis:another"), "{half:?}");
            let again = veth::create("port0", &peer(), None, "portcullis:another").unwrap_err();
            assert!(matches!(again, Error::NameInUse { .. }), "{again}");
            let again = veth::create("port0", &peer(), None, ALIAS).unwrap();
            assert!(again.index != made.index && again.alias == ALIAS, "{again:?}");
            let again = veth::create("port0", &peer(), None, ALIAS).unwrap_err();
            assert!(matches!(again, Error::NameInUse { .. }), "{again}");
        })
        .unwrap();
}

#[test]
fn names_in_use_and_unknown_names_are_told() {
    namespace()
        .run(|| {
            tap::create("vm1", 1, ALIAS).unwrap();
            let again = tap::create("vm1", 1, ALIAS).unwrap_err();
            assert!(again.to_string().contains("choose another name"), "{again}");
            assert!(matches!(link::get("vm2"), Err(Error::NoSuchInterface { .. })));
            assert!(matches!(tap::open_queue("lo", 1), Err(Error::NotThatTap { .. })));
            assert!(matches!(tap::create("a/b", 1, ALIAS), Err(Error::BadName { .. })));
            assert!(matches!(tap::create("vm3", 0, ALIAS), Err(Error::BadQueues { .. })));
            assert!(matches!(tap::create("vm3", 257, ALIAS), Err(Error::BadQueues { .. })));
        })
        .unwrap();
}

#[test]
fn a_pair_reaches_into_a_namespace() {
    let (switch, guest) = (namespace(), namespace());
    let config = PeerConfig {
        mac: [2, 0, 0, 0, 0, 5],
        mtu: 1400,
        addresses: vec![prefixed("10.9.0.5", 24), prefixed("fd00:9::5", 64)],
        gateways: vec!["10.9.0.1".parse().unwrap(), "fd00:9::1".parse().unwrap()],
    };
    switch
        .run(|| {
            let peer = Peer { name: "eth0".into(), mac: Some(config.mac) };
            let port = veth::create("g1", &peer, Some(&guest), ALIAS).unwrap();
            assert!(!port.up);
            // Twice: the second time must change nothing and must not fail.
            veth::configure_peer(Some(&guest), "eth0", &config).unwrap();
            veth::configure_peer(Some(&guest), "eth0", &config).unwrap();
            link::set_up(port.index, true).unwrap();

            let taken = veth::create("g2", &peer, Some(&guest), ALIAS).unwrap_err();
            assert!(taken.to_string().contains("in the namespace"), "{taken}");
            assert!(link::find("g2").unwrap().is_none());
        })
        .unwrap();
    guest
        .run(|| {
            let eth0 = link::get("eth0").unwrap();
            assert_eq!((eth0.mac, eth0.mtu, eth0.up), (config.mac, 1400, true));
            let addrs: Vec<IpAddr> = address::of_host().unwrap();
            assert_eq!(addrs, config.addresses.iter().map(|a| a.addr).collect::<Vec<_>>());
            assert!(link::get("lo").unwrap().up);
        })
        .unwrap();
}

#[test]
fn a_host_leg_is_the_gateway() {
    namespace()
        .run(|| {
            let mut leg = HostLeg {
                network: "lan".into(),
                mac: [2, 1, 2, 3, 4, 5],
                addresses: vec![prefixed("10.8.0.1", 24), prefixed("fd00:8::1", 64)],
                mtu: 1500,
            };
            let port = host_leg::create(&leg, ALIAS).unwrap();
            assert_eq!(port.name, "pcs-lan");
            host_leg::configure(&leg, &Interfaces::look().unwrap()).unwrap();
            host_leg::bring_up("lan", &Interfaces::look().unwrap()).unwrap();
            let host = link::get("pc-lan").unwrap();
            assert_eq!((host.mac, host.alias.as_str(), host.up), (leg.mac, ALIAS, true));
            assert_eq!(address::of_host().unwrap().len(), 2);

            leg.addresses = vec![prefixed("10.7.0.1", 24)];
            let now = Interfaces::look().unwrap();
            assert!(now.get("pc-lan").is_some_and(|side| side.running));
            host_leg::configure(&leg, &now).unwrap();
            host_leg::bring_up("lan", &now).unwrap();
            assert_eq!(address::of_host().unwrap(), ["10.7.0.1".parse::<IpAddr>().unwrap()]);

            link::delete(port.index).unwrap();
            assert!(link::list_ours(ALIAS).unwrap().is_empty());
        })
        .unwrap();
}

#[test]
fn without_the_privilege_it_says_which() {
    namespace()
        .run(|| {
            let none = CapabilitySet::empty();
            let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
            // Of this thread only, which ends here.
            set_capabilities(None, sets).unwrap();
            for error in [
                tap::create("vm1", 1, ALIAS).unwrap_err(),
                veth::create("g1", &Peer { name: "eth0".into(), mac: None }, None, ALIAS)
                    .unwrap_err(),
                link::set_up(link::get("lo").unwrap().index, true).unwrap_err(),
            ] {
                assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
            }
            assert_eq!(link::list().unwrap().len(), 1, "nothing but loopback");
        })
        .unwrap();
}
