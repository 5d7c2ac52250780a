//! Tables of Docker, ufw, firewalld and libvirt, as they write them, loaded by the real programs
//! into a network namespace of the test's own: what is said about them.

use std::{
    io::Write,
    process::{Command, Stdio},
    thread,
};

use nix::sched::{CloneFlags, unshare};
use portcullis_host_rules::foreign::{Crossing, Finding, Way, look};

const DOCKER: &str = include_str!("rulesets/docker.rules");
const UFW: &str = include_str!("rulesets/ufw.rules");
const FIREWALLD: &str = include_str!("rulesets/firewalld.nft");
const LIBVIRT: &str = include_str!("rulesets/libvirt.nft");

/// A connection of the network lan, 10.1.0.0/24.
fn crossing(way: Way, protocol: u8, number: u16) -> Crossing {
    let (member, gateway) = ("10.1.0.5".parse().unwrap(), "10.1.0.1".parse().ok());
    Crossing { network: "lan".into(), way, member, peer: None, gateway, protocol, number }
}

/// Runs a command of this thread's namespace with this input.
fn feed(program: &str, arguments: &[&str], input: &str) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program} {arguments:?}");
}

/// Looks at tables in a namespace that ends with its thread. `out0` leads outside there.
fn found(load: &[(&str, &[&str], &str)], crossings: &[Crossing]) -> Vec<Finding> {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        for line in [
            "link add out0 type veth peer name out1",
            "link add virbr0 type veth peer name virbr1",
            "link set out1 up",
            "link set out0 up",
            "addr add 198.51.100.1/24 dev out0",
            "route add default via 198.51.100.9",
        ] {
            feed("ip", &line.split(' ').collect::<Vec<_>>(), "");
        }
        for (program, arguments, input) in load {
            feed(program, arguments, input);
        }
        look("portcullis", crossings).unwrap()
    };
    thread::scope(|scope| scope.spawn(inside).join().unwrap())
}

const RESTORE: (&str, &[&str]) = ("iptables-nft-restore", &[]);
const NFT: (&str, &[&str]) = ("nft", &["-f", "-"]);

