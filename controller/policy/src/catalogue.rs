//! The services that every policy knows, with all the ports that they need to work.

use crate::{
    model::{Ports, Protocol},
    service,
};

/// Name and literals of each, sorted by name.
pub const CATALOGUE: &[(&str, &str)] = &[
    ("adb", "tcp/5555"),
    ("afp", "tcp/548"),
    ("ah", "proto/51"),
    ("amqp", "tcp/5672"),
    ("amqps", "tcp/5671"),
    ("bacula", "tcp/9101-9103"),
    ("bgp", "tcp/179"),
    ("cassandra", "tcp/9042"),
    ("ceph", "tcp/3300 tcp/6789 tcp/6800-7300"),
    ("chrome-cast", "tcp/8008-8009"),
    ("clickhouse", "tcp/8123 tcp/9000"),
    ("coap", "udp/5683"),
    ("coaps", "udp/5684"),
    ("consul", "tcp/8300-8302 udp/8301-8302 tcp/8500 tcp/8600 udp/8600"),
    ("cups", "tcp/631"),
    ("dhcp", "udp/67-68"),
    ("dhcpv6", "udp/546-547"),
    ("dns", "tcp/53 udp/53"),
    ("dns-over-quic", "udp/853"),
    ("dns-over-tls", "tcp/853"),
    ("docker", "tcp/2375"),
    ("docker-registry", "tcp/5000"),
    ("docker-tls", "tcp/2376"),
    ("elasticsearch", "tcp/9200 tcp/9300"),
    ("esp", "proto/50"),
    ("etcd", "tcp/2379-2380"),
    ("finger", "tcp/79"),
    ("ftp", "tcp/20-21"),
    ("ftps", "tcp/989-990"),
    ("geneve", "udp/6081"),
    ("git", "tcp/9418"),
    ("gitlab-pages", "tcp/8090"),
    ("gluster", "tcp/24007-24008 tcp/49152-49251"),
    ("grafana", "tcp/3000"),
    ("gre", "proto/47"),
    ("haproxy-stats", "tcp/1936"),
    ("http", "tcp/80"),
    ("http-alt", "tcp/8080"),
    ("http3", "udp/443"),
    ("https", "tcp/443"),
    ("https-alt", "tcp/8443"),
    ("icmp", "icmp"),
    ("icmpv6", "icmpv6"),
    ("ident", "tcp/113"),
    ("igmp", "proto/2"),
    ("imap", "tcp/143"),
    ("imaps", "tcp/993"),
    ("influxdb", "tcp/8086"),
    ("ipmi", "udp/623"),
    ("ipp", "tcp/631"),
    ("ipsec", "udp/500 udp/4500 proto/50 proto/51"),
    ("irc", "tcp/6667"),
    ("ircs", "tcp/6697"),
    ("iscsi", "tcp/3260"),
    ("kafka", "tcp/9092"),
    ("kerberos", "tcp/88 udp/88 tcp/464 udp/464"),
    ("kube-api", "tcp/6443"),
    ("kubelet", "tcp/10250"),
    ("l2tp", "udp/1701"),
    ("ldap", "tcp/389 udp/389"),
    ("ldaps", "tcp/636"),
    ("libvirt", "tcp/16509"),
    ("libvirt-migration", "tcp/49152-49215"),
    ("libvirt-tls", "tcp/16514"),
    ("llmnr", "tcp/5355 udp/5355"),
    ("lpd", "tcp/515"),
    ("mdns", "udp/5353"),
    ("memcached", "tcp/11211"),
    ("minio", "tcp/9000-9001"),
    ("mongodb", "tcp/27017-27019"),
    ("mosh", "udp/60000-61000"),
    ("mqtt", "tcp/1883"),
    ("mqtts", "tcp/8883"),
    ("mssql", "tcp/1433 udp/1434"),
    ("munin", "tcp/4949"),
    ("mysql", "tcp/3306"),
    ("nats", "tcp/4222"),
    ("nbd", "tcp/10809"),
    ("netbios", "udp/137-138 tcp/139"),
    // NFSv3 needs the port mapper, mountd, statd and lockd; with Debian's and Red Hat's fixed
    // ports (nfs.conf) that is all. NFSv4 needs 2049 alone.
    (
        "nfs",
        "tcp/2049 udp/2049 tcp/111 udp/111 tcp/20048 udp/20048 tcp/32765-32768 udp/32765-32769",
    ),
    ("nfs4", "tcp/2049"),
    ("nntp", "tcp/119"),
    ("node-exporter", "tcp/9100"),
    ("nrpe", "tcp/5666"),
    ("ntp", "udp/123"),
    ("nut", "tcp/3493"),
    ("openvpn", "udp/1194 tcp/1194"),
    ("oracle", "tcp/1521"),
    ("ospf", "proto/89"),
    ("pcoip", "tcp/4172 udp/4172"),
    ("ping", "icmp/8 icmpv6/128"),
    ("plex", "tcp/32400"),
    ("pop3", "tcp/110"),
    ("pop3s", "tcp/995"),
    ("postgresql", "tcp/5432"),
    ("pptp", "tcp/1723 proto/47"),
    ("prometheus", "tcp/9090"),
    ("proxmox", "tcp/8006"),
    ("puppet", "tcp/8140"),
    ("quic", "udp/443"),
    ("rabbitmq", "tcp/5671-5672 tcp/15672 tcp/25672 tcp/4369"),
    ("radius", "udp/1812-1813"),
    ("rdp", "tcp/3389 udp/3389"),
    ("redfish", "tcp/443"),
    ("redis", "tcp/6379"),
    ("rpcbind", "tcp/111 udp/111"),
    ("rsync", "tcp/873"),
    ("rtmp", "tcp/1935"),
    ("rtsp", "tcp/554 udp/554"),
    ("saltstack", "tcp/4505-4506"),
    ("sane", "tcp/6566"),
    ("sctp", "sctp"),
    ("sftp", "tcp/22"),
    ("sip", "tcp/5060 udp/5060"),
    ("sips", "tcp/5061"),
    ("smb", "tcp/445 tcp/139 udp/137-138"),
    ("smb-direct", "tcp/445"),
    ("smtp", "tcp/25"),
    ("smtps", "tcp/465"),
    ("snmp", "udp/161"),
    ("snmp-trap", "udp/162"),
    ("socks", "tcp/1080"),
    ("spice", "tcp/5900-5999"),
    ("squid", "tcp/3128"),
    ("ssdp", "udp/1900"),
    ("ssh", "tcp/22"),
    ("steam", "udp/27015-27030 tcp/27015-27030"),
    ("stun", "tcp/3478 udp/3478"),
    ("submission", "tcp/587"),
    ("svn", "tcp/3690"),
    ("syncthing", "tcp/22000 udp/22000 udp/21027"),
    ("syslog", "udp/514 tcp/514"),
    ("syslog-tls", "tcp/6514"),
    ("tacacs", "tcp/49"),
    ("tcp", "tcp"),
    ("telnet", "tcp/23"),
    ("tftp", "udp/69"),
    ("tor", "tcp/9001 tcp/9030"),
    ("traceroute", "udp/33434-33534"),
    ("udp", "udp"),
    ("vault", "tcp/8200-8201"),
    ("vnc", "tcp/5900-5999"),
    ("vrrp", "proto/112"),
    ("vxlan", "udp/4789"),
    ("whois", "tcp/43"),
    ("winrm", "tcp/5985"),
    ("winrms", "tcp/5986"),
    ("wireguard", "udp/51820"),
    ("wsd", "udp/3702 tcp/5357-5358"),
    ("x11", "tcp/6000-6063"),
    ("xmpp", "tcp/5222 tcp/5269"),
    ("zabbix", "tcp/10050-10051"),
    ("zookeeper", "tcp/2181"),
];

