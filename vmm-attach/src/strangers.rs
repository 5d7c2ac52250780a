//! Interfaces of others that meet the switch's ports outside of the switch: in a bridge, or on top
//! of an uplink. What such an interface sends would pass no filter of ours.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_ports::{Link, link};

use crate::error::Result;

/// Kinds of interfaces behind which a guest may be. (Xen's have none, but a name of their own.)
const GUEST_KINDS: &[&str] = &["tun", "veth", "macvtap", "macvlan"];
/// Kinds that stand on another interface and send by it, past its ingress.
const STACKED_KINDS: &[&str] = &["macvtap", "macvlan", "ipvlan", "ipvtap"];

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strangers {
    /// Ports that the switch made and that somebody has put into a bridge, by name, with that.
    pub misplaced: BTreeMap<String, String>,
    /// Interfaces in the bridge of an uplink, by name, with the bridge.
    pub in_bridges: BTreeMap<String, String>,
    /// Interfaces on top of an uplink, by name, with the uplink.
    pub on_uplinks: BTreeMap<String, String>,
}

/// Looks around in the calling thread's network namespace. `made`: ports that the switch has made;
/// `uplinks`: NICs that it uses.
pub fn look(made: &BTreeSet<&str>, uplinks: &BTreeSet<&str>) -> Result<Strangers> {
    Ok(find(&link::list()?, made, uplinks))
}

/// Takes a port of the switch out of the bridge that it was put into.
pub fn take_out(port: &str) -> Result<()> {
    Ok(link::leave_master(link::get(port)?.index)?)
}

fn find(links: &[Link], made: &BTreeSet<&str>, uplinks: &BTreeSet<&str>) -> Strangers {
    let by_index: BTreeMap<u32, &Link> = links.iter().map(|link| (link.index, link)).collect();
    let at = |index: Option<u32>| index.and_then(|index| by_index.get(&index).copied());
    let bridge_of = |link: &Link| at(link.master).filter(|master| master.kind == "bridge");
    let is_uplink = |link: &&Link| uplinks.contains(link.name.as_str());
    let bridged: BTreeSet<u32> =
        links.iter().filter(is_uplink).filter_map(bridge_of).map(|bridge| bridge.index).collect();
    let mut found = Strangers::default();
    for link in links.iter().filter(|link| !is_uplink(link)) {
        if made.contains(link.name.as_str()) {
            if let Some(master) = at(link.master) {
                found.misplaced.insert(link.name.clone(), master.name.clone());
            }
            continue;
        }
        // Another switch's port: that one looks after it.
        if link.alias.starts_with("portcullis:") {
            continue;
        }
        let bridge = bridge_of(link).filter(|bridge| bridged.contains(&bridge.index));
        if let Some(bridge) = bridge.filter(|_| is_of_guest(link)) {
            found.in_bridges.insert(link.name.clone(), bridge.name.clone());
        }
        let below = at(link.below).filter(|_| STACKED_KINDS.contains(&link.kind.as_str()));
        if let Some(uplink) = below.filter(is_uplink) {
            found.on_uplinks.insert(link.name.clone(), uplink.name.clone());
        }
    }
    found
}

/// May a guest be behind it?
pub fn is_of_guest(link: &Link) -> bool {
    GUEST_KINDS.contains(&link.kind.as_str()) || (link.kind.is_empty() && is_vif(&link.name))
}

/// `vifDOMAIN.NUMBER`, as Xen calls its guests' interfaces.
pub fn is_vif(name: &str) -> bool {
    let numbers = name.strip_prefix("vif").and_then(|rest| rest.split_once('.'));
    numbers.is_some_and(|(domain, number)| {
        domain.parse::<u16>().is_ok() && number.parse::<u16>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, kind: &str, master: u32, below: u32) -> Link {
        let some = |index: u32| Some(index).filter(|index| *index != 0);
        let (name, kind) = (name.to_owned(), kind.to_owned());
        Link { index, name, kind, master: some(master), below: some(below), ..Link::default() }
    }

    fn names(found: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
        found.iter().map(|(name, at)| (name.as_str(), at.as_str())).collect()
    }

    #[test]
    fn whoever_shares_a_bridge_with_an_uplink_is_found() {
        let mut other_switch = link(9, "web1", "tun", 1, 0);
        other_switch.alias = "portcullis:other".into();
        let links = [
            link(1, "br0", "bridge", 0, 0),
            link(2, "br1", "bridge", 0, 0),
            link(3, "eth1", "", 1, 0),
            // A NIC of the host is no guest.
            link(4, "eth0", "", 1, 0),
            link(5, "t1", "tun", 1, 0),
            link(6, "t2", "tun", 2, 0),
            link(7, "vif3.0", "", 1, 0),
            link(8, "veth9", "veth", 1, 77),
            other_switch,
            link(10, "m1", "macvtap", 0, 3),
            link(11, "m2", "macvtap", 0, 4),
            link(12, "eth1.30", "vlan", 0, 3),
        ];
        let found = find(&links, &BTreeSet::new(), &["eth1"].into());
        assert_eq!(names(&found.in_bridges), [("t1", "br0"), ("veth9", "br0"), ("vif3.0", "br0")]);
        assert_eq!(names(&found.on_uplinks), [("m1", "eth1")]);
        assert!(found.misplaced.is_empty());
    }

    #[test]
    fn a_port_that_was_put_into_a_bridge_is_found() {
        let links = [
            link(1, "br0", "bridge", 0, 0),
            link(2, "web1", "tun", 1, 0),
            link(3, "web2", "tun", 0, 0),
            link(4, "t1", "tun", 1, 0),
        ];
        let found = find(&links, &["web1", "web2"].into(), &BTreeSet::new());
        assert_eq!(names(&found.misplaced), [("web1", "br0")]);
        // It is taken out, so nobody else is concerned.
        assert!(found.in_bridges.is_empty() && found.on_uplinks.is_empty());
    }

    #[test]
    fn xens_interfaces_are_known_by_name() {
        assert!(is_vif("vif3.0") && is_vif("vif12.10"));
        for other in ["vif3", "vif3.0-emu", "eth0", "vif.1", "vifa.b"] {
            assert!(!is_vif(other), "{other}");
        }
    }
}
