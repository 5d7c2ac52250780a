//! Which port stands for what: specs, looked up in an image. Pure.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_image::{Image, Nic};
use portcullis_pipeline::layout::{MEMBERS, PORTS};

use crate::{
    numbers::{self, Numbers},
    spec::{PortKind, PortSpec},
    status::Closed,
};

/// What an open port stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A guest's NIC: index into [`Image::nics`].
    Nic(usize),
    /// Several NICs of a guest by one interface.
    Trunk {
        /// The one whose frames have no tag.
        untagged: Option<usize>,
        /// The others.
        tagged: Vec<Subport>,
    },
    /// The way out of some networks, by id.
    Uplink {
        /// Networks with a tag.
        tagged: Vec<u32>,
        /// Network without one, or 0.
        untagged: u32,
    },
}

/// A tagged NIC of a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subport {
    /// Index into [`Image::nics`].
    pub nic: usize,
    /// Its port's number, see [`portcullis_pipeline::subport`].
    pub number: u32,
}

impl Place {
    /// The guest's NICs (indexes into [`Image::nics`]), each with its port: that of the interface, or
    /// the number of a subport.
    pub fn nics(&self, ifindex: u32) -> impl Iterator<Item = (usize, u32)> + '_ {
        let (bare, tagged): (Option<usize>, &[Subport]) = match self {
            Self::Nic(nic) => (Some(*nic), &[]),
            Self::Trunk { untagged, tagged } => (*untagged, tagged),
            Self::Uplink { .. } => (None, &[]),
        };
        let tagged = tagged.iter().map(|subport| (subport.nic, subport.number));
        bare.map(|nic| (nic, ifindex)).into_iter().chain(tagged)
    }

    /// The ports that the NICs without an interface of their own have.
    fn subports(&self) -> &[Subport] {
        match self {
            Self::Trunk { tagged, .. } => tagged,
            _ => &[],
        }
    }
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

