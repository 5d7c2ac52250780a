//! The tables that cross the line between the controller's image, the maps of the kernel and the
//! tables of the user-space engine. Defined once, here.
//!
//! Everything that belongs to one generation is reached through its *slot*, `generation & 1`: a
//! new generation is written whole into the slot that no packet reads, then the generation word
//! is flipped, and one grace period later nothing reads the old slot any more.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, word::Word};

/// Declares a plain table entry: C layout, every byte named (padding and `bool` do not compile,
/// by zerocopy's derive), its size asserted.
macro_rules! entry {
    ($(#[$doc:meta])* $name:ident: $size:literal { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
        )]
        #[repr(C)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }
        const _: () = assert!(core::mem::size_of::<$name>() == $size);
    };
}

/// Slots of per-generation tables.
pub const SLOTS: u32 = 2;
/// Ports that one switch can hold, and entries of the port table per slot. A port's entry stands
/// at `ifindex & (PORTS - 1)`; two live ports must not collide (the switch refuses the second).
pub const PORTS: u32 = 16_384;
/// Networks of one switch, and entries of the network table per slot. Network ids start at 1.
pub const NETWORKS: u32 = 1024;
/// EtherTypes that a network may carry besides ARP and IP.
pub const ETHERTYPES: usize = 8;
/// Ports of one network that take part in broadcast and multicast.
pub const MEMBERS: usize = 1023;
/// Numbers in one chunk of the row and verdict tables.
pub const CHUNK: usize = 4096;
/// Chunks of the row table per slot: up to 2048 x 2048 class pairs.
pub const ROW_CHUNKS: u32 = 1024;
/// Chunks of the verdict table per slot: up to 4 Mi cells.
pub const CELL_CHUNKS: u32 = 1024;
/// Service tables per slot, see [`ServiceTable`].
pub const SERVICE_TABLES: u32 = 6;
/// The first of the service tables, for which there are source tables too: TCP, UDP, SCTP.
pub const SOURCE_TABLES: u32 = 3;
/// Words of one chunk of the table of denied sets, see [`crate::denied`].
pub const DENIED_WORDS: usize = 512;
/// Chunks of one bank of that table.
pub const DENIED_CHUNKS: u32 = 32_768;
/// Banks of that table; their numbers start at 1.
pub const DENIED_BANKS: u32 = 2;
/// Rules of one policy: ids 1..RULES; 0 is "no rule", the default.
pub const RULES: u32 = 131_072;
/// Bytes of the ring that carries [`EventEntry`] to user space: a power of two.
pub const EVENT_RING: u32 = 1 << 20;

/// What a port is. Zero, so also an entry never written, is closed.
pub mod port_kind {
    /// Passes nothing.
    pub const CLOSED: u16 = 0;
    /// A guest's NIC: one network, declared MAC and addresses only, untagged unless it is a
    /// [`crate::subport`].
    pub const GUEST: u16 = 1;
    /// The hypervisor's own leg of a network.
    pub const HOST: u16 = 2;
    /// A physical-like NIC: tagged networks, at most one untagged network.
    pub const UPLINK: u16 = 3;
}

/// Bits of [`PortEntry::flags`].
pub mod port_flag {
    /// The guest has more addresses than [`super::PortEntry::addrs`] holds: ask the address table.
    pub const MORE_ADDRESSES: u16 = 1;
    /// What leaves here has a bandwidth limit, see [`super::PortLimits::receive`].
    pub const LIMIT_IN: u16 = 2;
    /// What comes in here has a bandwidth limit, see [`super::PortLimits::send`].
    pub const LIMIT_OUT: u16 = 4;
    /// The guest may hold addresses that it shares with others, see [`crate::shared`].
    pub const SHARES: u16 = 8;
    /// An uplink with tagged networks, whose driver may take tags out of frames before an XDP hook
    /// sees them: one without a tag is no frame of the untagged network for certain.
    pub const HIDES_TAGS: u16 = 16;
    /// The interface carries tagged networks too, see [`crate::subport`].
    pub const TRUNK: u16 = 32;
}

entry! {
    /// How often something may be, in the units of [`crate::limit`].
    Rate: 16 {
        /// What one event, or one byte, takes; 0: there is no limit.
        cost: u64,
        /// How much may be ahead of the rate.
        burst: u64,
    }
}

