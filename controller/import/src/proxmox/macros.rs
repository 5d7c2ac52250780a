//! The macros of Proxmox VE as services.

use portcullis_policy::{
    CATALOGUE,
    model::{Ports, Protocol, Sources16},
};

/// A service in a constant.
type S = Ports;

const fn tcp(first: u16, last: u16) -> S {
    Ports::range(Protocol::Tcp, first, last)
}

const fn udp(first: u16, last: u16) -> S {
    Ports::range(Protocol::Udp, first, last)
}

const fn ip(number: u16) -> S {
    Ports::range(Protocol::Proto, number, number)
}

const fn ping4() -> S {
    Ports::range(Protocol::Icmp, 8 << 8, 8 << 8 | 0xff)
}

const fn v6(kind: u16) -> S {
    Ports::range(Protocol::Icmpv6, kind << 8, kind << 8 | 0xff)
}

const fn from(ports: S, first: u16, last: u16) -> S {
    Ports { source: Sources16 { first, last }, ..ports }
}

/// Each macro and what it covers, sorted by name.
pub const MACROS: &[(&str, &[Ports])] = &[
    ("Amanda", &[udp(10080, 10080), tcp(10080, 10080)]),
    ("Auth", &[tcp(113, 113)]),
    ("BGP", &[tcp(179, 179)]),
    ("BitTorrent", &[tcp(6881, 6889), udp(6881, 6881)]),
    ("BitTorrent32", &[tcp(6881, 6999), udp(6881, 6881)]),
    ("CVS", &[tcp(2401, 2401)]),
    ("Ceph", &[tcp(3300, 3300), tcp(6789, 6789), tcp(6800, 7300)]),
    ("Citrix", &[tcp(1494, 1494), udp(1604, 1604), tcp(2598, 2598)]),
    ("DAAP", &[tcp(3689, 3689), udp(3689, 3689)]),
    ("DCC", &[tcp(6277, 6277)]),
    ("DHCPfwd", &[from(udp(67, 68), 67, 68)]),
    ("DHCPv6", &[from(udp(546, 547), 546, 547)]),
    ("DNS", &[tcp(53, 53), udp(53, 53)]),
    ("Distcc", &[tcp(3632, 3632)]),
    ("FTP", &[tcp(21, 21)]),
    ("Finger", &[tcp(79, 79)]),
    ("GNUnet", &[tcp(2086, 2086), udp(2086, 2086), tcp(1080, 1080), udp(1080, 1080)]),
    ("GRE", &[ip(47)]),
    ("Git", &[tcp(9418, 9418)]),
    ("HKP", &[tcp(11371, 11371)]),
    ("HTTP", &[tcp(80, 80)]),
    ("HTTP/3", &[udp(443, 443)]),
    ("HTTPS", &[tcp(443, 443)]),
    ("ICPV2", &[udp(3130, 3130)]),
    ("ICQ", &[tcp(5190, 5190)]),
    ("IMAP", &[tcp(143, 143)]),
    ("IMAPS", &[tcp(993, 993)]),
    ("IPIP", &[ip(94)]),
    ("IPsec", &[from(udp(500, 500), 500, 500), ip(50)]),
    ("IPsecah", &[from(udp(500, 500), 500, 500), ip(51)]),
    ("IPsecnat", &[udp(500, 500), udp(4500, 4500), ip(50)]),
    ("IRC", &[tcp(6667, 6667)]),
    ("Jetdirect", &[tcp(9100, 9100)]),
    ("L2TP", &[udp(1701, 1701)]),
    ("LDAP", &[tcp(389, 389)]),
    ("LDAPS", &[tcp(636, 636)]),
    ("MDNS", &[udp(5353, 5353)]),
    ("MSNP", &[tcp(1863, 1863)]),
    ("MSSQL", &[tcp(1433, 1433)]),
    ("Mail", &[tcp(25, 25), tcp(465, 465), tcp(587, 587)]),
    ("Munin", &[tcp(4949, 4949)]),
    ("MySQL", &[tcp(3306, 3306)]),
    ("NNTP", &[tcp(119, 119)]),
    ("NNTPS", &[tcp(563, 563)]),
    ("NTP", &[udp(123, 123)]),
    ("NeighborDiscovery", &[v6(133), v6(134), v6(135), v6(136)]),
    ("OSPF", &[ip(89)]),
    ("OpenVPN", &[udp(1194, 1194)]),
    ("PBS", &[tcp(8007, 8007)]),
    ("PCA", &[udp(5632, 5632), tcp(5631, 5631)]),
    ("PMG", &[tcp(8006, 8006)]),
    ("POP3", &[tcp(110, 110)]),
    ("POP3S", &[tcp(995, 995)]),
    ("PPtP", &[ip(47), tcp(1723, 1723)]),
    ("Ping", &[ping4(), v6(128)]),
    ("PostgreSQL", &[tcp(5432, 5432)]),
    ("Printer", &[tcp(515, 515)]),
    ("RDP", &[tcp(3389, 3389)]),
    ("RIP", &[udp(520, 520)]),
    ("RNDC", &[tcp(953, 953)]),
    ("Razor", &[tcp(2703, 2703)]),
    ("Rdate", &[tcp(37, 37)]),
    ("Rsync", &[tcp(873, 873)]),
    ("SANE", &[tcp(6566, 6566)]),
    (
        "SMB",
        &[
            udp(135, 135),
            udp(445, 445),
            udp(137, 139),
            from(udp(1024, 65535), 137, 137),
            tcp(135, 135),
            tcp(139, 139),
            tcp(445, 445),
        ],
    ),
    ("SMBswat", &[tcp(901, 901)]),
    ("SMTP", &[tcp(25, 25)]),
    ("SMTPS", &[tcp(465, 465)]),
    ("SNMP", &[udp(161, 162), tcp(161, 161)]),
    ("SPAMD", &[tcp(783, 783)]),
    ("SPICEproxy", &[tcp(3128, 3128)]),
    ("SSH", &[tcp(22, 22)]),
    ("SVN", &[tcp(3690, 3690)]),
    ("SixXS", &[tcp(3874, 3874), udp(3740, 3740), ip(41), udp(5072, 5072), udp(8374, 8374)]),
    ("Squid", &[tcp(3128, 3128)]),
    ("Submission", &[tcp(587, 587)]),
    ("Syslog", &[udp(514, 514), tcp(514, 514)]),
    ("TFTP", &[udp(69, 69)]),
    ("Telnet", &[tcp(23, 23)]),
    ("Telnets", &[tcp(992, 992)]),
    ("Time", &[tcp(37, 37)]),
    ("Trcrt", &[udp(33434, 33524), ping4(), v6(128)]),
    ("VNC", &[tcp(5900, 5999)]),
    ("VNCL", &[tcp(5500, 5500)]),
    ("Web", &[tcp(80, 80), tcp(443, 443)]),
    ("Webcache", &[tcp(8080, 8080)]),
    ("Webmin", &[tcp(10000, 10000)]),
    ("Whois", &[tcp(43, 43)]),
];

