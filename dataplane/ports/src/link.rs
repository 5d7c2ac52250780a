//! Interfaces: what they are, and the changes that every kind takes.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp,
        XdpAttached,
    },
};

use crate::{
    error::{Error, Result},
    name,
    netlink::Netlink,
    veth,
};

/// The kernel's link watch looks at most once a second (LINKWATCH_HZ).
const CARRIER_PATIENCE: Duration = Duration::from_millis(1500);
const CARRIER_POLL: Duration = Duration::from_millis(1);

/// An interface as the kernel shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Kind of virtual interface (`veth`, `tun`, ...); empty for a physical one.
    pub kind: String,
    /// Alias, empty where there is none.
    pub alias: String,
    /// Ethernet address, zero where there is none.
    pub mac: [u8; 6],
    /// Largest L3 packet, bytes.
    pub mtu: u32,
    /// Administratively up?
    pub up: bool,
    /// Operational: up, with a carrier, and the kernel has noticed.
    pub running: bool,
    /// Promiscuous by somebody's wish?
    pub promiscuous: bool,
    /// The XDP program in front of it.
    pub xdp: Option<Xdp>,
    /// Index of the bridge (or other master) that it is a port of.
    pub master: Option<u32>,
    /// Index of the interface that it stands on (of a VLAN, a macvlan or a macvtap), or of the other
    /// end of a veth pair, which may count in another namespace.
    pub below: Option<u32>,
}

/// An XDP program at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xdp {
    /// The kernel's number for it.
    pub program: u32,
    /// Does the driver run it, before there is a packet buffer?
    pub native: bool,
}

impl Link {
    /// Was it made by the instance of the switch with this alias, even if it died meanwhile?
    pub fn is_ours(&self, alias: &str) -> bool {
        self.alias == alias || veth::is_unfinished(self, alias)
    }
}

/// The interface with this name in the calling thread's network namespace.
pub fn get(name: &str) -> Result<Link> {
    find(name)?.ok_or_else(|| Error::NoSuchInterface { name: name.into() })
}

/// As [`get`], but `None` where there is no such interface.
pub fn find(name: &str) -> Result<Option<Link>> {
    name::check(name)?;
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.into()));
    match open()?.get(RouteNetlinkMessage::GetLink(message)) {
        Ok(RouteNetlinkMessage::NewLink(m)) => Ok(Some(read(&m))),
        Ok(_) => Ok(None),
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(e) => Err(Error::kernel(format!("look for the interface {name}"), e)),
    }
}

/// All interfaces of the calling thread's network namespace.
pub fn list() -> Result<Vec<Link>> {
    let answers = open()?
        .dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))
        .map_err(|e| Error::kernel("list the interfaces", e))?;
    Ok(answers
        .iter()
        .filter_map(|m| if let RouteNetlinkMessage::NewLink(l) = m { Some(read(l)) } else { None })
        .collect())
}

/// Interfaces that an instance of the switch made, see [`Link::is_ours`].
pub fn list_ours(alias: &str) -> Result<Vec<Link>> {
    Ok(list()?.into_iter().filter(|l| l.is_ours(alias)).collect())
}

/// Brings an interface up or takes it down.
pub fn set_up(index: u32, up: bool) -> Result<()> {
    let what = if up { "bring the interface up" } else { "take the interface down" };
    set_flags(index, LinkFlags::Up, up).map_err(|e| Error::kernel(what, e))
}

/// Waits until an interface whose carrier is there is operational. The kernel notices a carrier
/// in its own time, and drops what is sent through the interface until then.
pub fn wait_running(name: &str) -> Result<()> {
    let begin = Instant::now();
    while !get(name)?.running && begin.elapsed() < CARRIER_PATIENCE {
        thread::sleep(CARRIER_POLL);
    }
    Ok(())
}

/// Makes an interface take frames for every MAC, or only for its own.
pub fn set_promiscuous(index: u32, on: bool) -> Result<()> {
    set_flags(index, LinkFlags::Promisc, on)
        .map_err(|e| Error::kernel("change the promiscuous mode", e))
}

/// Turns the kernel's own ARP on an interface off: the switch answers there.
pub fn set_no_arp(index: u32) -> Result<()> {
    set_flags(index, LinkFlags::Noarp, true).map_err(|e| Error::kernel("turn ARP off", e))
}

