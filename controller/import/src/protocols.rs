//! Names of protocols, ports and ICMP types, as IANA and the tools have them.

/// IP protocols by name.
const PROTOCOLS: &[(&str, u8)] = &[
    ("ah", 51),
    ("dccp", 33),
    ("egp", 8),
    ("eigrp", 88),
    ("encap", 98),
    ("esp", 50),
    ("etherip", 97),
    ("fc", 133),
    ("ggp", 3),
    ("gre", 47),
    ("hip", 139),
    ("hopopt", 0),
    ("icmp", 1),
    ("icmpv6", 58),
    ("igmp", 2),
    ("igp", 9),
    ("ipcomp", 108),
    ("ipencap", 4),
    ("ipip", 94),
    ("ipv6", 41),
    ("ipv6-frag", 44),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("ipv6-route", 43),
    ("isis", 124),
    ("l2tp", 115),
    ("manet", 138),
    ("mpls-in-ip", 137),
    ("ospf", 89),
    ("pim", 103),
    ("rsvp", 46),
    ("sctp", 132),
    ("shim6", 140),
    ("skip", 57),
    ("tcp", 6),
    ("udp", 17),
    ("udplite", 136),
    ("vrrp", 112),
];

/// Ports that people write by name.
const PORTS: &[(&str, u16)] = &[
    ("bgp", 179),
    ("bootpc", 68),
    ("bootps", 67),
    ("domain", 53),
    ("ftp", 21),
    ("ftp-data", 20),
    ("http", 80),
    ("https", 443),
    ("imap", 143),
    ("imap2", 143),
    ("imaps", 993),
    ("ipp", 631),
    ("isakmp", 500),
    ("kerberos", 88),
    ("ldap", 389),
    ("ldaps", 636),
    ("microsoft-ds", 445),
    ("ms-sql-s", 1433),
    ("mysql", 3306),
    ("netbios-dgm", 138),
    ("netbios-ns", 137),
    ("netbios-ssn", 139),
    ("nfs", 2049),
    ("nntp", 119),
    ("ntp", 123),
    ("openvpn", 1194),
    ("pop3", 110),
    ("pop3s", 995),
    ("postgresql", 5432),
    ("rsync", 873),
    ("sip", 5060),
    ("sip-tls", 5061),
    ("smtp", 25),
    ("smtps", 465),
    ("snmp", 161),
    ("snmp-trap", 162),
    ("ssh", 22),
    ("submission", 587),
    ("submissions", 465),
    ("sunrpc", 111),
    ("syslog", 514),
    ("telnet", 23),
    ("tftp", 69),
    ("whois", 43),
    ("www", 80),
];

/// ICMP types and codes by name: RFC 792, RFC 1256, RFC 1812; in the words of the tools.
const ICMP: &[(&str, u8, Option<u8>)] = &[
    ("TOS-host-redirect", 5, Some(3)),
    ("TOS-host-unreachable", 3, Some(12)),
    ("TOS-network-redirect", 5, Some(2)),
    ("TOS-network-unreachable", 3, Some(11)),
    ("address-mask-reply", 18, None),
    ("address-mask-request", 17, None),
    ("admin-prohibited", 3, Some(13)),
    ("communication-prohibited", 3, Some(13)),
    ("destination-unreachable", 3, None),
    ("echo-reply", 0, None),
    ("echo-request", 8, None),
    ("fragmentation-needed", 3, Some(4)),
    ("host-precedence-violation", 3, Some(14)),
    ("host-prohibited", 3, Some(10)),
    ("host-redirect", 5, Some(1)),
    ("host-unknown", 3, Some(7)),
    ("host-unreachable", 3, Some(1)),
    ("info-reply", 16, None),
    ("info-request", 15, None),
    ("ip-header-bad", 12, Some(0)),
    ("net-prohibited", 3, Some(9)),
    ("net-unreachable", 3, Some(0)),
    ("network-prohibited", 3, Some(9)),
    ("network-redirect", 5, Some(0)),
    ("network-unknown", 3, Some(6)),
    ("network-unreachable", 3, Some(0)),
    ("parameter-problem", 12, None),
    ("ping", 8, None),
    ("pong", 0, None),
    ("port-unreachable", 3, Some(3)),
    ("precedence-cutoff", 3, Some(15)),
    ("prot-unreachable", 3, Some(2)),
    ("protocol-unreachable", 3, Some(2)),
    ("redirect", 5, None),
    ("required-option-missing", 12, Some(1)),
    ("router-advertisement", 9, None),
    ("router-solicitation", 10, None),
    ("source-quench", 4, None),
    ("source-route-failed", 3, Some(5)),
    ("time-exceeded", 11, None),
    ("timestamp-reply", 14, None),
    ("timestamp-request", 13, None),
    ("ttl-exceeded", 11, None),
    ("ttl-zero-during-reassembly", 11, Some(1)),
    ("ttl-zero-during-transit", 11, Some(0)),
];