/// The table's own spelling of a macro, and what it covers.
pub fn find(name: &str) -> Option<(&'static str, &'static [Ports])> {
    MACROS.iter().copied().find(|(known, _)| known.eq_ignore_ascii_case(name))
}

/// What the policy calls it: the built-in name if that covers the same, else one of its own.
/// And whether it is its own.
pub fn service_name(name: &str, ports: &[Ports]) -> (String, bool) {
    let folded = name.to_lowercase().replace('/', "");
    let mut wanted: Vec<String> = ports.iter().map(Ports::to_string).collect();
    wanted.sort_unstable();
    let same = |text: &str| {
        let mut known: Vec<&str> = text.split(' ').collect();
        known.sort_unstable();
        known == wanted
    };
    match CATALOGUE.iter().any(|(known, text)| *known == folded && same(text)) {
        true => (folded, false),
        false => (format!("pve-{folded}"), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_whole() {
        assert!(MACROS.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(MACROS.len(), 88);
    }

    #[test]
    fn a_built_in_name_is_used_where_it_means_the_same() {
        let name = |text| find(text).map(|(name, ports)| service_name(name, ports));
        assert_eq!(name("ssh"), Some(("ssh".into(), false)));
        assert_eq!(name("Ping"), Some(("ping".into(), false)));
        // Ours has other ports.
        assert_eq!(name("SMB"), Some(("pve-smb".into(), true)));
        assert_eq!(name("HTTP/3"), Some(("http3".into(), false)));
        assert_eq!(name("nope"), None);
    }
}