/// Sets the alias.
pub fn set_alias(index: u32, alias: &str) -> Result<()> {
    set(index, LinkAttribute::IfAlias(alias.into()), "set the interface's alias")
}

/// Sets the largest L3 packet, bytes.
pub fn set_mtu(index: u32, mtu: u32) -> Result<()> {
    set(index, LinkAttribute::Mtu(mtu), "set the interface's MTU")
}

/// Sets the Ethernet address.
pub fn set_mac(index: u32, mac: [u8; 6]) -> Result<()> {
    set(index, LinkAttribute::Address(mac.to_vec()), "set the interface's MAC")
}

/// Takes an interface out of the bridge (or other master) that it is a port of.
pub fn leave_master(index: u32) -> Result<()> {
    set(index, LinkAttribute::Controller(0), "take the interface out of its bridge")
}

/// Sets how many packets may wait for a reader.
pub fn set_queue_length(index: u32, packets: u32) -> Result<()> {
    set(index, LinkAttribute::TxQueueLen(packets), "set the length of the interface's queue")
}

/// Deletes an interface (of a veth pair: both ends). One that is gone already is fine.
pub fn delete(index: u32) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    match open()?.change(RouteNetlinkMessage::DelLink(message), 0) {
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        other => other.map_err(|e| Error::kernel("delete the interface", e)),
    }
}

/// Creates an interface from its attributes.
pub(crate) fn create(attributes: Vec<LinkAttribute>) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.attributes = attributes;
    let flags = NLM_F_CREATE | netlink_packet_core::NLM_F_EXCL;
    Netlink::open()?.change(RouteNetlinkMessage::NewLink(message), flags)
}

/// Makes the interface of a VLAN on top of another one, down.
pub(crate) fn create_vlan(name: &str, below: u32, vlan: u16) -> Result<()> {
    name::check(name)?;
    let data = InfoData::Vlan(vec![InfoVlan::Id(vlan)]);
    let info = vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(data)];
    let attributes = vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::Link(below),
        LinkAttribute::LinkInfo(info),
    ];
    create(attributes).map_err(|e| match e.raw_os_error() {
        Some(libc::EOPNOTSUPP) => Error::NoDriver { kind: "8021q" },
        _ => Error::kernel(format!("create the VLAN interface {name}"), e),
    })
}

fn open() -> Result<Netlink> {
    Netlink::open().map_err(|e| Error::kernel("open a netlink socket", e))
}

fn set(index: u32, attribute: LinkAttribute, action: &str) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(attribute);
    open()?.change(RouteNetlinkMessage::SetLink(message), 0).map_err(|e| Error::kernel(action, e))
}

fn set_flags(index: u32, flag: LinkFlags, on: bool) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.change_mask = flag;
    message.header.flags = if on { flag } else { LinkFlags::empty() };
    Netlink::open()?.change(RouteNetlinkMessage::SetLink(message), 0)
}

fn read(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        running: message.header.flags.contains(LinkFlags::Running),
        promiscuous: message.header.flags.contains(LinkFlags::Promisc),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) => {
                link.mac = bytes.as_slice().try_into().unwrap_or_default();
            }
            LinkAttribute::LinkInfo(infos) => link.kind = kind(infos),
            LinkAttribute::Xdp(xdp) => link.xdp = read_xdp(xdp),
            LinkAttribute::Controller(index) => link.master = Some(*index).filter(|i| *i != 0),
            LinkAttribute::Link(index) => link.below = Some(*index).filter(|i| *i != 0),
            _ => {}
        }
    }
    link
}

fn read_xdp(attributes: &[LinkXdp]) -> Option<Xdp> {
    let mut xdp = Xdp { program: 0, native: false };
    for attribute in attributes {
        match attribute {
            LinkXdp::ProgId(program) => xdp.program = *program,
            LinkXdp::Attached(XdpAttached::Driver) => xdp.native = true,
            _ => {}
        }
    }
    (xdp.program != 0).then_some(xdp)
}

fn kind(infos: &[LinkInfo]) -> String {
    let kind: Option<&InfoKind> =
        infos.iter().find_map(|i| if let LinkInfo::Kind(k) = i { Some(k) } else { None });
    kind.map(ToString::to_string).unwrap_or_default()
}
