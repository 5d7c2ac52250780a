//! Real attack tools against guests: nothing arrives, and every packet is counted under the name
//! of what is wrong with it. Sent = dropped + answered by the switch, to the packet.

use std::{process::Command, time::Duration};

use portcullis_lab::{
    assault::{Account, Assault, Field, VICTIMS},
    patience::is_long,
};

/// A tool that is ended after so many milliseconds, at the latest.
fn assault(command: &str, ms: u64, reasons: &'static [&'static str], least: u64) -> Assault {
    let time = Duration::from_millis(ms);
    Assault { command: command.to_owned(), time, reasons, least }
}

/// Runs all; whatever is wrong with one of them is told, and the others run all the same.
fn all_are_stopped(field: &Field, assaults: &[Assault]) {
    let mut wrong = Vec::new();
    for assault in assaults {
        let account = field.run(field.command(&assault.command), assault.time, assault.least);
        let account = account.unwrap();
        println!("{}: {account:?}", assault.command);
        wrong.extend(complaint(assault, &account).map(|what| format!("{assault:?}: {what}")));
        let arrived = field.arrived();
        assert!(arrived.is_empty(), "{}: {arrived:?}", assault.command);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn complaint(assault: &Assault, account: &Account) -> Option<String> {
    let named = |reason: &String| assault.reasons.contains(&reason.as_str());
    if account.sent != account.drops() + account.answered {
        return Some(format!("not accounted: {account:?}"));
    }
    if !account.dropped.keys().all(named) {
        return Some(format!("another name: {account:?}"));
    }
    (account.drops() < assault.least).then(|| format!("too few: {account:?}"))
}

/// Names of what comes of fragments that nobody lets in.
const PIECES: &[&str] =
    &["fragment-tiny", "fragment-overlap", "fragment-endless", "fragment-orphan", "no-rule"];

fn scans() -> Vec<Assault> {
    let nmap = |options: &str, reasons, least| {
        let ports = if options.contains("-p") { "" } else { "-p 22,80" };
        let line = format!("nmap -n -Pn --max-retries 0 {ports} {options} 10.1.0.12");
        assault(&line, 5000, reasons, least)
    };
    let mut all = vec![
        nmap("-sS -p 1-79", &["no-rule"], 79),
        nmap("-sS -f", &["fragment-overlap", "fragment-tiny"], 6),
        nmap("-sS --mtu 16", &["fragment-overlap", "fragment-tiny"], 4),
        nmap("-sS -p 22 -D 10.1.0.13,10.1.0.77,8.8.8.8", &["no-rule", "spoofed-address"], 4),
        nmap("-sS -p 22 --badsum", &["no-rule"], 1),
        nmap("-sX", &["bad-transport"], 2),
        nmap("-sN", &["bad-transport"], 2),
        nmap("-sF", &["bad-transport"], 2),
        nmap("-sA", &["no-connection"], 2),
    ];
    if is_long() {
        all.extend([
            nmap("-sW", &["no-connection"], 2),
            nmap("-sS -p 22 --data-length 64", &["no-rule"], 1),
            nmap("-sM", &["no-connection"], 2),
            nmap("-sU -p 53,67,161", &["no-rule"], 3),
            nmap(
                "-sO -p 1,2,6,17,47,50,89,132",
                &["no-rule", "no-connection", "absorbed", "bad-transport"],
                8,
            ),
            nmap("--spoof-mac 02:00:00:00:00:09", &["spoofed-mac"], 1),
            nmap("-sS -p 80 --ip-options L", &["ip-option"], 1),
            nmap("-sS -p 81 --ttl 1 -g 53", &["no-rule"], 1),
            assault("nmap -n -Pn -6 -sS --max-retries 0 -p 1-79 fd01::12", 5000, &["no-rule"], 79),
        ]);
    }
    all
}

fn forgeries() -> Vec<Assault> {
    let hping = |options: &str, reasons, least| {
        let line = format!("hping3 -n -q -c 20 -i u2000 {options} 10.1.0.12");
        assault(&line, 400, reasons, least)
    };
    let mut all = vec![
        hping("-S -p 80 -a 10.1.0.13", &["spoofed-address"], 20),
        hping("-S -p 80 --rand-source", &["spoofed-address", "martian"], 20),
        hping("-S -p 80 -f -d 64", &["fragment-orphan", "fragment-tiny"], 100),
        hping("-S -p 80 -g 8", &["fragment-overlap"], 20),
        hping("-F -P -U -p 80", &["bad-transport"], 20),
        hping("-R -p 80", &["no-connection"], 20),
        hping("-1 -C 5 -K 1 --icmp-gw 10.1.0.11", &["not-for-guests"], 20),
        hping("-0 -H 47", &["no-rule"], 20),
        assault("macof -i eth0 -n 500", 1000, &["spoofed-mac"], 500),
        assault(
            "arpspoof -i eth0 -t 10.1.0.12 10.1.0.1",
            1500,
            &["spoofed-neighbour", "no-rule"],
            1,
        ),
        assault(
            "arpspoof -i eth0 10.1.0.13",
            1000,
            &["spoofed-neighbour", "no-rule", "unanswered"],
            1,
        ),
    ];
    if is_long() {
        all.extend([
            hping("-2 -p 53", &["no-rule"], 20),
            hping("-1", &["no-rule"], 20),
            assault("macof -i eth0 -n 200 -d 10.1.0.12", 1000, &["spoofed-mac"], 200),
            assault("hping3 -n -q --flood -S -p 22 10.1.0.12", 3000, &["no-rule"], 10_000),
        ]);
    }
    all
}

fn link_layer() -> Vec<Assault> {
    let yersinia = |what: &str, ms, reasons, least| {
        let source = if ms < 1000 { "-source $MAC" } else { "" };
        assault(&format!("yersinia {what} {source} -interface eth0"), ms, reasons, least)
    };
    let mut all = vec![
        yersinia("stp -attack 0", 400, &["ether-type"], 1),
        yersinia("cdp -attack 0", 400, &["ether-type"], 1),
        yersinia("dtp -attack 1", 400, &["ether-type"], 1),
        yersinia("vtp -attack 0", 400, &["ether-type"], 1),
        yersinia("hsrp -attack 0", 400, &["spoofed-address", "ether-type"], 1),
        yersinia("dot1q -attack 0", 400, &["tagged-frame", "ether-type"], 1),
        yersinia("dot1q -attack 1", 400, &["double-tag", "ether-type"], 1),
    ];
    if is_long() {
        all.extend([
            yersinia("stp -attack 2", 2000, &["spoofed-mac"], 10_000),
            yersinia("cdp -attack 1", 2000, &["spoofed-mac"], 10_000),
            yersinia("dhcp -attack 1", 2000, &["spoofed-mac"], 10_000),
            yersinia("mpls -attack 0", 400, &["ether-type"], 1),
        ]);
    }
    all
}

fn version_six() -> Vec<Assault> {
    let thc = |line: &str, ms, reasons, least| assault(&format!("atk6-{line}"), ms, reasons, least);
    let mut all = vec![
        thc("fake_router6 eth0 fd66::/64", 400, &["not-for-guests"], 1),
        thc("fake_router26 eth0", 400, &["not-for-guests"], 1),
        thc("fake_advertise6 eth0 fd01::13 fd01::12", 400, &["spoofed-address"], 1),
        thc("fake_mldrouter6 eth0 advertise", 400, &["no-listener"], 1),
        thc("kill_router6 eth0 fd01::1", 400, &["spoofed-address"], 1),
        thc("redir6 eth0 fd01::12 fd02::11 fd01::1 fd01::11", 600, &["spoofed-mac"], 1),
        thc("flood_router26 eth0", 300, &["spoofed-mac"], 1000),
        thc("flood_redir6 eth0 fd01::12", 300, &["not-for-guests"], 1000),
        thc("flood_unreach6 eth0 fd01::12", 300, &["unrelated-error"], 1000),
        thc("fragmentation6 eth0 fd01::12", 1500, PIECES, 3),
        thc("fuzz_ip6 -x -n 1 -1 eth0 fd01::12", 400, &["no-rule"], 1),
    ];
    if is_long() {
        all.extend([
            thc("fragmentation6 eth0 fd01::12", 10_000, PIECES, 8),
            thc("flood_solicitate6 eth0 fd01::12", 2000, &["spoofed-mac"], 1000),
            thc("rsmurf6 eth0 fd01::12", 2000, &["spoofed-mac"], 1000),
            thc("flood_advertise6 eth0", 300, &["spoofed-mac"], 1000),
            thc("smurf6 eth0 fd01::12", 300, &["spoofed-mac"], 1000),
            thc("flood_mld6 eth0", 2000, &["spoofed-mac"], 1000),
            thc("flood_dhcpc6 eth0", 2000, &["spoofed-mac"], 1000),
            thc("sendpees6 eth0 1024 fd01:: fd01::12", 2000, &["spoofed-mac"], 1000),
            thc(
                "randicmp6 eth0 fd01::12",
                3000,
                &["no-rule", "not-for-guests", "unrelated-error"],
                50,
            ),
            thc("node_query6 eth0 fd01::12", 1000, &["no-rule"], 1),
            thc("covert_send6 eth0 fd01::12 /etc/hostname", 4000, &["no-rule"], 1),
            thc("alive6 eth0", 2000, &["no-listener", "no-rule"], 1),
            thc("fake_mld6 eth0 add ff02::5", 1000, &["absorbed"], 1),
            thc(
                "toobig6 eth0 fd02::11 fd01::12 1280",
                1000,
                &["spoofed-address", "unrelated-error"],
                1,
            ),
            thc("implementation6 eth0 fd01::12", 8000, &["no-rule"], 1),
            thc("exploit6 eth0 fd01::12", 8000, &["no-rule"], 1),
        ]);
    }
    all
}

#[test]
fn nothing_of_a_tool_arrives_and_all_of_it_is_named() {
    let field = Field::new("plm").unwrap();
    let all = [scans(), forgeries(), link_layer(), version_six()].concat();
    all_are_stopped(&field, &all);
}

#[test]
fn a_rogue_server_reaches_nobody() {
    let field = Field::new("plr").unwrap();
    let lease = field.small.lab.dir().join("leases");
    let mut server = Command::new("dnsmasq");
    server.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]);
    server.args(["--user=root", "--interface=eth0", "--bind-interfaces", "--port=0"]);
    server.args(["--dhcp-authoritative", "--dhcp-range=10.1.0.100,10.1.0.200,1h"]);
    server.args(["--dhcp-range=fd01::100,fd01::200,64,1h", "--enable-ra", "--ra-param=eth0,4"]);
    server.arg(format!("--dhcp-leasefile={}", lease.display()));
    server.arg(format!("--pid-file={}", lease.with_extension("pid").display()));
    let victim = field.small.space("r2").clone();
    // Somebody who would take the first answer that comes.
    let asking = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        let mut client = Command::new("busybox");
        client.args([
            "udhcpc",
            "-i",
            "eth0",
            "-n",
            "-q",
            "-f",
            "-t",
            "3",
            "-T",
            "1",
            "-s",
            "/bin/true",
        ]);
        victim.run(client, 6).unwrap().code()
    });
    let account = field.run(server, Duration::from_secs(4), 0).unwrap();
    asking.join().unwrap();
    println!("dnsmasq: {account:?}");
    assert!(account.dropped.get("not-for-guests").is_some_and(|n| *n > 0), "{account:?}");
    let attacker = field.small.mac("r1");
    for victim in VICTIMS {
        let of_attacker = |head: &Vec<u8>| head[6..12] == attacker;
        assert!(!field.heads(victim).iter().any(of_attacker), "{victim}");
    }
    // Nor did it learn of the question, which would be half of an answer.
    let leases = std::fs::read_to_string(&lease).unwrap_or_default();
    assert!(!leases.contains("10.1.0."), "{leases}");
}

/// Frames of scapy's, with the name under which each has to be dropped.
#[test]
fn malformed_packets_of_scapy_are_named_one_by_one() {
    let field = Field::new("plc").unwrap();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("attacks/malformed.py");
    let mac = |name: &str| field.small.guest(name).mac.clone();
    let said = field.small.lab.dir().join("said");
    let mut scapy = Command::new("/usr/bin/python3");
    scapy.arg(script).args([mac("r1"), mac("r2"), mac("r3")]).arg(&said);
    let account = field.run(scapy, Duration::from_secs(20), 0).unwrap();
    let text = std::fs::read_to_string(&said).unwrap();
    let expected = text.lines().filter_map(|line| {
        let (reason, packets) = line.split_once(' ')?;
        Some((reason.to_owned(), packets.parse().ok()?))
    });
    assert_eq!(account.dropped, expected.collect(), "{text}");
    assert_eq!(account.sent, account.drops() + account.answered, "{account:?}");
    assert!(account.sent > 50, "{account:?}");
    assert!(field.arrived().is_empty(), "{:?}", field.arrived());
}
