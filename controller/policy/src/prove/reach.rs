//! Could any packet be what a rule speaks about?

use std::{cell::OnceCell, collections::HashMap};

use super::{
    machines::{self, Machine, Machines, Place, family},
    routes, search,
};
use crate::Compiled;

/// What is possible between two lists of endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Some packet is.
    Possible,
    /// One of the lists is empty.
    Nobody,
    /// No address family in common.
    Family,
    /// The services belong to another family than the addresses.
    Service,
    /// Nothing is routed there: this network has no gateway.
    NoWay {
        /// Its index.
        network: usize,
    },
}

/// Answers for lists, each looked at once.
pub struct Reaches<'a> {
    compiled: &'a Compiled,
    machines: Vec<Machines>,
    services: Vec<u8>,
    /// By list.
    places: Vec<OnceCell<Vec<Machine>>>,
}

impl<'a> Reaches<'a> {
    pub fn new(compiled: &'a Compiled) -> Self {
        let (machines, _) = machines::by_class(compiled);
        let services = search::families(compiled);
        let places = compiled.build.classes.lists().iter().map(|_| OnceCell::new()).collect();
        Self { compiled, machines, services, places }
    }

    /// Between the endpoints of two lists, for the services of a third.
    pub fn of(&self, from: u32, to: u32, services: u32) -> Reach {
        let classes = self.compiled.build.services.of_list(services);
        let families = classes.iter().fold(0, |all, &s| all | self.services[s as usize]);
        match self.by_place(from, to, families) {
            Reach::Family | Reach::Service if self.meet(from, to, families) => Reach::Possible,
            reach => reach,
        }
    }

    /// As far as declared addresses and networks go.
    fn by_place(&self, from: u32, to: u32, families: u8) -> Reach {
        let (from, to) = (self.places(from), self.places(to));
        if from.is_empty() || to.is_empty() {
            return Reach::Nobody;
        }
        let pairs = || from.iter().flat_map(|a| to.iter().map(move |b| (a, b)));
        if pairs().all(|(a, b)| a.v6 != b.v6) {
            return Reach::Family;
        }
        let fits = |m: &Machine| families & if m.v6 { family::V6 } else { family::V4 } != 0;
        let mut no_way = None;
        for (a, b) in pairs().filter(|(a, b)| a.v6 == b.v6 && fits(a)) {
            match routes::missing_gateway(&self.compiled.model, a, b) {
                None => return Reach::Possible,
                Some(network) => no_way = Some(network),
            }
        }
        no_way.map_or(Reach::Service, |network| Reach::NoWay { network })
    }

    /// By link-local addresses too.
    fn meet(&self, from: u32, to: u32, families: u8) -> bool {
        let list = |l| self.compiled.build.classes.of_list(l).iter().map(|&c| c as usize);
        list(from).any(|src| {
            list(to).any(|dst| {
                let (a, b) = (&self.machines[src], &self.machines[dst]);
                a.meet(b, families, &self.compiled.model, |_, _| true).is_some()
            })
        })
    }

    /// Where the machines of a list are, once for each place and family.
    fn places(&self, list: u32) -> &[Machine] {
        self.places[list as usize].get_or_init(|| {
            let mut places: HashMap<(Place, bool), Machine> = HashMap::new();
            for &class in self.compiled.build.classes.of_list(list) {
                for machine in self.machines[class as usize].anywhere() {
                    places.entry((machine.place, machine.v6)).or_insert(*machine);
                }
            }
            let mut places: Vec<Machine> = places.into_values().collect();
            places.sort_unstable_by_key(|m| (m.place, m.v6));
            places
        })
    }
}