entry! {
    /// What a port may take. Zeroes are no limits.
    PortLimits: 96 {
        /// Connections that it has opened, at a time; 0: no limit.
        flows: u32,
        /// Of them, TCP connections that are not established; 0: no limit.
        half_open: u32,
        /// Packets that want to open a connection.
        new: Rate,
        /// Broadcasts and multicasts from it.
        broadcast: Rate,
        /// ARP and neighbour discovery from it.
        neighbours: Rate,
        /// Bytes that leave by the port: what its guest receives.
        receive: Rate,
        /// Bytes that come in by it: what its guest sends.
        send: Rate,
        /// Zero.
        reserved: u64,
    }
}

entry! {
    /// A port, by slot and `ifindex & (PORTS - 1)`; subports stand at free places.
    PortEntry: 192 {
        /// Up to four addresses that the port may use as source; `::` is none. Guest ports only.
        addrs: [Addr; 4],
        /// MAC that the port may use as source (low 48 bits). Guest and host ports.
        mac: u64,
        /// Interface index of the port, or the number of a subport; an entry for another one is no
        /// entry.
        ifindex: u32,
        /// Largest L3 packet that may leave here, bytes.
        mtu: u32,
        /// One of [`port_kind`].
        kind: u16,
        /// Bits of [`port_flag`].
        flags: u16,
        /// Its network; for an uplink or a trunk the network of untagged frames, or 0.
        network: u32,
        /// Its interface: the port's own, or that of the trunk which a subport is a part of.
        device: u32,
        /// Identity class of its first address: judges the broadcasts that it may receive.
        class: u32,
        /// What it may take. Last: the established path has no need of it.
        limits: PortLimits,
    }
}

entry! {
    /// Key of a subport's number: the tag by which frames of a trunk name it.
    SubportKey: 16 {
        /// Interface index of the trunk.
        device: u32,
        /// VLAN id, 1..4094.
        vlan: u32,
        /// Generation slot.
        slot: u32,
        /// Zero.
        reserved: u32,
    }
}

/// What a port has taken, by `ifindex & (PORTS - 1)`: shared by all processors, and the same
/// whatever the generation. Programs add to the first two words atomically, and replace the others
/// as [`crate::limit`] says.
#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct PortState {
    /// Connections opened from here, less those that another port has taken over.
    pub flows: Word,
    /// TCP connections opened from here that were not established yet, less those that were.
    pub half_open: Word,
    /// See [`PortLimits::new`].
    pub new: Word,
    /// See [`PortLimits::broadcast`].
    pub broadcast: Word,
    /// See [`PortLimits::neighbours`].
    pub neighbours: Word,
    /// See [`PortLimits::receive`].
    pub receive: Word,
    /// See [`PortLimits::send`].
    pub send: Word,
    /// Zero.
    pub reserved: Word,
}

const _: () = assert!(core::mem::size_of::<PortState>() == 64);

/// What the sweeper has given back of [`PortState`], by the same place: a port has as many
/// connections as one word less the other. Only user space writes it.
#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct PortReturns {
    /// Connections that were removed.
    pub flows: Word,
    /// Of them, those that were never established.
    pub half_open: Word,
}

const _: () = assert!(core::mem::size_of::<PortReturns>() == 16);

/// Bits of [`NetworkEntry::flags`].
pub mod network_flag {
    /// The switch routes for this network.
    pub const GATEWAY: u32 = 1;
    /// Frames leave the uplink with the network's VLAN tag.
    pub const UPLINK_TAGGED: u32 = 2;
    /// What is not declared in this network's subnets belongs to the outside (`world`).
    pub const EXTERNAL: u32 = 4;
}