/// Places every port, in order: of two that want the same, the first one gets it. `known`: the
/// numbers that subports have already, and keep.
pub fn place(
    image: &Image,
    legs: &[Leg],
    candidates: &[Candidate<'_>],
    known: &Numbers,
) -> Vec<Result<Place, Closed>> {
    let mut taken = Taken::new(image, legs);
    let mut places: Vec<_> = candidates.iter().map(|c| taken.place(c)).collect();
    let mut used: BTreeSet<u32> = taken.indexes.into_keys().collect();
    used.extend(candidates.iter().map(|c| table_index(c.ifindex)));
    let past = known.values().map(|number| table_index(*number)).collect();
    for keep in [true, false] {
        for (candidate, place) in candidates.iter().zip(&mut places) {
            let Ok(Place::Trunk { tagged, .. }) = place else { continue };
            for subport in tagged.iter_mut().filter(|s| s.number == NO_NUMBER) {
                let key = (candidate.ifindex, vlan_of(image, subport.nic));
                let number =
                    if keep { numbers::of(known, key) } else { numbers::free(&used, &past) };
                // Its place may have become that of an interface meanwhile.
                if let Some(number) = number.filter(|n| used.insert(table_index(*n))) {
                    subport.number = number;
                }
            }
        }
    }
    for place in &mut places {
        let lacks = |place: &Place| place.subports().iter().any(|s| s.number == NO_NUMBER);
        if place.as_ref().is_ok_and(lacks) {
            *place = Err(Closed::NoSubport);
        }
    }
    places
}

/// Of a subport that has none yet: no interface has this index.
const NO_NUMBER: u32 = 0;

/// The VLAN id of a NIC's network.
pub fn vlan_of(image: &Image, nic: usize) -> u16 {
    image.network(image.nics[nic].network).map_or(0, |network| network.vlan)
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
            PortKind::Tap { .. } | PortKind::VhostUser { .. } | PortKind::Veth { .. } => {
                self.guest(c.spec)?
            }
            PortKind::Stranger { bridge } => {
                return Err(Closed::Stranger { bridge: bridge.clone() });
            }
        };
        self.indexes.insert(index, c.spec.name.clone());
        Ok(place)
    }

    fn guest(&mut self, spec: &PortSpec) -> Result<Place, Closed> {
        let (index, nic) = choose_nic(self.image, spec)?;
        if let Some(port) = self.nics.get(&index) {
            return Err(Closed::NicTaken { port: port.clone() });
        }
        let with: Vec<usize> = self.image.together(index).collect();
        for nic in with.iter().map(|index| &self.image.nics[*index]) {
            if self.members.get(&nic.network).is_some_and(|members| *members == MEMBERS) {
                return Err(Closed::NetworkFull { network: name_of(self.image, nic.network) });
            }
        }
        for index in &with {
            *self.members.entry(self.image.nics[*index].network).or_default() += 1;
            self.nics.insert(*index, spec.name.clone());
        }
        if nic.trunk.is_none() {
            return Ok(Place::Nic(index));
        }
        let is_tagged = |index: &usize| self.image.nics[*index].trunk.is_some_and(|t| t.tagged);
        let (tagged, untagged): (Vec<_>, Vec<_>) = with.into_iter().partition(is_tagged);
        let tagged = tagged.into_iter().map(|nic| Subport { nic, number: NO_NUMBER }).collect();
        Ok(Place::Trunk { untagged: untagged.first().copied(), tagged })
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

/// The one NIC that a spec means, or the first of its trunk.
fn choose_nic<'a>(image: &'a Image, spec: &PortSpec) -> Result<(usize, &'a Nic), Closed> {
    let guest = spec.guest.as_ref().ok_or(Closed::NoGuest)?;
    let interfaces = image.interfaces(guest);
    if interfaces.is_empty() {
        return Err(Closed::UnknownGuest { guest: guest.clone() });
    }
    let networks =
        |index: usize| image.together(index).map(|nic| name_of(image, image.nics[nic].network));
    let wanted = |index: &&usize| {
        spec.network.as_ref().is_none_or(|w| networks(**index).any(|name| name == *w))
    };
    let mut fitting = interfaces.iter().filter(wanted);
    match (fitting.next(), fitting.next(), &spec.network) {
        (Some(one), None, _) => Ok((*one, &image.nics[*one])),
        (None, _, network) => Err(Closed::NoSuchNic {
            guest: guest.clone(),
            network: network.clone().unwrap_or_default(),
        }),
        (Some(_), Some(_), _) => Err(Closed::WhichNic {
            guest: guest.clone(),
            networks: interfaces.iter().flat_map(|index| networks(*index)).collect(),
        }),
    }
}

