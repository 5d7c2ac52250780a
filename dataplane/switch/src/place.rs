//! Which port stands for what: specs, looked up in an image. Pure.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_image::{Image, Nic};
use portcullis_pipeline::layout::{MEMBERS, PORTS};

use crate::{
    spec::{PortKind, PortSpec},
    status::Closed,
};

/// What an open port stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A guest's NIC: index into [`Image::nics`].
    Nic(usize),
    /// The way out of some networks, by id.
    Uplink {
        /// Networks with a tag.
        tagged: Vec<u32>,
        /// Network without one, or 0.
        untagged: u32,
    },
}

/// A port whose interface exists.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What was asked for.
    pub spec: &'a PortSpec,
    /// Its interface index.
    pub ifindex: u32,
}

/// Switch's side of the host's leg of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Id of the network.
    pub network: u32,
    /// Interface index.
    pub ifindex: u32,
}

/// Places every port, in order: of two that want the same, the first one gets it.
pub fn place(
    image: &Image,
    legs: &[Leg],
    candidates: &[Candidate<'_>],
) -> Vec<Result<Place, Closed>> {
    let mut taken = Taken::new(image, legs);
    candidates.iter().map(|c| taken.place(c)).collect()
}

/// Which index of the port table an interface falls on.
pub const fn table_index(ifindex: u32) -> u32 {
    ifindex & (PORTS - 1)
}

/// What earlier ports hold already.
struct Taken<'a> {
    image: &'a Image,
    indexes: BTreeMap<u32, String>,
    nics: BTreeMap<usize, String>,
    uplinks: BTreeMap<u32, String>,
    members: BTreeMap<u32, usize>,
}

impl<'a> Taken<'a> {
    fn new(image: &'a Image, legs: &[Leg]) -> Self {
        let mut taken = Self {
            image,
            indexes: BTreeMap::new(),
            nics: BTreeMap::new(),
            uplinks: BTreeMap::new(),
            members: BTreeMap::new(),
        };
        for leg in legs {
            let name = image.network(leg.network).map(|n| n.name.as_str()).unwrap_or_default();
            taken.indexes.insert(table_index(leg.ifindex), format!("the host's leg of {name}"));
            taken.members.insert(leg.network, 1);
        }
        taken
    }

    fn place(&mut self, c: &Candidate<'_>) -> Result<Place, Closed> {
        let index = table_index(c.ifindex);
        if let Some(port) = self.indexes.get(&index) {
            return Err(Closed::IndexTaken { port: port.clone() });
        }
        let place = match &c.spec.kind {
            PortKind::Uplink { tagged, untagged, .. } => {
                self.uplink(&c.spec.name, tagged, untagged.as_ref())?
            }
            PortKind::Tap { .. } | PortKind::Veth { .. } => self.nic(c.spec)?,
        };
        self.indexes.insert(index, c.spec.name.clone());
        Ok(place)
    }

    fn nic(&mut self, spec: &PortSpec) -> Result<Place, Closed> {
        let (index, nic) = choose_nic(self.image, spec)?;
        if let Some(port) = self.nics.get(&index) {
            return Err(Closed::NicTaken { port: port.clone() });
        }
        let members = self.members.entry(nic.network).or_default();
        if *members == MEMBERS {
            return Err(Closed::NetworkFull { network: name_of(self.image, nic.network) });
        }
        *members += 1;
        self.nics.insert(index, spec.name.clone());
        Ok(Place::Nic(index))
    }

    fn uplink(
        &mut self,
        port: &str,
        tagged: &[String],
        untagged: Option<&String>,
    ) -> Result<Place, Closed> {
        let tagged = tagged.iter().map(|n| self.id(n)).collect::<Result<Vec<u32>, _>>()?;
        let untagged = untagged.map_or(Ok(0), |n| self.id(n))?;
        let all: Vec<u32> =
            tagged.iter().copied().chain((untagged != 0).then_some(untagged)).collect();
        if all.is_empty() {
            return Err(Closed::NoNetwork);
        }
        let mut own = BTreeSet::new();
        for id in &all {
            let network = || name_of(self.image, *id);
            if !own.insert(*id) {
                return Err(Closed::NetworkTaken { network: network(), port: port.into() });
            }
            if let Some(port) = self.uplinks.get(id) {
                return Err(Closed::NetworkTaken { network: network(), port: port.clone() });
            }
        }
        self.uplinks.extend(all.into_iter().map(|id| (id, port.to_owned())));
        Ok(Place::Uplink { tagged, untagged })
    }

    fn id(&self, network: &str) -> Result<u32, Closed> {
        let unknown = || Closed::UnknownNetwork { network: network.into() };
        self.image.network_id(network).ok_or_else(unknown)
    }
}

