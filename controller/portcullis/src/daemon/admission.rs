//! May this port be attached? Judged before the kernel is touched, against the ports that exist
//! and the applied policy.

use portcullis_image::{Image, Nic};
use portcullis_switch::{PortKind, PortSpec};

use crate::{
    api::{Failure, code},
    names,
};

/// Refuses what cannot work, with the name that was probably meant. Without a policy every name
/// is possible: the port stays closed until one knows it.
///
/// # Errors
/// What is wrong, and what to do.
pub fn admit(spec: &PortSpec, ports: &[PortSpec], image: Option<&Image>) -> Result<(), Failure> {
    well_formed(spec)?;
    if let Some(other) = ports.iter().find(|p| p.name == spec.name) {
        let whose = other.guest.as_ref().map_or(String::new(), |g| format!(" of {g}"));
        let kind = other.kind.word();
        return Err(Failure::new(
            code::PORT_IN_USE,
            format!("{} is attached already: the {kind}{whose}", spec.name),
        )
        .hint(format!("take another name, or first: portcullis detach {}", spec.name)));
    }
    let Some(image) = image else { return Ok(()) };
    match &spec.kind {
        PortKind::Uplink { tagged, untagged, .. } => {
            uplink(tagged, untagged.as_ref(), ports, image)
        }
        PortKind::Tap { .. } | PortKind::VhostUser { .. } | PortKind::Veth { .. } => {
            guest(spec, ports, image)
        }
        PortKind::Stranger { .. } => Ok(()),
    }
}

fn well_formed(spec: &PortSpec) -> Result<(), Failure> {
    interface_name(&spec.name)?;
    match &spec.kind {
        PortKind::Veth { peer, .. } => interface_name(peer)?,
        PortKind::Tap { queues: 1..=256 } | PortKind::VhostUser { .. } => {}
        PortKind::Tap { queues } => {
            let message = format!("a tap has 1 to 256 queues, not {queues}");
            return Err(Failure::new(code::BAD_REQUEST, message));
        }
        PortKind::Uplink { tagged, untagged, .. } if tagged.is_empty() && untagged.is_none() => {
            return Err(Failure::new(code::BAD_REQUEST, "an uplink carries at least one network")
                .hint("add --tagged NETWORK,... or --untagged NETWORK"));
        }
        PortKind::Uplink { .. } => {}
        PortKind::Stranger { .. } => {
            return Err(Failure::new(code::BAD_REQUEST, "nobody attaches a stranger"));
        }
    }
    if spec.guest.is_none() && !matches!(spec.kind, PortKind::Uplink { .. }) {
        return Err(
            Failure::new(code::BAD_REQUEST, "this port needs a guest").hint("add --guest GUEST")
        );
    }
    Ok(())
}

fn interface_name(name: &str) -> Result<(), Failure> {
    if names::is_interface(name) {
        return Ok(());
    }
    let message = format!("{name:?} cannot be the name of an interface");
    Err(Failure::new(code::BAD_NAME, message)
        .hint("1 to 15 letters, digits, dots, dashes and underscores"))
}

fn guest(spec: &PortSpec, ports: &[PortSpec], image: &Image) -> Result<(), Failure> {
    let name = spec.guest.as_deref().unwrap_or_default();
    let interfaces = image.interfaces(name);
    if interfaces.is_empty() {
        let all = image.nics.iter().map(|nic| nic.guest.as_str());
        let message = format!("the applied policy knows no guest {name:?}");
        return Err(suggested(Failure::new(code::NO_SUCH_GUEST, message), name, "guests", all));
    }
    let nic = which_nic(name, &interfaces, spec.network.as_deref(), image)?;
    let taken = ports.iter().find(|port| {
        port.guest.as_deref() == Some(name) && nic_of(port, &interfaces, image) == Some(nic)
    });
    match taken {
        None => Ok(()),
        Some(port) => {
            let network = networks(nic, image).collect::<Vec<_>>().join(", ");
            let message =
                format!("{name}'s NIC in network {network} is attached already: {}", port.name);
            Err(Failure::new(code::PORT_IN_USE, message)
                .hint(format!("first: portcullis detach {}", port.name)))
        }
    }
}