/// Name of a network; empty for an id that is none.
pub fn name_of(image: &Image, id: u32) -> String {
    image.network(id).map(|n| n.name.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use portcullis_image::Trunk;
    use portcullis_pipeline::subport;

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
        let legs = [Leg { network: 1, ifindex: 90 }];
        place(&testing::image(), &legs, &candidates, &Numbers::new())
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
        let known = Numbers::new();
        let got = place(&testing::image(), &[], &candidates, &known);
        assert_eq!(got[1], Err(Closed::IndexTaken { port: "a".into() }));
        let legs = [Leg { network: 1, ifindex: 7 }];
        let got = place(&testing::image(), &legs, &candidates[..1], &known);
        assert_eq!(got[0], Err(Closed::IndexTaken { port: "the host's leg of lan".into() }));
    }

    /// So many guests more in `pc1`'s network, each with a port.
    fn crowd(count: usize) -> (Image, Vec<PortSpec>) {
        let mut image = testing::image();
        let names: Vec<String> = (0..count).map(|n| format!("crowd{n}")).collect();
        let one = image.nics[0].clone();
        let nics = names.iter().map(|name| Nic { guest: name.clone(), ..one.clone() });
        image.nics.extend(nics);
        let specs = names.iter().map(|name| tap(name, Some(name), None));
        (image, specs.collect())
    }

    fn place_crowd(image: &Image, specs: &[PortSpec], first: u32) -> Vec<Result<Place, Closed>> {
        let candidates: Vec<_> =
            specs.iter().zip(first..).map(|(spec, ifindex)| Candidate { spec, ifindex }).collect();
        place(image, &[Leg { network: 1, ifindex: 90 }], &candidates, &Numbers::new())
    }

    #[test]
    fn who_comes_to_a_full_network_is_closed_and_nobody_else() {
        let (image, mut specs) = crowd(MEMBERS);
        specs.push(tap("elsewhere", Some("router"), Some("dmz")));
        let got = place_crowd(&image, &specs, 100);
        let (last, full) = (MEMBERS - 1, Closed::NetworkFull { network: "lan".into() });
        assert!(got[..last].iter().all(Result::is_ok), "the host's leg is a member, too");
        assert_eq!(got[last], Err(full));
        assert_eq!(got[MEMBERS], Ok(Place::Nic(3)));
    }

    #[test]
    fn a_full_table_has_no_subports_and_keeps_its_ports() {
        let image = trunked(true);
        let (a, b) = (tap("a", Some("router"), None), tap("b", Some("pc1"), None));
        let candidates = [Candidate { spec: &a, ifindex: 0 }, Candidate { spec: &b, ifindex: 1 }];
        let legs: Vec<Leg> =
            (2..PORTS).map(|ifindex| Leg { network: 1 + ifindex % 2, ifindex }).collect();
        let got = place(&image, &legs, &candidates, &Numbers::new());
        assert_eq!(got, [Err(Closed::NoSubport), Ok(Place::Nic(0))]);
    }

    /// `router` with both its networks by one interface.
    fn trunked(untagged: bool) -> Image {
        let mut image = testing::image();
        for (nic, tagged) in [(2, !untagged), (3, true)] {
            image.nics[nic].trunk = Some(Trunk { number: 0, tagged });
        }
        image
    }

    #[test]
    fn a_trunk_carries_all_its_nics() {
        let specs = [
            tap("a", Some("router"), None),
            tap("b", Some("router"), Some("dmz")),
            tap("c", Some("pc1"), None),
        ];
        let candidates: Vec<_> =
            specs.iter().zip(100..).map(|(spec, ifindex)| Candidate { spec, ifindex }).collect();
        let last = |n| subport::number(PORTS - n);
        let got = place(&trunked(true), &[], &candidates, &Numbers::new());
        let tagged = vec![Subport { nic: 3, number: last(1) }];
        assert_eq!(got[0], Ok(Place::Trunk { untagged: Some(2), tagged }));
        assert_eq!(got[1], Err(Closed::NicTaken { port: "a".into() }));
        let nics = |place: &Place| place.nics(100).collect::<Vec<_>>();
        assert_eq!(nics(got[0].as_ref().unwrap()), [(2, 100), (3, last(1))]);
        let bare = place(&trunked(false), &[], &candidates[..1], &Numbers::new());
        assert_eq!(nics(bare[0].as_ref().unwrap()), [(2, last(1)), (3, last(2))]);
    }

    #[test]
    fn a_subport_keeps_its_number() {
        let image = trunked(false);
        let (a, b) = (tap("a", Some("router"), None), tap("b", Some("pc1"), None));
        let one = [Candidate { spec: &a, ifindex: 7 }];
        let vlans = [vlan_of(&image, 2), vlan_of(&image, 3)];
        let number = |place: &Result<Place, Closed>, at: usize| {
            place.as_ref().unwrap().nics(7).nth(at).unwrap().1
        };
        let known = Numbers::from([((7, vlans[1]), subport::number(PORTS - 1))]);
        let got = place(&image, &[], &one, &known);
        assert_eq!(number(&got[0], 1), subport::number(PORTS - 1));
        assert_eq!(number(&got[0], 0), subport::number(PORTS - 2));
        // An interface that cannot choose its index takes the place.
        let both = [one[0], Candidate { spec: &b, ifindex: PORTS - 1 }];
        let got = place(&image, &[], &both, &known);
        assert_eq!(got[1], Ok(Place::Nic(0)));
        assert_eq!(
            [0, 1].map(|at| number(&got[0], at)),
            [2, 3].map(|n| subport::number(PORTS - n))
        );
    }
}