/// The one NIC that a spec means.
fn choose_nic<'a>(image: &'a Image, spec: &PortSpec) -> Result<(usize, &'a Nic), Closed> {
    let guest = spec.guest.as_ref().ok_or(Closed::NoGuest)?;
    let of_guest: Vec<(usize, &Nic)> =
        image.nics.iter().enumerate().filter(|(_, n)| n.guest == *guest).collect();
    if of_guest.is_empty() {
        return Err(Closed::UnknownGuest { guest: guest.clone() });
    }
    let wanted = |n: &Nic| spec.network.as_ref().is_none_or(|w| name_of(image, n.network) == *w);
    let mut fitting = of_guest.iter().filter(|(_, n)| wanted(n));
    match (fitting.next(), fitting.next(), &spec.network) {
        (Some(one), None, _) => Ok(*one),
        (None, _, network) => Err(Closed::NoSuchNic {
            guest: guest.clone(),
            network: network.clone().unwrap_or_default(),
        }),
        (Some(_), Some(_), _) => Err(Closed::WhichNic {
            guest: guest.clone(),
            networks: of_guest.iter().map(|(_, n)| name_of(image, n.network)).collect(),
        }),
    }
}

/// Name of a network; empty for an id that is none.
pub fn name_of(image: &Image, id: u32) -> String {
    image.network(id).map(|n| n.name.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{spec::Gate, testing};

    fn tap(name: &str, guest: Option<&str>, network: Option<&str>) -> PortSpec {
        PortSpec {
            name: name.into(),
            kind: PortKind::Tap { queues: 1 },
            guest: guest.map(Into::into),
            network: network.map(Into::into),
        }
    }

    fn uplink(name: &str, tagged: &[&str], untagged: Option<&str>) -> PortSpec {
        PortSpec {
            name: name.into(),
            kind: PortKind::Uplink {
                tagged: tagged.iter().map(|t| (*t).into()).collect(),
                untagged: untagged.map(Into::into),
                xdp: Gate::Auto,
            },
            guest: None,
            network: None,
        }
    }

    fn places(specs: &[PortSpec]) -> Vec<Result<Place, Closed>> {
        let candidates: Vec<_> =
            specs.iter().zip(100..).map(|(spec, ifindex)| Candidate { spec, ifindex }).collect();
        place(&testing::image(), &[Leg { network: 1, ifindex: 90 }], &candidates)
    }

    #[test]
    fn a_guest_is_found_by_name_and_network() {
        let got = places(&[
            tap("a", Some("pc1"), None),
            tap("b", Some("pc1"), None),
            tap("c", Some("nobody"), None),
            tap("d", None, None),
            tap("e", Some("router"), None),
            tap("f", Some("router"), Some("dmz")),
            tap("g", Some("router"), Some("wan")),
        ]);
        assert_eq!(got[0], Ok(Place::Nic(0)));
        assert_eq!(got[1], Err(Closed::NicTaken { port: "a".into() }));
        assert_eq!(got[2], Err(Closed::UnknownGuest { guest: "nobody".into() }));
        assert_eq!(got[3], Err(Closed::NoGuest));
        assert!(matches!(&got[4], Err(Closed::WhichNic { networks, .. }) if networks.len() == 2));
        assert_eq!(got[5], Ok(Place::Nic(3)));
        assert!(matches!(&got[6], Err(Closed::NoSuchNic { network, .. }) if network == "wan"));
    }

    #[test]
    fn a_network_has_one_uplink() {
        let got = places(&[
            uplink("u0", &["lan", "dmz"], Some("wan")),
            uplink("u1", &[], Some("wan")),
            uplink("u2", &["nix"], None),
            uplink("u3", &[], None),
        ]);
        assert_eq!(got[0], Ok(Place::Uplink { tagged: vec![1, 2], untagged: 3 }));
        assert!(matches!(&got[1], Err(Closed::NetworkTaken { port, .. }) if port == "u0"));
        assert!(matches!(&got[2], Err(Closed::UnknownNetwork { .. })));
        assert_eq!(got[3], Err(Closed::NoNetwork));
        let twice = places(&[uplink("u0", &["wan"], Some("wan")), uplink("u1", &["wan"], None)]);
        assert!(matches!(&twice[0], Err(Closed::NetworkTaken { port, .. }) if port == "u0"));
        assert!(twice[1].is_ok());
    }

    #[test]
    fn interface_indexes_must_not_collide() {
        let (a, b) = (tap("a", Some("pc1"), None), tap("b", Some("pc2"), None));
        let candidates =
            [Candidate { spec: &a, ifindex: 7 }, Candidate { spec: &b, ifindex: 7 + PORTS }];
        let got = place(&testing::image(), &[], &candidates);
        assert_eq!(got[1], Err(Closed::IndexTaken { port: "a".into() }));
        let got = place(&testing::image(), &[Leg { network: 1, ifindex: 7 }], &candidates[..1]);
        assert_eq!(got[0], Err(Closed::IndexTaken { port: "the host's leg of lan".into() }));
    }
}
