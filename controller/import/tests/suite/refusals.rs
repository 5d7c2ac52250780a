//! Sources that cannot be read, or that say too little: each is refused with its place, a stable
//! code and advice, and nothing is written.

use crate::common::{Format, file, import, list};
use portcullis_import::{Finding, ImportError, Options, Weight};

fn options() -> Options {
    Options { networks: list(&["lan=10,10.0.1.0/24,gateway,eth1,br0"]), ..Options::default() }
}

fn findings(format: Format, name: &str, text: &str, options: &Options) -> Vec<Finding> {
    match import(format, &[file(name, text)], options) {
        Err(ImportError::Refused { findings }) => findings,
        other => panic!("{text}: {other:?}"),
    }
}

/// The first error of a source: code, line, column, message with advice.
fn error(format: Format, name: &str, text: &str) -> (String, u32, u32, String) {
    let all = findings(format, name, text, &options());
    let first = all.iter().find(|f| f.weight() == Weight::Error).unwrap();
    let place = first.place.as_ref().map_or((0, 0), |p| (p.line, p.column));
    let help = first.help.clone().unwrap_or_default();
    (first.remark.code().to_owned(), place.0, place.1, format!("{}; {help}", first.remark))
}

fn table(rule: &str) -> String {
    format!("*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT DROP [0:0]\n{rule}\nCOMMIT\n")
}

#[test]
fn rules_of_iptables() {
    for (rule, code, column, words) in [
        ("-A INPUT -p tpc -j ACCEPT", "PI0003", 13, "`tcp`"),
        ("-A INPUT -p tcp --dport htps -j ACCEPT", "PI0003", 25, "`https`"),
        ("-A INPUT -p tcp --dport 90:80 -j ACCEPT", "PI0003", 25, "port"),
        ("-A INPUT -p tcp --dport 70000 -j ACCEPT", "PI0003", 25, "port"),
        ("-A INPUT -s 10.0.0.300 -j ACCEPT", "PI0003", 13, "IPv4"),
        ("-A INPUT -s fd00::1 -j ACCEPT", "PI0003", 13, "IPv4"),
        ("-A INPUT -j ACEPT", "PI0002", 13, "`ACCEPT`"),
        ("-A NOWHERE -j ACCEPT", "PI0002", 4, "NOWHERE"),
        ("-A INPUT -j", "PI0004", 10, "behind `-j`"),
        ("-A INPUT -j DROP -j ACCEPT", "PI0005", 18, "twice"),
        ("-A INPUT -m comment --comment \"x -j DROP", "PI0001", 31, "quote"),
        ("-A INPUT -m conntrack --ctstate NEWW -j DROP", "PI0003", 33, "`NEW`"),
        ("-A INPUT -p icmp --icmp-type echo-reqest -j DROP", "PI0003", 30, "`echo-request`"),
        ("-A INPUT -p icmp --icmpv6-type 128 -j DROP", "PI0003", 18, "family"),
        ("-A INPUT junk -j DROP", "PI0003", 10, "option"),
        ("-D INPUT -j DROP", "PI0003", 1, "-A CHAIN"),
        ("nonsense", "PI0003", 1, "iptables-save"),
        ("-A INPUT -m conntrack --ctstate ESTABLISHED -j DROP", "PI0010", 1, "delete the line"),
        ("-A INPUT -m iprange --src-range 10.0.0.9-10.0.0.1 -j DROP", "PI0003", 33, "range"),
    ] {
        let (got, line, at, text) = error(Format::Iptables, "rules", &table(rule));
        assert_eq!((got.as_str(), line, at), (code, 5, column), "{rule}: {text}");
        assert!(text.contains(words), "{rule}: {text}");
    }
}

#[test]
fn tables_of_iptables() {
    let whole = table("");
    for (text, code, words) in [
        (whole.replace("COMMIT\n", ""), "PI0004", "cut off"),
        (whole.replace(":FORWARD DROP [0:0]\n", ""), "PI0004", "FORWARD"),
        (whole.replace("*filter", "*nat"), "PI0004", "filter"),
        (String::new(), "PI0004", "iptables-save"),
        (whole.replace("INPUT DROP", "INPUT QUEUE"), "PI0003", "policy"),
        (whole.replace(":OUTPUT DROP", ":INPUT DROP"), "PI0005", "INPUT"),
        (format!("*raw\n-A PREROUTING -s 10.0.0.0/8 -j DROP\nCOMMIT\n{whole}"), "PI0010", "raw"),
        (
            table(":one - [0:0]\n:two - [0:0]\n-A INPUT -j one\n-A one -j two\n-A two -j one"),
            "PI0006",
            "circle",
        ),
    ] {
        let (got, _, _, said) = error(Format::Iptables, "rules", &text);
        assert_eq!(got, code, "{text}: {said}");
        assert!(said.contains(words), "{text}: {said}");
    }
}