/// The NIC that a port asks for; `interfaces`: the first NIC of each interface of its guest.
fn which_nic(
    guest: &str,
    interfaces: &[usize],
    network: Option<&str>,
    image: &Image,
) -> Result<usize, Failure> {
    let all = || interfaces.iter().flat_map(|nic| networks(*nic, image));
    match (network, interfaces) {
        (None, [only]) => Ok(*only),
        (None, _) => {
            let names = all().collect::<Vec<_>>().join(", ");
            let message = format!("{guest} has NICs in several networks: {names}");
            Err(Failure::new(code::WHICH_NETWORK, message).hint("say which with --network NETWORK"))
        }
        (Some(network), _) => carrier(interfaces, network, image).ok_or_else(|| {
            let message = format!("{guest} has no NIC in a network {network:?}");
            let failure = Failure::new(code::NO_SUCH_NETWORK, message);
            suggested(failure, network, "its networks", all())
        }),
    }
}

/// The NIC that an attached port of this guest has.
fn nic_of(port: &PortSpec, interfaces: &[usize], image: &Image) -> Option<usize> {
    match (port.network.as_deref(), interfaces) {
        (None, [only]) => Some(*only),
        (None, _) => None,
        (Some(network), _) => carrier(interfaces, network, image),
    }
}

/// The interface that carries a network, by its first NIC.
fn carrier(interfaces: &[usize], network: &str, image: &Image) -> Option<usize> {
    let carries = |nic: &&usize| networks(**nic, image).any(|name| name == network);
    interfaces.iter().find(carries).copied()
}

/// Names of the networks that the interface of a NIC carries.
fn networks(nic: usize, image: &Image) -> impl Iterator<Item = &str> + Clone {
    image.together(nic).map(|nic| network_name(&image.nics[nic], image))
}

fn network_name<'a>(nic: &Nic, image: &'a Image) -> &'a str {
    image.network(nic.network).map_or("?", |network| &network.name)
}

fn uplink(
    tagged: &[String],
    untagged: Option<&String>,
    ports: &[PortSpec],
    image: &Image,
) -> Result<(), Failure> {
    let wanted: Vec<&String> = tagged.iter().chain(untagged).collect();
    for (at, name) in wanted.iter().enumerate() {
        if image.network_id(name).is_none() {
            let all = image.networks.iter().map(|network| network.name.as_str());
            let message = format!("the applied policy knows no network {name:?}");
            let failure = Failure::new(code::NO_SUCH_NETWORK, message);
            return Err(suggested(failure, name, "networks", all));
        }
        if wanted[..at].contains(name) {
            let message = format!("network {name} is named twice");
            return Err(Failure::new(code::BAD_REQUEST, message));
        }
        if let Some(other) = ports.iter().find(|port| carries(port, name)) {
            let message = format!("uplink {} carries network {name} already", other.name);
            return Err(Failure::new(code::PORT_IN_USE, message)
                .hint(format!("first: portcullis detach {}", other.name)));
        }
    }
    Ok(())
}

fn carries(port: &PortSpec, network: &str) -> bool {
    match &port.kind {
        PortKind::Uplink { tagged, untagged, .. } => {
            tagged.iter().chain(untagged).any(|name| name == network)
        }
        PortKind::Tap { .. }
        | PortKind::VhostUser { .. }
        | PortKind::Veth { .. }
        | PortKind::Stranger { .. } => false,
    }
}

