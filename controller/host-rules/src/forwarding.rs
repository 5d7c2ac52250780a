//! Does the host forward at all? IPv4 is switched on for the interfaces that need it: our own legs,
//! and those that lead outside. IPv6 has one switch for the whole host, which also takes away
//! default routes that came by router advertisements: that is told, not done.

use std::{collections::BTreeSet, fs, io, net::IpAddr};

use portcullis_ports::{address, link, sysctl};

use crate::{
    error::{Error, Result},
    plan::{Plan, Way},
};

/// Directory of the settings of this thread's network namespace.
const V4: &str = "/proc/sys/net/ipv4";
const V6: &str = "/proc/sys/net/ipv6";

/// Interfaces that lead outside and do not forward IPv4.
pub fn closed_uplinks(plan: &Plan) -> Result<Vec<String>> {
    if !plan.forwards_v4() {
        return Ok(Vec::new());
    }
    let closed = uplinks(plan)?.into_iter().filter(|name| forwards_v4(name) == Some(false));
    Ok(closed.collect())
}

/// Interfaces of the host that IPv4 leaves by or comes in by: of default routes, and those that
/// carry an address at which something is published. Our legs are not among them.
pub fn uplinks(plan: &Plan) -> Result<BTreeSet<String>> {
    let mut found = default_routes_v4()?;
    let published: BTreeSet<IpAddr> =
        plan.publish.iter().filter_map(|p| p.at.map(IpAddr::V4)).collect();
    let holders: BTreeSet<u32> = address::list()?
        .into_iter()
        .filter(|owned| published.contains(&owned.address.addr))
        .map(|owned| owned.interface)
        .collect();
    found.extend(link::list()?.into_iter().filter(|l| holders.contains(&l.index)).map(|l| l.name));
    let ours = [plan.legs(false), plan.legs(true)].concat();
    found.retain(|name| !ours.contains(name));
    Ok(found)
}

/// Interfaces of IPv4 default routes (proc(5): a route's destination and mask stand in columns 2
/// and 8, in hexadecimal).
pub fn default_routes_v4() -> Result<BTreeSet<String>> {
    Ok(default_routes(&read("/proc/thread-self/net/route")?, |c| {
        (c.get(1) == Some(&"00000000") && c.get(7) == Some(&"00000000")).then_some(0)
    }))
}

/// Interfaces of IPv6 default routes: length 0 in column 2, the interface in the last one. What
/// stands there for `lo` only says that there is no route.
pub fn default_routes_v6() -> Result<BTreeSet<String>> {
    let mut found = default_routes(&read("/proc/thread-self/net/ipv6_route")?, |c| {
        let everything = c.first().is_some_and(|dst| dst.bytes().all(|b| b == b'0'));
        (everything && c.get(1) == Some(&"00")).then_some(c.len() - 1)
    });
    found.remove("lo");
    Ok(found)
}

/// The column that holds the interface, of each line that is a default route.
fn default_routes(text: &str, column: impl Fn(&[&str]) -> Option<usize>) -> BTreeSet<String> {
    let name = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        column(&columns).and_then(|at| columns.get(at).map(|name| (*name).to_owned()))
    };
    text.lines().filter_map(name).collect()
}

fn read(path: &str) -> Result<String> {
    match fs::read_to_string(path) {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other.map_err(Error::file("read", path)),
    }
}

/// Does what comes in by this interface get forwarded? `None`: it is not there.
pub fn forwards_v4(interface: &str) -> Option<bool> {
    let text = fs::read_to_string(format!("{V4}/conf/{interface}/forwarding")).ok()?;
    Some(text.trim() != "0")
}

/// Does the host forward IPv4 whatever we do? Then nothing that we switched on is ours to switch
/// off again.
pub fn everywhere_v4() -> bool {
    fs::read_to_string(format!("{V4}/ip_forward")).is_ok_and(|text| text.trim() == "1")
}

/// Does the host forward IPv6?
pub fn everywhere_v6() -> bool {
    let all = fs::read_to_string(format!("{V6}/conf/all/forwarding"));
    all.is_ok_and(|text| text.trim() != "0")
}

/// Makes an interface forward, or stops it. One that is gone needs nothing.
pub fn set_v4(interface: &str, on: bool) -> Result<()> {
    if forwards_v4(interface).is_some_and(|now| now != on) {
        sysctl::set(sysctl::Family::V4, interface, "forwarding", if on { "1" } else { "0" })?;
    }
    Ok(())
}

/// Makes our own legs forward, those of networks that go out by the host's stack, and of all
/// networks in which something is published.
pub fn open_legs(plan: &Plan) -> Result<()> {
    let published = |n: &&crate::plan::Network| {
        let inside = |p: &crate::plan::Publish| {
            n.subnets.iter().any(|subnet| subnet.contains(&IpAddr::V4(p.to)))
        };
        plan.publish.iter().any(inside)
    };
    let wanted = plan.networks.iter().filter(|n| n.way != Way::Unsaid || published(n));
    for network in wanted.filter(|n| n.has_v4()) {
        set_v4(&network.leg(), true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_are_found() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n\
                  eth0\t00000000\t010A0A0A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                  eth1\t000A0A0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                  tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n";
        let found = default_routes(v4, |c| {
            (c.get(1) == Some(&"00000000") && c.get(7) == Some(&"00000000")).then_some(0)
        });
        assert_eq!(found, BTreeSet::from(["eth0".to_owned()]));
    }
}
