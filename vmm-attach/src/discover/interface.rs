//! Interfaces behind which a guest may be, and what they are attached to.

use std::collections::BTreeMap;

use portcullis_ports::{Link, link};

use crate::{error::Result, strangers::is_of_guest};

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `tap`, `veth`, `macvtap`, `macvlan` or `vif`.
    pub kind: &'static str,
    /// Is it up?
    pub up: bool,
    /// Where it is attached.
    pub at: At,
    /// Did a switch of ours make it?
    pub ours: bool,
}

/// What an interface is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// Nothing.
    Nothing,
    /// A bridge.
    Bridge(String),
    /// Open vSwitch, which knows which bridge.
    OpenVSwitch,
    /// Another master (a bond, a VRF), by its kind and name.
    Other(String, String),
    /// A NIC that it stands on, as macvtaps do.
    On(String),
}

/// All of them, by name.
pub fn interfaces() -> Result<Vec<Interface>> {
    Ok(among(&link::list()?))
}

fn among(links: &[Link]) -> Vec<Interface> {
    let by_index: BTreeMap<u32, &Link> = links.iter().map(|link| (link.index, link)).collect();
    let one = |link: &Link| {
        let kind = kind(link)?;
        let at = at(link, kind, &by_index);
        let ours = link.alias.starts_with("portcullis:");
        Some(Interface { name: link.name.clone(), kind, up: link.up, at, ours })
    };
    let mut found: Vec<Interface> = links.iter().filter_map(one).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// A tun that carries no Ethernet has no MAC, and no guest.
fn kind(link: &Link) -> Option<&'static str> {
    match link.kind.as_str() {
        "tun" => (link.mac != [0; 6]).then_some("tap"),
        "veth" => Some("veth"),
        "macvtap" => Some("macvtap"),
        "macvlan" => Some("macvlan"),
        _ => is_of_guest(link).then_some("vif"),
    }
}

fn at(link: &Link, kind: &str, by_index: &BTreeMap<u32, &Link>) -> At {
    let named = |index: Option<u32>| index.and_then(|index| by_index.get(&index));
    if let Some(master) = named(link.master) {
        return match master.kind.as_str() {
            "bridge" => At::Bridge(master.name.clone()),
            "openvswitch" => At::OpenVSwitch,
            other => At::Other(other.to_owned(), master.name.clone()),
        };
    }
    match named(link.below) {
        Some(below) if kind.starts_with("macv") => At::On(below.name.clone()),
        _ => At::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_stands_where_he_is_attached() {
        let link = |index, name: &str, kind: &str, master, below| Link {
            index,
            name: name.into(),
            kind: kind.into(),
            mac: [2; 6],
            master,
            below,
            ..Link::default()
        };
        let mut tun = link(9, "vpn0", "tun", None, None);
        tun.mac = [0; 6];
        let links = [
            link(1, "br0", "bridge", None, None),
            link(2, "ovs-system", "openvswitch", None, None),
            link(3, "eth0", "", Some(1), None),
            link(4, "web1", "tun", Some(1), None),
            link(5, "web2", "tun", Some(2), None),
            link(6, "mv0", "macvtap", None, Some(3)),
            // Its other end has number 3 in another namespace.
            link(7, "vethx", "veth", None, Some(3)),
            link(8, "vif3.0", "", Some(1), None),
            tun,
        ];
        let found: Vec<_> =
            among(&links).into_iter().map(|found| (found.name, found.kind, found.at)).collect();
        let expected = [
            ("mv0".into(), "macvtap", At::On("eth0".into())),
            ("vethx".into(), "veth", At::Nothing),
            ("vif3.0".into(), "vif", At::Bridge("br0".into())),
            ("web1".into(), "tap", At::Bridge("br0".into())),
            ("web2".into(), "tap", At::OpenVSwitch),
        ];
        assert_eq!(found, expected);
    }
}