fn suggested<'a>(
    failure: Failure,
    name: &str,
    what: &str,
    all: impl Iterator<Item = &'a str> + Clone,
) -> Failure {
    match names::suggest(name, what, all) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use portcullis_image::Network;
    use portcullis_switch::Gate;

    use portcullis_image::Trunk;

    use super::*;

    fn image() -> Image {
        let mut image = Image::closed();
        for (i, name) in ["lan", "dmz", "wan"].into_iter().enumerate() {
            image.networks.push(Network {
                name: name.into(),
                vlan: i as u16 + 1,
                subnets: vec![],
                gateway: vec![],
                gateway_mac: Default::default(),
                external: false,
                mtu: 1500,
                offer: Default::default(),
                ethertypes: vec![],
                uplink_limits: Default::default(),
                host_limits: Default::default(),
            });
        }
        for (guest, network) in [("pc1", 1), ("web1", 2), ("router", 1), ("router", 2)] {
            let nic = Nic {
                guest: guest.into(),
                network,
                mac: Default::default(),
                addrs: vec![],
                limits: Default::default(),
                trunk: None,
            };
            image.nics.push(nic);
        }
        image
    }

    fn tap(name: &str, guest: &str, network: Option<&str>) -> PortSpec {
        PortSpec {
            name: name.into(),
            kind: PortKind::Tap { queues: 1 },
            guest: Some(guest.into()),
            network: network.map(Into::into),
        }
    }

    fn up(name: &str, tagged: &[&str], untagged: Option<&str>) -> PortSpec {
        let tagged = tagged.iter().map(|n| (*n).to_owned()).collect();
        let untagged = untagged.map(Into::into);
        let kind = PortKind::Uplink { tagged, untagged, xdp: Gate::Auto };
        PortSpec { name: name.into(), kind, guest: None, network: None }
    }

    fn refused(spec: &PortSpec, ports: &[PortSpec]) -> (String, String) {
        let failure = admit(spec, ports, Some(&image())).unwrap_err();
        (failure.code, failure.hint.unwrap_or_default())
    }

    #[test]
    fn what_the_policy_knows_is_admitted() {
        let ports =
            [tap("t1", "pc1", None), tap("t2", "router", Some("lan")), up("e0", &["lan"], None)];
        for spec in [
            tap("t3", "web1", None),
            tap("t3", "web1", Some("dmz")),
            tap("t3", "router", Some("dmz")),
            up("e1", &["dmz"], Some("wan")),
        ] {
            assert_eq!(admit(&spec, &ports, Some(&image())), Ok(()), "{spec:?}");
        }
    }

    #[test]
    fn a_slip_in_a_name_is_pointed_out() {
        let (code, hint) = refused(&tap("t", "web2", None), &[]);
        assert_eq!((code.as_str(), hint.as_str()), (code::NO_SUCH_GUEST, "did you mean web1?"));
        let (code, hint) = refused(&tap("t", "web1", Some("lan")), &[]);
        assert_eq!((code.as_str(), hint.as_str()), (code::NO_SUCH_NETWORK, "its networks: dmz"));
        let (code, hint) = refused(&up("e", &["lam"], None), &[]);
        assert_eq!((code.as_str(), hint.as_str()), (code::NO_SUCH_NETWORK, "did you mean lan?"));
    }

    #[test]
    fn what_is_taken_is_refused() {
        let ports = [tap("t1", "pc1", None), up("e0", &["lan"], Some("wan"))];
        for spec in [
            tap("t1", "web1", None),
            tap("t2", "pc1", None),
            tap("t2", "pc1", Some("lan")),
            up("e1", &["dmz", "wan"], None),
        ] {
            let (code, hint) = refused(&spec, &ports);
            assert_eq!(code, code::PORT_IN_USE, "{spec:?}");
            assert!(hint.contains("portcullis detach"), "{hint}");
        }
    }

    #[test]
    fn a_guest_with_several_nics_must_be_asked_for_one() {
        let (code, hint) = refused(&tap("t", "router", None), &[]);
        assert_eq!(code, code::WHICH_NETWORK);
        assert!(hint.contains("--network"), "{hint}");
    }

    #[test]
    fn a_trunk_is_attached_once_by_any_of_its_networks() {
        let mut image = image();
        for (nic, tagged) in [(2, false), (3, true)] {
            image.nics[nic].trunk = Some(Trunk { number: 0, tagged });
        }
        for network in [None, Some("lan"), Some("dmz")] {
            let spec = tap("t", "router", network);
            assert_eq!(admit(&spec, &[], Some(&image)), Ok(()));
            let failure =
                admit(&spec, &[tap("u", "router", Some("dmz"))], Some(&image)).unwrap_err();
            assert_eq!(failure.code, code::PORT_IN_USE);
        }
    }

    #[test]
    fn malformed_ports_are_refused_even_without_a_policy() {
        let mut nobody = tap("t", "x", None);
        nobody.guest = None;
        let mut queues = tap("t", "x", None);
        queues.kind = PortKind::Tap { queues: 0 };
        let mut peer = tap("t", "x", None);
        peer.kind = PortKind::Veth { netns: None, peer: "a/b".into(), configure: true };
        for spec in [nobody, queues, peer, tap("a b", "x", None), up("e", &[], None)] {
            assert!(admit(&spec, &[], None).is_err(), "{spec:?}");
        }
        assert_eq!(admit(&tap("t", "anybody", None), &[], None), Ok(()));
        let twice = up("e", &["lan", "lan"], None);
        assert_eq!(refused(&twice, &[]).0, code::BAD_REQUEST);
    }
}
