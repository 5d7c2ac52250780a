//! Offsets, lengths and numbers of the protocols, written once.

/// Ethernet (IEEE 802.3) and VLAN tags (IEEE 802.1Q).
pub mod ethernet {
    /// Length of the header without a tag, bytes: where the network header of an untagged frame
    /// starts.
    pub const LEN: u32 = 14;
    /// Length of a VLAN tag, bytes.
    pub const TAG_LEN: u32 = 4;
    /// EtherType of IPv4.
    pub const IPV4: u16 = 0x0800;
    /// EtherType of ARP.
    pub const ARP: u16 = 0x0806;
    /// EtherType of IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// 802.1ad service tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
    /// Old service tag that many switches still understand.
    pub const OLD_SERVICE_VLAN: u16 = 0x9100;
    /// The smallest EtherType: below are lengths.
    pub const TYPE_MIN: u16 = 0x0600;
    /// The first of 16 group addresses that no bridge passes on.
    pub const BRIDGES: u64 = 0x0180_c200_0000;
    /// VLAN id in the tag control information.
    pub const VLAN_ID: u16 = 0x0fff;
}

/// ARP for IPv4 over Ethernet (RFC 826).
pub mod arp {
    /// Length, bytes.
    pub const LEN: usize = 28;
    /// Hardware type 1, protocol 0x0800, lengths 6 and 4.
    pub const PREAMBLE: [u8; 6] = [0, 1, 8, 0, 6, 4];
    /// Operation: request.
    pub const REQUEST: u16 = 1;
    /// Operation: reply.
    pub const REPLY: u16 = 2;
}

/// IP protocol numbers (also IPv6 next headers).
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IGMP.
    pub const IGMP: u8 = 2;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header (RFC 4302).
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6: nothing follows.
    pub const NO_NEXT: u8 = 59;
    /// IPv6 destination options.
    pub const DESTINATION: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// IPv4 (RFC 791).
pub mod ipv4 {
    /// Length of the header without options, bytes.
    pub const LEN: u32 = 20;
    /// Options walked before a packet is refused.
    pub const OPTIONS_MAX: u32 = 10;
    /// Option: end of list.
    pub const OPTION_END: u8 = 0;
    /// Option: no operation.
    pub const OPTION_NOP: u8 = 1;
    /// Option: loose source route.
    pub const OPTION_LOOSE_ROUTE: u8 = 131;
    /// Option: strict source route.
    pub const OPTION_STRICT_ROUTE: u8 = 137;
    /// Flags and offset: don't fragment.
    pub const DONT_FRAGMENT: u16 = 0x4000;
    /// Flags and offset: more fragments.
    pub const MORE_FRAGMENTS: u16 = 0x2000;
    /// Flags and offset: offset in units of 8 bytes.
    pub const OFFSET: u16 = 0x1fff;
}

/// IPv6 (RFC 8200).
pub mod ipv6 {
    /// Length of the fixed header, bytes.
    pub const LEN: u32 = 40;
    /// Extension headers walked before a packet is refused.
    pub const EXTENSIONS_MAX: u32 = 6;
}

/// TCP (RFC 9293).
pub mod tcp {
    /// Length of the header without options, bytes.
    pub const LEN: u32 = 20;
    /// Where the checksum stands.
    pub const CHECKSUM_AT: u32 = 16;
    /// Flag: no more data.
    pub const FIN: u8 = 0x01;
    /// Flag: synchronise.
    pub const SYN: u8 = 0x02;
    /// Flag: reset.
    pub const RST: u8 = 0x04;
    /// Flag: acknowledgement.
    pub const ACK: u8 = 0x10;
}

/// UDP (RFC 768).
pub mod udp {
    /// Length of the header, bytes.
    pub const LEN: u32 = 8;
    /// Where the checksum stands.
    pub const CHECKSUM_AT: u32 = 6;
    /// Port of DHCP servers.
    pub const DHCP_SERVER: u16 = 67;
    /// Port of DHCP clients.
    pub const DHCP_CLIENT: u16 = 68;
    /// Port of DHCPv6 clients.
    pub const DHCP6_CLIENT: u16 = 546;
    /// Port of DHCPv6 servers.
    pub const DHCP6_SERVER: u16 = 547;
}

/// SCTP (RFC 9260).
pub mod sctp {
    /// Length of the common header, bytes.
    pub const LEN: u32 = 12;
}

/// ICMP (RFC 792).
pub mod icmp {
    /// Length of the header, bytes; also of ICMPv6.
    pub const LEN: u32 = 8;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench (obsolete, RFC 6633).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO: u8 = 8;
    /// Router advertisement (RFC 1256).
    pub const ROUTER_ADVERTISEMENT: u8 = 9;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Code of `UNREACHABLE`: host.
    pub const CODE_HOST: u8 = 1;
    /// Code of `UNREACHABLE`: fragmentation needed (RFC 1191).
    pub const CODE_TOO_BIG: u8 = 4;
}

/// ICMPv6 (RFC 4443) and neighbour discovery (RFC 4861).
pub mod icmpv6 {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Multicast listener query.
    pub const LISTENER_QUERY: u8 = 130;
    /// Multicast listener done.
    pub const LISTENER_DONE: u8 = 132;
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation.
    pub const SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
    /// Multicast listener report, version 2 (RFC 3810).
    pub const LISTENER_REPORT: u8 = 143;
    /// Code of `UNREACHABLE`: address.
    pub const CODE_ADDRESS: u8 = 3;
    /// Length of a solicitation or advertisement without options, bytes.
    pub const NEIGHBOUR_LEN: u32 = 24;
    /// Length of a link-layer address option, bytes.
    pub const LINK_OPTION_LEN: u32 = 8;
    /// Option: source link-layer address.
    pub const OPTION_SOURCE: u8 = 1;
    /// Option: target link-layer address.
    pub const OPTION_TARGET: u8 = 2;
    /// Option: prefix information.
    pub const OPTION_PREFIX: u8 = 3;
    /// Option: MTU.
    pub const OPTION_MTU: u8 = 5;
    /// Option: recursive name servers (RFC 8106).
    pub const OPTION_DNS: u8 = 25;
    /// Option: domains to search (RFC 8106).
    pub const OPTION_DOMAINS: u8 = 31;
}