#[test]
fn chains_that_multiply_are_refused_in_time() {
    let mut rules = String::new();
    for i in 0..31 {
        rules += &format!(":c{i} - [0:0]\n");
    }
    rules += "-A INPUT -j c0\n";
    for i in 0..30 {
        for _ in 0..4 {
            rules += &format!("-A c{i} -j c{}\n", i + 1);
        }
    }
    let start = std::time::Instant::now();
    let (code, .., said) = error(Format::Iptables, "rules", &table(&rules));
    assert_eq!(code, "PI0006", "{said}");
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn lines_of_proxmox() {
    for (line, code, column, words) in [
        ("IN ACEPT", "PI0003", 4, "`ACCEPT`"),
        ("INN ACCEPT", "PI0003", 1, "`IN`"),
        ("IN SHS(ACCEPT)", "PI0002", 4, "`SSH`"),
        ("IN SSH(ALLOW)", "PI0003", 4, "MACRO(ACTION)"),
        ("IN ACCEPT -p tcp -dprot 22", "PI0003", 18, "`dport`"),
        ("IN ACCEPT -p tcp -dport", "PI0004", 1, "-dport"),
        ("IN ACCEPT -dport 22", "PI0004", 1, "-p tcp"),
        ("IN ACCEPT -p tcp -dport 22-23", "PI0003", 25, "ports"),
        ("IN ACCEPT -source 10.0.0.0/33", "PI0003", 19, "address"),
        ("IN ACCEPT -source 10.0.0.1,fd00::1", "PI0003", 19, "family"),
        ("IN ACCEPT -source +admin", "PI0002", 1, "`admins`"),
        ("IN ACCEPT -source offic", "PI0002", 1, "`office`"),
        ("IN ACCEPT -p tcp -p udp", "PI0005", 18, "-proto"),
        ("IN ACCEPT -p tcp -log loud", "PI0003", 23, "log level"),
        ("GROUP wbe", "PI0002", 1, "`web`"),
        ("GROUP web -p tcp", "PI0003", 1, "interface"),
        ("FORWARD DROP", "PI0010", 1, "FORWARD"),
        ("IN", "PI0004", 1, "action"),
    ] {
        let text = format!(
            "[OPTIONS]\nenable: 1\n[ALIASES]\noffice 10.9.0.0/16\n[IPSET admins]\n10.9.0.1\n\
             [group web]\nIN ACCEPT\n[RULES]\n{line}\n"
        );
        let (got, at_line, at, said) = error(Format::Proxmox, "firewall/cluster.fw", &text);
        assert_eq!((got.as_str(), at_line, at), (code, 10, column), "{line}: {said}");
        assert!(said.contains(words), "{line}: {said}");
    }
}

#[test]
fn files_of_proxmox() {
    for (name, text, code, words) in [
        ("firewall/cluster.fw", "[RULEZ]\n", "PI0003", "`RULES`"),
        ("firewall/cluster.fw", "[RULES\n", "PI0003", "section"),
        ("firewall/cluster.fw", "IN ACCEPT\n", "PI0003", "section"),
        ("firewall/cluster.fw", "[OPTIONS]\nenable 1\n", "PI0003", "KEY: VALUE"),
        ("firewall/cluster.fw", "[OPTIONS]\nenable: yes\n", "PI0003", "0 or 1"),
        ("firewall/cluster.fw", "[OPTIONS]\npolicy_in: DORP\n", "PI0003", "DROP"),
        ("firewall/cluster.fw", "[OPTIONS]\npolicy_forward: DROP\n", "PI0010", "policy_forward"),
        ("firewall/cluster.fw", "[ALIASES]\nx\n", "PI0003", "NAME PREFIX"),
        ("firewall/cluster.fw", "[IPSET x]\n10.0.0.0.0\n", "PI0003", "prefix"),
        ("firewall/cluster.fw", "[IPSET x]\n[IPSET x]\n", "PI0005", "x"),
        ("firewall/101.fw", "[group x]\n", "PI0003", "section"),
        ("sdn/firewall/vnet0.fw", "[RULES]\n", "PI0010", "vnet0"),
        ("nodes/a/qemu-server/1.conf", "net0: virtio=x\n", "PI0004", "bridge"),
        ("nodes/a/qemu-server/1.conf", "net0: bridge=vmbr9\n", "PI0007", "--network NAME=VLAN"),
        ("nodes/a/lxc/1.conf", "net0: bridge=br0,ip=10.0.1.5\n", "PI0003", "prefix length"),
        ("nodes/a/lxc/1.conf", "net0: bridge=br0,tag=5000\n", "PI0003", "4094"),
    ] {
        let (got, .., said) = error(Format::Proxmox, name, text);
        assert_eq!(got, code, "{text}: {said}");
        assert!(said.contains(words), "{text}: {said}");
    }
}

#[test]
fn filters_of_libvirt() {
    for (text, code, line, words) in [
        ("<filter name='x'>\n<rule></filter>", "PI0001", 2, "XML"),
        ("<filtr name='x'/>", "PI0003", 1, "<filter>"),
        ("<filter/>", "PI0004", 1, "name"),
        ("<filter name='x' chain='ipv5'/>", "PI0003", 1, "`ipv4`"),
        ("<filter name='x' priority='2000'/>", "PI0003", 1, "1000"),
        ("<filter name='x'>\n<rul/></filter>", "PI0003", 2, "`rule`"),
        ("<filter name='x'>\n<rule direction='in'/></filter>", "PI0004", 2, "action"),
        ("<filter name='x'>\n<rule action='dorp' direction='in'/></filter>", "PI0003", 2, "`drop`"),
        ("<filter name='x'>\n<rule action='drop' direction='on'/></filter>", "PI0003", 2, "in"),
        (
            "<filter name='x'>\n<rule action='drop' direction='in'>\n<tpc/></rule></filter>",
            "PI0003",
            3,
            "`tcp`",
        ),
        ("<filter name='x'>\n<filterref filter='y'/></filter>", "PI0002", 2, "nwfilter-dumpxml y"),
        (
            "<filter name='x'>\n<rule action='drop' direction='in'>\n<tcp dstportstart='$PORT'/></rule></filter>",
            "PI0007",
            3,
            "--variable PORT=VALUE",
        ),
        (
            "<filter name='x'>\n<rule action='drop' direction='in'>\n<tcp dstportstart='ssh'/></rule></filter>",
            "PI0003",
            3,
            "port",
        ),
        (
            "<filter name='x'>\n<rule action='drop' direction='in'>\n<ip srcipaddr='10.0.0.0.0'/></rule></filter>",
            "PI0003",
            3,
            "address",
        ),
        ("<filter name='x'>\n<filterref filter='x'/></filter>", "PI0006", 2, "deep"),
        (
            "<domain><name>a</name><devices>\n<interface/></devices></domain>",
            "PI0007",
            2,
            "--guest a=NETWORK",
        ),
        (
            "<domain><name>a</name><devices>\n<interface><source bridge='br9'/></interface></devices></domain>",
            "PI0007",
            2,
            "--network br9=VLAN,SUBNET",
        ),
    ] {
        let all = findings(
            Format::Nwfilter,
            "x.xml",
            text,
            &Options { guests: list(&["g=lan,10.0.1.7"]), ..options() },
        );
        let first = all.iter().find(|f| f.weight() == Weight::Error).unwrap();
        let said = first.render();
        assert_eq!(first.remark.code(), code, "{text}: {said}");
        assert_eq!(first.place.as_ref().map_or(0, |p| p.line), line, "{text}: {said}");
        assert!(said.contains(words), "{text}: {said}");
    }
}

#[test]
fn options_of_the_user() {
    let with = |f: &dyn Fn(&mut Options)| {
        let mut options = options();
        f(&mut options);
        findings(Format::Iptables, "rules", &table(""), &options)[0].render()
    };
    for (said, words) in [
        (with(&|o| o.networks = list(&["lan"])), "NAME=VALUE"),
        (with(&|o| o.networks = list(&["lan=10.0.0.0/24"])), "VLAN id"),
        (with(&|o| o.networks = list(&["lan=10"])), "subnet"),
        (with(&|o| o.guests = list(&["a=lan,10.0.1.x"])), "10.0.1.x"),
        (with(&|o| o.guests = list(&["a=nolan,10.0.1.7"])), "no network is called `nolan`"),
        (with(&|o| o.guests = list(&["a=lan,10.9.9.9"])), "10.9.9.9"),
        (with(&|o| o.host = list(&["here"])), "not an address"),
        (with(&|o| o.networks.clear()), "--host ADDRESS"),
    ] {
        assert!(said.contains(words), "{said}");
    }
}
