//! Why a packet was dropped: one list, one number and one sentence each.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $word:literal;)*) => {
        /// Why a packet was dropped. The number is the index of its counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum DropReason { $($(#[doc = $doc])+ $name = $number,)* }

        impl DropReason {
            /// Every reason, in the order of the numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// How many there are; their numbers are below.
            pub const ALL_COUNT: usize = Self::ALL.len();

            /// The word that `status` and JSON show.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// One sentence for people.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)* }
            }
        }
    };
}

reasons! {
    /// The port carries no complete generation.
    PortClosed = 0, "port-closed";
    /// The frame ends before the header that it announces.
    Truncated = 1, "truncated";
    /// A guest or host port sent a VLAN tag.
    TaggedFrame = 2, "tagged-frame";
    /// Two VLAN tags, or an 802.1ad tag.
    DoubleTag = 3, "double-tag";
    /// The uplink or trunk carries no network with this tag, or none without a tag.
    UnknownVlan = 4, "unknown-vlan";
    /// The source MAC is not the port's, or is a group address.
    SpoofedMac = 5, "spoofed-mac";
    /// The source address is not the port's, or cannot come from there.
    SpoofedAddress = 6, "spoofed-address";
    /// ARP or neighbour discovery that claims somebody else's address.
    SpoofedNeighbour = 7, "spoofed-neighbour";
    /// An EtherType other than ARP, IPv4 and IPv6 that the network does not declare.
    EtherType = 8, "ether-type";
    /// A malformed ARP packet.
    BadArp = 9, "bad-arp";
    /// A malformed IPv4 or IPv6 header.
    BadIp = 10, "bad-ip";
    /// A source route, or a malformed or overlong IPv4 option list.
    IpOption = 11, "ip-option";
    /// A forbidden, misplaced or overlong IPv6 extension header chain.
    ExtensionHeader = 12, "extension-header";
    /// A malformed fragment: empty, or not the last one and no multiple of 8 octets long.
    Fragment = 13, "fragment";
    /// A malformed TCP, UDP, SCTP or ICMP header.
    BadTransport = 14, "bad-transport";
    /// An address that cannot stand on a wire.
    Martian = 15, "martian";
    /// No rule allows it: the default.
    NoRule = 16, "no-rule";
    /// A rule denies it.
    Denied = 17, "denied";
    /// Not the first packet of a connection, and the connection is unknown.
    NoConnection = 18, "no-connection";
    /// A packet that does not fit the connection's state.
    BadState = 19, "bad-state";
    /// An ICMP error about no known connection.
    UnrelatedError = 20, "unrelated-error";
    /// The connection table is full.
    FlowTableFull = 21, "flow-table-full";
    /// Nobody with the destination address is attached here.
    NoDestination = 22, "no-destination";
    /// The destination MAC does not belong to the destination address.
    WrongMac = 23, "wrong-mac";
    /// No route between the two networks: one of them has no gateway.
    NoRoute = 24, "no-route";
    /// The time to live or hop limit is used up.
    TimeToLive = 25, "time-to-live";
    /// Too large for the way out.
    TooBig = 26, "too-big";
    /// A base protocol that is not for this port: router advertisements, DHCP answers, ...
    NotForGuests = 27, "not-for-guests";
    /// The destination is the port that the frame came from.
    Hairpin = 28, "hairpin";
    /// A query that the switch does not answer: nobody has the address.
    Unanswered = 29, "unanswered";
    /// A broadcast or multicast that no member may receive.
    NoListener = 30, "no-listener";
    /// A table of the generation is missing or broken; closed is the safe side.
    Fault = 31, "fault";
    /// ICMP errors above the rate limit.
    RateLimit = 32, "rate-limit";
    /// A base protocol that ends at the switch: membership reports, announcements, duplicate
    /// address detection.
    Absorbed = 33, "absorbed";
    /// The rule that allowed it has ended.
    Expired = 34, "expired";
    /// The sender's port has as many connections as it may.
    LimitFlows = 35, "limit-flows";
    /// The sender's port has as many half-open connections as it may.
    LimitHalfOpen = 36, "limit-half-open";
    /// The sender's port opens connections faster than it may.
    LimitNew = 37, "limit-new";
    /// The sender's port sends more broadcasts and multicasts than it may.
    LimitBroadcast = 38, "limit-broadcast";
    /// The sender's port sends more ARP or neighbour discovery than it may.
    LimitNeighbour = 39, "limit-neighbour";
    /// Above the bandwidth of the sender's or the receiver's port.
    LimitBandwidth = 40, "limit-bandwidth";
    /// A malformed or overlong DHCP or DHCPv6 question.
    BadDhcp = 41, "bad-dhcp";
    /// A TCP segment whose sequence or acknowledgement number does not fit what was sent.
    BadSequence = 42, "bad-sequence";
    /// A fragment too small to be an honest one: a first one without room for the headers, or one
    /// in the middle of 40 octets.
    FragmentTiny = 43, "fragment-tiny";
    /// A fragment with octets of a datagram that another one has brought, or that reaches back into
    /// the headers.
    FragmentOverlap = 44, "fragment-overlap";
    /// A fragment behind the end of its datagram, or behind what any datagram can have.
    FragmentEndless = 45, "fragment-endless";
    /// A later fragment between two ends of which no first one has passed lately.
    FragmentOrphan = 46, "fragment-orphan";
    /// The source is a shared address that another port holds, or nobody yet.
    NotHolder = 47, "not-holder";
    /// Nobody has announced the shared address.
    NoHolder = 48, "no-holder";
    /// The source or the destination is outside, in a denied set.
    DeniedSet = 49, "denied-set";
}

/// Counters that have to exist: one for each reason, and room to grow within a layout version.
pub const REASONS: u32 = 64;
const _: () = {
    assert!(DropReason::ALL_COUNT < REASONS as usize);
    let mut i = 0;
    while i < DropReason::ALL_COUNT {
        assert!(DropReason::ALL[i] as usize == i, "reasons are numbered without a gap");
        i += 1;
    }
};

impl core::fmt::Display for DropReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.word())
    }
}