/// The numbers of a built-in service.
pub fn find(name: &str) -> Option<Vec<Ports>> {
    let at = CATALOGUE.binary_search_by_key(&name, |&(known, _)| known).ok()?;
    Some(CATALOGUE[at].1.split(' ').flat_map(numbers).collect())
}

/// Every built-in name.
pub fn names() -> impl Iterator<Item = &'static str> {
    CATALOGUE.iter().map(|&(name, _)| name)
}

/// A literal, or the bare name of a protocol for all its numbers. The test below reads every
/// entry, so none is lost here.
fn numbers(text: &str) -> Vec<Ports> {
    match Protocol::ALL.into_iter().find(|p| p.name() == text) {
        Some(protocol) => vec![Ports::all(protocol)],
        None => service::literal(text).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_sorted_and_every_entry_reads() {
        assert!(CATALOGUE.is_sorted_by(|a, b| a.0 < b.0));
        assert!(CATALOGUE.len() >= 90);
        for (name, text) in CATALOGUE {
            for literal in text.split(' ') {
                assert!(!numbers(literal).is_empty(), "{name}: {literal}");
            }
        }
    }

    #[test]
    fn shares_come_with_all_their_ports() {
        let has = |name, text: &str| {
            let all: Vec<_> = find(name).unwrap().iter().map(Ports::to_string).collect();
            assert!(all.contains(&text.to_owned()), "{name} lacks {text}: {all:?}");
        };
        for text in ["tcp/445", "tcp/139", "udp/137-138"] {
            has("smb", text);
        }
        for text in ["tcp/2049", "udp/2049", "tcp/111", "udp/111", "tcp/20048"] {
            has("nfs", text);
        }
    }
}
