//! The addresses of the host itself, in this process's network namespace.

use std::{collections::BTreeSet, net::IpAddr};

use nix::ifaddrs::getifaddrs;
use portcullis_image::Image;

/// Every address that may stand in a packet on a wire: no loopback, and no link-local IPv6
/// address (it means something on one link only, and the switch derives its own).
///
/// # Errors
/// The kernel did not tell.
pub fn addresses() -> nix::Result<Vec<IpAddr>> {
    let all: BTreeSet<IpAddr> = getifaddrs()?
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .filter(|ip| is_usable(*ip))
        .collect();
    Ok(all.into_iter().collect())
}

/// Without the gateways of a policy: the switch itself gives those to the host's legs, so they
/// come and go with the policy and are no change of the host.
pub fn without_gateways(all: Vec<IpAddr>, image: &Image) -> Vec<IpAddr> {
    let gateways: BTreeSet<IpAddr> = image
        .networks
        .iter()
        .flat_map(|network| &network.gateway)
        .map(|(addr, _)| (*addr).into())
        .collect();
    all.into_iter().filter(|ip| !gateways.contains(ip)).collect()
}

/// Names of the interfaces of this network namespace.
///
/// # Errors
/// The kernel did not tell.
pub fn interfaces() -> nix::Result<BTreeSet<String>> {
    Ok(getifaddrs()?.map(|interface| interface.interface_name).collect())
}

fn is_usable(ip: IpAddr) -> bool {
    let special = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
    !special && !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use portcullis_image::Network;

    use super::*;

    #[test]
    fn loopback_and_link_local_are_left_out() {
        for out in ["127.0.0.1", "::1", "fe80::1", "0.0.0.0", "::", "ff02::1"] {
            assert!(!is_usable(out.parse().unwrap()), "{out}");
        }
        for kept in ["10.0.0.1", "169.254.1.1", "fd00::1", "2001:db8::1"] {
            assert!(is_usable(kept.parse().unwrap()), "{kept}");
        }
    }

    #[test]
    fn gateways_are_left_out() {
        let (gateway, other): (IpAddr, IpAddr) =
            ("10.1.0.1".parse().unwrap(), "10.9.0.1".parse().unwrap());
        let mut image = Image::closed();
        image.networks.push(Network {
            name: "lan".into(),
            vlan: 1,
            subnets: vec![],
            gateway: vec![(gateway.into(), 24)],
            gateway_mac: Default::default(),
            external: false,
            mtu: 1500,
            offer: Default::default(),
            ethertypes: vec![],
            uplink_limits: Default::default(),
            host_limits: Default::default(),
        });
        assert_eq!(without_gateways(vec![gateway, other], &image), [other]);
    }

    #[test]
    fn every_host_has_a_loopback_interface() {
        assert!(interfaces().unwrap().contains("lo"));
        assert!(addresses().unwrap().iter().all(|ip| is_usable(*ip)));
    }
}