entry! {
    /// A network, by slot and network id.
    NetworkEntry: 80 {
        /// IPv4 gateway address, `::` where there is none.
        gateway_v4: Addr,
        /// IPv6 gateway address (global), `::` where there is none.
        gateway_v6: Addr,
        /// MAC of the gateway (low 48 bits).
        gateway_mac: u64,
        /// Interface index of the switch's side of the host leg, 0 where there is none.
        host_port: u32,
        /// Interface index of the uplink that carries this network, 0 where none does.
        uplink_port: u32,
        /// VLAN id, 1..4094.
        vlan: u32,
        /// Bits of [`network_flag`].
        flags: u32,
        /// Largest L3 packet of this network, bytes.
        mtu: u32,
        /// Zero.
        reserved: u32,
        /// EtherTypes that its guests may use among themselves besides ARP and IP; 0 is none.
        ethertypes: [u16; ETHERTYPES],
    }
}

entry! {
    /// Who takes part in a network's broadcasts, by slot and network id.
    Members: 4096 {
        /// How many of `port` are in use.
        count: u32,
        /// Interface indexes of the guest and host ports; the subports come last.
        port: [u32; MEMBERS],
    }
}

impl Members {
    /// No member.
    pub const EMPTY: Self = Self { count: 0, port: [0; MEMBERS] };
}

entry! {
    /// Key of a declared address.
    AddressKey: 24 {
        /// The address.
        addr: Addr,
        /// 0, or the network id where the address means something in one network only
        /// (`fe80::/10`); or [`sharer_scope`] of a port that may hold the address.
        scope: u32,
        /// Generation slot.
        slot: u32,
    }
}

/// The scope of the entries that say which shared addresses a port may hold: beyond all network ids
/// and interface indexes. Such an entry has the port's own MAC.
#[inline(always)]
pub const fn sharer_scope(port: u32) -> u32 {
    1 << 31 | port
}

/// Bits of [`AddressEntry::flags`].
pub mod address_flag {
    /// Several guests may have it, and one of them holds it at a time: [`super::Holder`] says who.
    /// The entry's MAC is the address's own, which outlives its holders; its port is 0.
    pub const SHARED: u16 = 1;
    /// Some of them have no port here: one of these may hold it.
    pub const AWAY: u16 = 2;
}

entry! {
    /// A declared address: whose it is, and where its frames go. This is the static forwarding
    /// table, by address instead of by MAC: the frame's MAC must agree with it.
    AddressEntry: 24 {
        /// MAC that frames for it carry inside its network (low 48 bits).
        mac: u64,
        /// Identity class.
        class: u32,
        /// Interface index of its port; 0 while it has none here.
        port: u32,
        /// Its network.
        network: u32,
        /// One of [`port_kind`], `CLOSED` while it has no port here.
        kind: u16,
        /// Bits of [`address_flag`].
        flags: u16,
    }
}

entry! {
    /// Key of shared addresses, whatever the generation: those with one MAC have one holder.
    HolderKey: 16 {
        /// The MAC of the addresses (low 48 bits).
        mac: u64,
        /// Their network.
        network: u32,
        /// Zero.
        reserved: u32,
    }
}

/// Who holds shared addresses. User space makes and removes the entries; only programs write the
/// word, whole, so a fail-over needs nobody else.
#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Holder {
    /// Interface index of its port, with [`crate::shared::BY_ITS_MAC`]; 0: nobody here.
    pub held: Word,
}

const _: () = assert!(core::mem::size_of::<Holder>() == 8);

entry! {
    /// Data of the longest-prefix table's key: the slot takes the first 32 bits of every prefix.
    PrefixKey: 20 {
        /// Generation slot, big-endian.
        slot_be: [u8; 4],
        /// Address in wire order, IPv4 mapped (so an IPv4 /24 is a /120).
        addr: [u8; 16],
    }
}

entry! {
    /// What an address that is not declared belongs to.
    PrefixEntry: 8 {
        /// Identity class.
        class: u32,
        /// The network whose subnet contains it, 0 outside all of them.
        network: u32,
    }
}

entry! {
    /// Key of a neighbour learned on an uplink.
    NeighbourKey: 24 {
        /// Its address.
        addr: Addr,
        /// Its network.
        network: u32,
        /// Zero.
        reserved: u32,
    }
}

entry! {
    /// A neighbour learned on an uplink (never on a guest port).
    NeighbourEntry: 16 {
        /// Its MAC (low 48 bits).
        mac: u64,
        /// When it was last heard, in ticks of [`crate::Tables::now`].
        seen: u64,
    }
}