/// ICMPv6 types and codes by name: RFC 4443, RFC 4861.
const ICMPV6: &[(&str, u8, Option<u8>)] = &[
    ("addr-unreachable", 1, Some(3)),
    ("address-unreachable", 1, Some(3)),
    ("admin-prohibited", 1, Some(1)),
    ("bad-header", 4, Some(0)),
    ("beyond-scope", 1, Some(2)),
    ("communication-prohibited", 1, Some(1)),
    ("destination-unreachable", 1, None),
    ("echo-reply", 129, None),
    ("echo-request", 128, None),
    ("mld-listener-done", 132, None),
    ("mld-listener-query", 130, None),
    ("mld-listener-report", 131, None),
    ("nd-neighbor-advert", 136, None),
    ("nd-neighbor-solicit", 135, None),
    ("nd-redirect", 137, None),
    ("nd-router-advert", 134, None),
    ("nd-router-solicit", 133, None),
    ("neighbor-advertisement", 136, None),
    ("neighbor-solicitation", 135, None),
    ("neighbour-advertisement", 136, None),
    ("neighbour-solicitation", 135, None),
    ("no-route", 1, Some(0)),
    ("packet-too-big", 2, None),
    ("parameter-problem", 4, None),
    ("port-unreachable", 1, Some(4)),
    ("redirect", 137, None),
    ("router-advertisement", 134, None),
    ("router-solicitation", 133, None),
    ("time-exceeded", 3, None),
    ("ttl-zero-during-reassembly", 3, Some(1)),
    ("ttl-zero-during-transit", 3, Some(0)),
    ("unknown-header-type", 4, Some(1)),
    ("unknown-option", 4, Some(2)),
];

/// An IP protocol by name or number.
pub fn protocol(text: &str) -> Option<u8> {
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => {
            let folded = text.to_ascii_lowercase();
            PROTOCOLS.iter().find(|(name, _)| *name == folded).map(|&(_, number)| number)
        }
    }
}

/// Every protocol name.
pub fn protocol_names() -> impl Iterator<Item = &'static str> {
    PROTOCOLS.iter().map(|&(name, _)| name)
}

/// A port by name or number.
pub fn port(text: &str) -> Option<u16> {
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => PORTS.iter().find(|(name, _)| *name == text).map(|&(_, number)| number),
    }
}

/// Every port name.
pub fn port_names() -> impl Iterator<Item = &'static str> {
    PORTS.iter().map(|&(name, _)| name)
}

/// An ICMP type, and a code where there is one: `8`, `3/4`, `echo-request`. Nothing for both
/// is `any`.
pub fn icmp(text: &str, v6: bool) -> Option<(Option<u8>, Option<u8>)> {
    if text == "any" || text == "255" && !v6 {
        return Some((None, None));
    }
    if let Some((kind, code)) = text.split_once('/') {
        return Some((Some(kind.parse().ok()?), Some(code.parse().ok()?)));
    }
    if let Ok(kind) = text.parse() {
        return Some((Some(kind), None));
    }
    let table = if v6 { ICMPV6 } else { ICMP };
    let found = table.iter().find(|(name, ..)| name.eq_ignore_ascii_case(text));
    found.map(|&(_, kind, code)| (Some(kind), code))
}

/// Every ICMP name of a family.
pub fn icmp_names(v6: bool) -> impl Iterator<Item = &'static str> {
    let table = if v6 { ICMPV6 } else { ICMP };
    table.iter().map(|&(name, ..)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_the_same() {
        assert_eq!(protocol("tcp"), protocol("6"));
        assert_eq!(protocol("IPv6-ICMP"), Some(58));
        assert_eq!(protocol("tpc"), None);
        assert_eq!(port("ssh"), Some(22));
        assert_eq!(port("70000"), None);
        assert_eq!(icmp("fragmentation-needed", false), icmp("3/4", false));
        assert_eq!(icmp("echo-request", true), Some((Some(128), None)));
        assert_eq!(icmp("echo-reqest", true), None);
    }
}