fn of(
    tool: (&'static str, &'static [&'static str]),
    text: &'static str,
    crossings: &[Crossing],
) -> Vec<Finding> {
    found(&[(tool.0, tool.1, text)], crossings)
}

/// Chain, is it certain, is it the policy.
fn told(found: &[Finding]) -> Vec<(&str, bool, bool)> {
    found.iter().map(|f| (f.chain.as_str(), f.certain, f.handle.is_none())).collect()
}

#[test]
fn docker_drops_what_it_does_not_forward_itself() {
    let all = of(RESTORE, DOCKER, &[crossing(Way::Out, 6, 443), crossing(Way::In, 6, 22)]);
    assert_eq!(told(&all), [("FORWARD", true, true)]);
    assert_eq!(all[0].table, "ip filter");
    assert!(
        all[0].advice.contains("iptables -I DOCKER-USER -i pc-lan -j ACCEPT"),
        "{}",
        all[0].advice
    );
    assert_eq!(all[0].traffic, ["lan to the outside, tcp/443", "the outside to lan, tcp/22"]);
    let text = all[0].to_string();
    assert!(text.starts_with("table ip filter, chain FORWARD: its policy drops what"), "{text}");
    // The host's own traffic is none of Docker's business.
    assert_eq!(
        of(RESTORE, DOCKER, &[crossing(Way::ToHost, 6, 22), crossing(Way::FromHost, 6, 22)]),
        []
    );
    // And what the advice says helps.
    let helped = [
        (RESTORE.0, RESTORE.1, DOCKER),
        ("iptables-nft", &["-I", "DOCKER-USER", "-i", "pc-lan", "-j", "ACCEPT"][..], ""),
        ("iptables-nft", &["-I", "DOCKER-USER", "-o", "pc-lan", "-j", "ACCEPT"][..], ""),
    ];
    assert_eq!(found(&helped, &[crossing(Way::Out, 6, 443)]), []);
}

#[test]
fn ufw_drops_routed_and_incoming_by_its_policies() {
    let all = of(RESTORE, UFW, &[crossing(Way::Out, 6, 443), crossing(Way::ToHost, 17, 53)]);
    let policies: Vec<&str> =
        all.iter().filter(|f| f.handle.is_none()).map(|f| f.chain.as_str()).collect();
    assert_eq!(policies, ["FORWARD", "INPUT"], "{all:#?}");
    let advice: Vec<&str> = all.iter().map(|f| f.advice.as_str()).collect();
    assert!(advice.iter().any(|a| a.contains("ufw route allow in on pc-lan")), "{advice:?}");
    assert!(advice.iter().any(|a| a.contains("ufw allow in on pc-lan")), "{advice:?}");
    // ssh to the host is allowed there, unless somebody takes it for invalid: what `-m conntrack`
    // says nft does not tell.
    let ssh = of(RESTORE, UFW, &[crossing(Way::ToHost, 6, 22)]);
    assert!(ssh.iter().all(|f| !f.certain && f.handle.is_some()), "{ssh:#?}");
    // A ping is answered, and the host may reach its guests.
    let out = of(RESTORE, UFW, &[crossing(Way::FromHost, 6, 22)]);
    assert!(out.iter().all(|f| !f.certain), "{out:#?}");
}

#[test]
fn firewalld_rejects_what_comes_from_no_zone() {
    let all = of(NFT, FIREWALLD, &[crossing(Way::In, 6, 443), crossing(Way::ToHost, 17, 53)]);
    let rejected: Vec<&str> = all.iter().filter(|f| f.certain).map(|f| f.chain.as_str()).collect();
    assert!(rejected.contains(&"filter_IN_public"), "{all:#?}");
    // A published one passes by its translation, which nobody can know beforehand.
    let forwarded = all.iter().find(|f| f.chain == "filter_FWD_public").expect("a finding");
    assert!(!forwarded.certain);
    assert!(
        all.iter().all(|f| f.advice.contains("--zone=trusted --add-interface=pc-lan")),
        "{all:#?}"
    );
    let fine =
        [crossing(Way::Out, 6, 443), crossing(Way::FromHost, 6, 22), crossing(Way::ToHost, 6, 22)];
    assert_eq!(of(NFT, FIREWALLD, &fine), []);
}

#[test]
fn libvirt_minds_its_own_network() {
    let all = [Way::Out, Way::In, Way::ToHost, Way::FromHost].map(|way| crossing(way, 6, 443));
    assert_eq!(of(NFT, LIBVIRT, &all), []);
}

#[test]
fn what_is_not_understood_may_drop() {
    const RULES: &str = "table inet t {
        set banned { type ipv4_addr; elements = { 203.0.113.9 } }
        set nobody { type ipv4_addr; }
        chain f { type filter hook forward priority 0; policy accept;
            ip saddr @nobody drop
            ip saddr @banned drop
            meta mark 7 drop
            iifname vmap { \"eth7\" : drop, \"docker*\" : drop }
            tcp dport { 25, 465 } drop
            ct state vmap { established : accept, invalid : drop }
            oifname \"pc-*\" tcp dport 22 jump deeper
        }
        chain deeper { limit rate 5/second accept
            reject
        }
    }";
    let all = of(NFT, RULES, &[crossing(Way::In, 6, 22)]);
    let told: Vec<(&str, bool)> = all.iter().map(|f| (f.chain.as_str(), f.certain)).collect();
    assert_eq!(told, [("deeper", false), ("f", false), ("f", false)], "{all:#?}");
    let mail = of(NFT, RULES, &[crossing(Way::Out, 6, 25)]);
    assert_eq!(mail.iter().filter(|f| f.certain).count(), 1, "{mail:#?}");
}