/// What a [`NoticeEntry`] is for.
pub mod notice {
    /// Router advertisement of a network (RFC 4861); its port is 0.
    pub const ADVERTISEMENT: u32 = 0;
    /// DHCP (RFC 2131) for one port.
    pub const DHCP: u32 = 1;
    /// DHCPv6 (RFC 8415) for one port.
    pub const DHCP6: u32 = 2;
}

/// Bytes of one piece of a notice's text.
pub const NOTICE_PIECE: usize = 32;
/// Pieces of a notice's text.
pub const NOTICE_PIECES: usize = 10;

entry! {
    /// Key of what the switch tells a port about itself and its network.
    NoticeKey: 16 {
        /// One of [`notice`].
        kind: u32,
        /// Its network.
        network: u32,
        /// Interface index of the port, 0 for all ports of the network.
        port: u32,
        /// Generation slot.
        slot: u32,
    }
}

entry! {
    /// What the switch tells: the parts of an answer that do not depend on the question, written
    /// by user space as they stand on the wire.
    NoticeEntry: 376 {
        /// The address that the port is told is its own.
        addr: Addr,
        /// Source of the answer; of DHCP also the server identifier.
        server: Addr,
        /// Source MAC of the answer (low 48 bits).
        mac: u64,
        /// How long the address may be used before it is asked for again, seconds.
        lease_s: u32,
        /// Bytes of `text` in use; the others are zero.
        len: u32,
        /// One's complement sum of the 16-bit words of `text`, not folded (RFC 1071).
        sum: u32,
        /// Zero.
        reserved: u32,
        /// Options; of an advertisement the whole ICMPv6 message.
        text: [[u8; NOTICE_PIECE]; NOTICE_PIECES],
    }
}

/// Which [`ServiceTable`] a protocol uses.
pub mod service_table {
    /// By TCP destination port.
    pub const TCP: u32 = 0;
    /// By UDP destination port.
    pub const UDP: u32 = 1;
    /// By SCTP destination port.
    pub const SCTP: u32 = 2;
    /// By ICMP type << 8 | code.
    pub const ICMP: u32 = 3;
    /// By ICMPv6 type << 8 | code.
    pub const ICMPV6: u32 = 4;
    /// By protocol number, for everything else.
    pub const PROTOCOL: u32 = 5;
}

/// Service class by port (or type and code, or protocol), by slot and [`service_table`].
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ServiceTable {
    /// Service class of each number.
    pub class: [u16; 65_536],
}

/// A chunk of a big table of numbers: one update writes it whole.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Chunk {
    /// The numbers.
    pub cell: [u32; CHUNK],
}

/// Bits of [`GenerationEntry::flags`].
pub mod generation_flag {
    /// Some [`super::RuleEntry`] of the slot has events to log.
    pub const LOGS: u32 = 1;
}

entry! {
    /// What the dense tables of a generation look like, by slot.
    GenerationEntry: 32 {
        /// The generation that the slot holds.
        generation: u32,
        /// Identity classes: the stride of the row table, `row[src * classes + dst]`.
        classes: u32,
        /// Service classes: the stride of the verdict table, `cell[row * services + service]`.
        services: u32,
        /// Class of an address that no declared address and no prefix covers.
        world: u32,
        /// Source port classes; 0 and 1: source ports make no difference, and are not looked up.
        /// The service class of a connection is `class * sources + source class`.
        sources: u32,
        /// Where the shadow of cell 0 stands in the verdict table, that of cell `i` is `i` behind
        /// it: what the cell would be with the observing rules in force. 0: nobody observes.
        /// [`GenerationEntry::shadows_behind`] is the place.
        shadows: u32,
        /// Bits of [`generation_flag`].
        flags: u32,
        /// The bank that holds the denied sets, see [`crate::denied`]; 0: there are none.
        denied: u32,
    }
}

/// A chunk of the table of denied sets, by [`crate::denied::key`].
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeniedChunk {
    /// What they say depends on the part.
    pub words: [u64; DENIED_WORDS],
}

impl GenerationEntry {
    /// Where the shadows of so many cells stand: in the chunks behind them.
    #[inline(always)]
    pub const fn shadows_behind(cells: u32) -> u32 {
        cells.next_multiple_of(CHUNK as u32)
    }
}