/// DHCP (RFC 2131, RFC 2132).
pub mod dhcp {
    /// Length of the fixed part in front of the options, magic number included, bytes.
    pub const LEN: u32 = 240;
    /// Where the client's hardware address stands.
    pub const CLIENT_MAC: u32 = 28;
    /// Where the magic number stands.
    pub const MAGIC_AT: u32 = 236;
    /// What options begin with.
    pub const MAGIC: [u8; 4] = [99, 130, 83, 99];
    /// Operation: request.
    pub const REQUEST: u8 = 1;
    /// Operation: reply.
    pub const REPLY: u8 = 2;
    /// Ethernet, six bytes long.
    pub const HARDWARE: [u8; 2] = [1, 6];
    /// Flag: answer by broadcast.
    pub const BROADCAST: u32 = 0x8000;
    /// Options walked before a question is refused.
    pub const OPTIONS_MAX: u32 = 40;
    /// Longest client identifier with its code and length, bytes.
    pub const CLIENT_MAX: u32 = 64;

    /// Option: padding.
    pub const PAD: u8 = 0;
    /// Option: subnet mask.
    pub const MASK: u8 = 1;
    /// Option: routers.
    pub const ROUTER: u8 = 3;
    /// Option: name servers.
    pub const DNS: u8 = 6;
    /// Option: domain.
    pub const DOMAIN: u8 = 15;
    /// Option: MTU.
    pub const MTU: u8 = 26;
    /// Option: broadcast address.
    pub const BROADCAST_ADDRESS: u8 = 28;
    /// Option: the address that the client wants.
    pub const REQUESTED: u8 = 50;
    /// Option: lease, seconds.
    pub const LEASE: u8 = 51;
    /// Option: message type.
    pub const TYPE: u8 = 53;
    /// Option: server identifier.
    pub const SERVER: u8 = 54;
    /// Option: T1, seconds.
    pub const RENEWAL: u8 = 58;
    /// Option: T2, seconds.
    pub const REBINDING: u8 = 59;
    /// Option: client identifier.
    pub const CLIENT: u8 = 61;
    /// Option: end of the list.
    pub const END: u8 = 255;

    /// Message: is a server there?
    pub const DISCOVER: u32 = 1;
    /// Message: this is what you would get.
    pub const OFFER: u32 = 2;
    /// Message: I take it, or still have it.
    pub const ASK: u32 = 3;
    /// Message: it is somebody else's.
    pub const DECLINE: u32 = 4;
    /// Message: it is yours.
    pub const ACK: u32 = 5;
    /// Message: it is not.
    pub const NAK: u32 = 6;
    /// Message: I do not need it any more.
    pub const RELEASE: u32 = 7;
    /// Message: I have an address, what else is there?
    pub const INFORM: u32 = 8;
}

/// DHCPv6 (RFC 8415).
pub mod dhcp6 {
    /// Length of message type and transaction, bytes.
    pub const LEN: u32 = 4;
    /// Length of an option's code and length, bytes.
    pub const OPTION_LEN: u32 = 4;
    /// Options walked before a question is refused.
    pub const OPTIONS_MAX: u32 = 24;
    /// Longest client identifier with its code and length, bytes.
    pub const CLIENT_MAX: u32 = 64;
    /// Length of a server identifier of ours with its code and length, bytes: DUID-LL (section
    /// 11.4) over Ethernet.
    pub const SERVER_LEN: u32 = 14;
    /// Length of an IA_NA with one address and no other option, bytes.
    pub const ASSOCIATION_LEN: u32 = 44;
    /// In front of the server's MAC: DUID-LL, Ethernet.
    pub const DUID_LL: [u8; 4] = [0, 3, 0, 1];

    /// Option: client identifier.
    pub const CLIENT: u16 = 1;
    /// Option: server identifier.
    pub const SERVER: u16 = 2;
    /// Option: identity association (IA_NA).
    pub const ASSOCIATION: u16 = 3;
    /// Option: an address in one.
    pub const ADDRESS: u16 = 5;
    /// Option: status code.
    pub const STATUS: u16 = 13;
    /// Option: two messages are enough.
    pub const RAPID_COMMIT: u16 = 14;
    /// Option: name servers (RFC 3646).
    pub const DNS: u16 = 23;
    /// Option: domains to search (RFC 3646).
    pub const DOMAINS: u16 = 24;

    /// Message: is a server there?
    pub const SOLICIT: u32 = 1;
    /// Message: this is what you would get.
    pub const ADVERTISE: u32 = 2;
    /// Message: I take it.
    pub const REQUEST: u32 = 3;
    /// Message: is it still of this link?
    pub const CONFIRM: u32 = 4;
    /// Message: I want to keep it.
    pub const RENEW: u32 = 5;
    /// Message: I want to keep it, whoever answers.
    pub const REBIND: u32 = 6;
    /// Message: the answer.
    pub const REPLY: u32 = 7;
    /// Message: I do not need it any more.
    pub const RELEASE: u32 = 8;
    /// Message: it is somebody else's.
    pub const DECLINE: u32 = 9;
    /// Message: I have an address, what else is there?
    pub const INFORMATION: u32 = 11;

    /// Status: the address is not of this link.
    pub const NOT_ON_LINK: u16 = 4;
}
