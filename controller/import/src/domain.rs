//! A libvirt domain, as far as its interfaces go (libvirt.org/formatdomain.html, "Network
//! interfaces").

use std::ops::Range;

use roxmltree::{Document, Node, ParsingOptions};

/// More nodes than a domain has.
const NODES_MAX: u32 = 100_000;

/// A domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its interfaces, in order.
    pub interfaces: Vec<Interface>,
}

/// An interface of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `network`, `bridge`, `ethernet`, `direct`, `vhostuser`, `user`, ...
    pub kind: String,
    /// Its MAC, in lower case.
    pub mac: Option<String>,
    /// The network, bridge or NIC behind it, or the path of its vhost-user socket.
    pub source: Option<String>,
    /// The port group of its network.
    pub portgroup: Option<String>,
    /// Name of its device on the host.
    pub target: Option<String>,
    /// Does libvirt make that device (and not whoever manages the network)?
    pub managed: bool,
    /// Queues of its driver.
    pub queues: u16,
    /// Its VLAN tags; more than one where it is a trunk.
    pub tags: Vec<u16>,
    /// Bytes of the element in the text.
    pub range: Range<usize>,
}

/// Why a text is no domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// It is not XML.
    #[error("the XML cannot be read: {0}")]
    Xml(#[from] roxmltree::Error),
    /// It is something else.
    #[error("this is <{got}>, not a <domain>")]
    Other {
        /// The root element.
        got: String,
    },
    /// It has no name.
    #[error("the domain has no <name>")]
    NoName,
}

impl Domain {
    /// Reads a `<domain>`, also inside of the `<domstatus>` of `/run/libvirt`.
    ///
    /// # Errors
    /// [`DomainError`]
    pub fn read(text: &str) -> Result<Self, DomainError> {
        let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
        let document = Document::parse_with_options(text, options)?;
        let root = document.root_element();
        let domain = match root.tag_name().name() {
            "domain" => Some(root),
            "domstatus" => child(root, "domain"),
            _ => None,
        };
        let other = || DomainError::Other { got: root.tag_name().name().to_owned() };
        Self::of(domain.ok_or_else(other)?).ok_or(DomainError::NoName)
    }

    /// Of its element; `None` where it has no name.
    pub(crate) fn of(node: Node<'_, '_>) -> Option<Self> {
        let name = child(node, "name").and_then(|n| n.text()).map(str::trim);
        let name = name.filter(|name| !name.is_empty())?.to_owned();
        let interfaces = child(node, "devices").into_iter().flat_map(|devices| {
            devices.children().filter(|c| c.tag_name().name() == "interface").map(interface)
        });
        Some(Self { name, interfaces: interfaces.collect() })
    }
}

fn interface(node: Node<'_, '_>) -> Interface {
    let attribute = |element: &str, name: &str| {
        child(node, element).and_then(|found| found.attribute(name)).map(str::to_owned)
    };
    let sources = ["network", "bridge", "dev", "path"];
    Interface {
        kind: node.attribute("type").unwrap_or_default().to_owned(),
        mac: attribute("mac", "address").map(|mac| mac.to_lowercase()),
        source: sources.iter().find_map(|name| attribute("source", name)),
        portgroup: attribute("source", "portgroup"),
        target: attribute("target", "dev"),
        managed: attribute("target", "managed").as_deref() != Some("no"),
        queues: attribute("driver", "queues").and_then(|text| text.parse().ok()).unwrap_or(1),
        tags: tags(node),
        range: node.range(),
    }
}

/// The ids of its `<vlan>`.
pub(crate) fn tags(node: Node<'_, '_>) -> Vec<u16> {
    let tags = child(node, "vlan").into_iter().flat_map(|vlan| {
        let tags = vlan.children().filter(|c| c.tag_name().name() == "tag");
        tags.filter_map(|tag| tag.attribute("id")?.parse().ok())
    });
    tags.collect()
}

/// The first child element of that name.
pub(crate) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|c| c.is_element() && c.tag_name().name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "<domain type='kvm'><name> web1 </name><devices>\
        <interface type='ethernet'><mac address='52:54:00:AA:00:01'/>\
        <target dev='web1' managed='no'/><driver name='vhost' queues='2'/></interface>\
        <interface type='network'><source network='ovs' portgroup='dmz'/>\
        <vlan trunk='yes'><tag id='42'/><tag id='47'/></vlan></interface>\
        <interface type='vhostuser'><source type='unix' path='/run/v.sock' mode='client'/>\
        </interface></devices></domain>";

    #[test]
    fn interfaces_are_read_as_they_are_written() {
        let domain = Domain::read(WEB).unwrap();
        assert_eq!(domain.name, "web1");
        let [tap, trunk, vhost] = domain.interfaces.as_slice() else { panic!("{domain:?}") };
        assert_eq!(
            (tap.kind.as_str(), tap.mac.as_deref()),
            ("ethernet", Some("52:54:00:aa:00:01"))
        );
        assert_eq!((tap.target.as_deref(), tap.managed, tap.queues), (Some("web1"), false, 2));
        assert_eq!(
            (trunk.source.as_deref(), trunk.portgroup.as_deref()),
            (Some("ovs"), Some("dmz"))
        );
        assert_eq!((&trunk.tags[..], trunk.managed, trunk.queues), (&[42, 47][..], true, 1));
        assert_eq!(vhost.source.as_deref(), Some("/run/v.sock"));
        assert!(WEB[vhost.range.clone()].starts_with("<interface type='vhostuser'>"));
        let running = format!("<domstatus state='running' pid='7'>{WEB}</domstatus>");
        assert_eq!(Domain::read(&running).unwrap().interfaces.len(), 3);
    }

    #[test]
    fn what_is_no_domain_is_named() {
        let error = |text| Domain::read(text).unwrap_err().to_string();
        assert!(error("<network/>").contains("<network>"));
        assert!(error("<domain/>").contains("no <name>"));
        assert!(error("web1").contains("cannot be read"));
    }
}