entry! {
    /// What holds about a rule besides what the cells say, by slot and rule id. Id 0 is the
    /// default.
    RuleEntry: 16 {
        /// When the rule ends, in ticks of [`crate::Tables::now`]; 0: never. Only looked at when
        /// [`Settings::ends`] has passed.
        end: u64,
        /// Most events that one processor logs of it in a second; 0: it is not logged. Only
        /// looked at with [`generation_flag::LOGS`].
        log_per_s: u32,
        /// Zero.
        reserved: u32,
    }
}

entry! {
    /// What the programs need besides the tables: one entry.
    Settings: 40 {
        /// Ticks ([`crate::tables::TICKS_PER_SECOND`]) per jiffy of this kernel, times 65,536.
        tick_scale: u64,
        /// Added to the scaled jiffies; with a scale of 0 the clock stands still here.
        tick_offset: u64,
        /// ICMP errors that the switch may send in a second, per processor.
        errors_per_second: u64,
        /// By slot: when the first rule of the generation ends, in ticks; 0: none ends. Written
        /// before the slot is put in force. It stands here, and not with the shape, because every
        /// packet reads this entry.
        ends: [u64; SLOTS as usize],
    }
}

/// What has passed a port, by processor and place in the port table: `ifindex & (PORTS - 1)`.
/// Packets are frames as the kernel hands them over: one still to be segmented counts once, as it
/// does in the interface's own counters. Bytes begin with the Ethernet header.
///
/// `in_packets` is the sum of `forwarded`, `flooded`, `answered` and `dropped`. The last element
/// of the table, [`PORTS`], holds what ports had that are gone; only user space writes it.
#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Traffic {
    /// Frames that came in here.
    pub in_packets: Word,
    /// Their bytes.
    pub in_bytes: Word,
    /// Frames that left here: forwarded, copies of broadcasts, answers of the switch.
    pub out_packets: Word,
    /// Their bytes.
    pub out_bytes: Word,
    /// Of those that came in: forwarded to another port.
    pub forwarded: Word,
    /// Of those that came in: copied to one member of the network or more.
    pub flooded: Word,
    /// Of those that came in: turned into the switch's answer.
    pub answered: Word,
    /// Of those that came in: dropped; [`DropKey`] says why.
    pub dropped: Word,
    /// Of those forwarded: to a guest of another network here.
    pub in_routed: Amount,
    /// Of those that left: from a guest of another network here.
    pub out_routed: Amount,
    /// Of those forwarded: to the host, to what is behind it, or by an uplink.
    pub in_outside: Amount,
    /// Of those that left: from there.
    pub out_outside: Amount,
}

const _: () = assert!(core::mem::size_of::<Traffic>() == 128);

/// Frames and their bytes.
#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Amount {
    /// Frames.
    pub packets: Word,
    /// Bytes.
    pub bytes: Word,
}

/// Elements of the table of [`Traffic`].
pub const TRAFFIC: u32 = PORTS + 1;

entry! {
    /// Key of the counters of frames dropped, by port and reason.
    DropKey: 8 {
        /// Place in the port table, or [`PORTS`] for ports that are gone.
        place: u32,
        /// The [`crate::DropReason`].
        reason: u32,
    }
}

/// Number of the layout of [`EventEntry`]; its first field, so that a reader can tell.
pub const EVENT_VERSION: u32 = 1;

/// What [`EventEntry::verdict`] says: the policy's part. What is allowed may still be dropped for
/// something else, such as a full table of connections.
pub mod event_verdict {
    /// The connection is allowed by the rule.
    pub const ALLOWED: u16 = 1;
    /// It is not, for [`super::EventEntry::reason`].
    pub const DENIED: u16 = 2;
    /// The rule observes: it would allow the connection.
    pub const WOULD_ALLOW: u16 = 3;
    /// The rule observes: it would deny the connection.
    pub const WOULD_DENY: u16 = 4;
}

/// [`EventEntry::reason`] of what is not dropped by a rule.
pub const NO_REASON: u16 = u16::MAX;

entry! {
    /// A new connection that was judged, as the ring carries it to whoever reads the log.
    EventEntry: 88 {
        /// [`EVENT_VERSION`].
        version: u32,
        /// The generation that judged.
        generation: u32,
        /// When: nanoseconds of the boot clock (CLOCK_BOOTTIME).
        time: u64,
        /// Source.
        src: Addr,
        /// Destination.
        dst: Addr,
        /// Id of the deciding or observing rule; 0 for the default.
        rule: u32,
        /// Events of the same rule on the same processor that were left out before this one.
        suppressed: u32,
        /// Interface index of the port that the packet came from.
        ingress: u32,
        /// Interface index of the port that it would leave by.
        egress: u32,
        /// Id of the network that it came from.
        network: u32,
        /// Bytes of the packet from the IP header on; of a frame still to be segmented, of all.
        length: u32,
        /// Source port, or identifier of an echo.
        sport: u16,
        /// Destination port, or identifier of an echo.
        dport: u16,
        /// ICMP type << 8 | code.
        icmp: u16,
        /// IP protocol.
        protocol: u16,
        /// One of [`event_verdict`].
        verdict: u16,
        /// The [`crate::DropReason`], or [`NO_REASON`].
        reason: u16,
        /// Zero.
        reserved: u32,
    }
}

impl EventEntry {
    /// Nothing yet.
    pub const EMPTY: Self = Self {
        version: EVENT_VERSION,
        generation: 0,
        time: 0,
        src: Addr::UNSPECIFIED,
        dst: Addr::UNSPECIFIED,
        rule: 0,
        suppressed: 0,
        ingress: 0,
        egress: 0,
        network: 0,
        length: 0,
        sport: 0,
        dport: 0,
        icmp: 0,
        protocol: 0,
        verdict: 0,
        reason: NO_REASON,
        reserved: 0,
    };
}

entry! {
    /// Key of a connection: both ends sorted, so both directions have the same key.
    FlowKey: 40 {
        /// The smaller end's address.
        a: Addr,
        /// The larger end's address.
        b: Addr,
        /// Port of `a`; the identifier for ICMP echo.
        a_port: u16,
        /// Port of `b`; the identifier for ICMP echo.
        b_port: u16,
        /// IP protocol.
        protocol: u16,
        /// Network id for link-local ends, otherwise 0: addresses are unique over all networks.
        scope: u16,
    }
}

/// A connection. Each side's words are written only by packets from that side, but for the ways,
/// which end when either side's packet judges anew; `judged` and `last` by either, with values that
/// are right whoever wins.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
pub struct FlowEntry {
    /// Generation << 32 | verdict cell (see [`crate::policy::Cell`]).
    pub judged: Word,
    /// Ticks of the last packet.
    pub last: Word,
    /// The side that `a` of the key is.
    pub a: FlowSide,
    /// The side that `b` of the key is.
    pub b: FlowSide,
}
const _: () = assert!(core::mem::size_of::<FlowEntry>() == 64);

/// Words of [`Datagram::covered`].
pub const COVERED: usize = 128;

/// A datagram of which fragments have come, see [`crate::fragment`].
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
pub struct Datagram {
    /// When the first of them came, ticks.
    pub born: Word,
    /// 1 << 32 | source port << 16 | destination port, once the fragment that tells them has
    /// passed; before 0.
    pub first: Word,
    /// Octets that have come. Two processors may lose some: then it is never whole.
    pub octets: Word,
    /// Where it ends, once that is known << 32 | the end of what has come.
    pub end: Word,
    /// Which octets have come: a bit for 8 of them.
    pub covered: [Word; COVERED],
}
const _: () = assert!(core::mem::size_of::<Datagram>() == 1056);

/// One side of a connection: what its packets need.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
pub struct FlowSide {
    /// Where the side's source was checked, and where its packets go: the low 8 bits of the
    /// generation << 56 | network << 46 | place in the port table << 32 | egress port; only the place
    /// where the rest is to be found again. `judged` has the whole generation, and who renews it
    /// leaves both sides their places only.
    pub way: Word,
    /// MAC that its packets get when they are routed << 16 | state bits, see
    /// [`crate::conntrack`].
    pub half: Word,
    /// TCP: what the side has sent, see [`crate::sequence::Sent`].
    pub sent: Word,
}
