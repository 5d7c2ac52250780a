//! A policy, put in force for a set of ports: everything is made ready closed, written whole into
//! the other slot, and opened by one word.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use portcullis_image::Image;
use portcullis_pipeline::{
    addr::Mac,
    layout::{PORTS, PortEntry},
};
use portcullis_ports::{Interfaces, host_leg, name as ifname, tap::Openers};
use zerocopy::FromBytes;

use crate::{
    Switch,
    clock::Moment,
    device::{self, Marks},
    error::{Error, Result},
    gates,
    legs::{self, LegDevice},
    loaded::Loaded,
    maps::name,
    place::table_index,
    slot::{self, Tables},
    spec::PortSpec,
    status::{Closed, Installed, Validation},
    switch::{Port, State, build, mac_of, place_all},
    undo::Made,
    validate::{Wanted, validate},
    writer::{Writer, check_fits},
};

/// A generation that is ready to be written.
struct Next {
    /// What there was when it was begun.
    found: Interfaces,
    image: Arc<Image>,
    host_addrs: Vec<IpAddr>,
    ports: Vec<Port>,
    legs: Vec<(u32, LegDevice)>,
    tables: Arc<Tables>,
}

impl Switch {
    /// Puts a policy in force, for exactly these ports: what is missing is made, what is not asked
    /// for any more is removed. A port that cannot be had is reported closed and stops nobody
    /// else; any other error leaves the old generation in force and nothing half made.
    pub fn install(
        &mut self,
        image: Arc<Image>,
        specs: &[PortSpec],
        host_addrs: &[IpAddr],
    ) -> Result<Installed> {
        self.install_watched(image, specs, host_addrs, &mut |_| {})
    }

    /// As [`Switch::install`]. `written` is told the number of the generation when its tables are
    /// written and before they are read back: a place for somebody who plays a faulty kernel.
    pub fn install_watched(
        &mut self,
        image: Arc<Image>,
        specs: &[PortSpec],
        host_addrs: &[IpAddr],
        written: &mut dyn FnMut(u32),
    ) -> Result<Installed> {
        self.bpffs.require()?;
        check_fits(&image)?;
        check_names(specs)?;
        let before = self.state.generation;
        let mut made = Made::default();
        let ready = self.prepare(image, specs, host_addrs, &mut made);
        let written = ready.and_then(|next| {
            let settled = self.settled(&next)?;
            let validation = self.write(&next, written)?;
            Ok((next, settled, validation))
        });
        let (mut next, settled, validation) = match written {
            Ok(written) => written,
            Err(e) => {
                self.undo(before, &made);
                return Err(e);
            }
        };
        let found = std::mem::take(&mut next.found);
        let kept = self.believe(next);
        if let Err(e) = self.open_all(&settled, Some(before)) {
            self.undo_opened(kept, &settled, &made);
            return Err(e);
        }
        self.set_gates();
        self.banks.free_other(&mut self.maps);
        self.announce_change(&kept.tables);
        let removed = self.remove_unwanted(&found);
        let generation = self.state.generation;
        Ok(Installed { generation, ports: self.port_statuses(), removed, validation })
    }

    /// What is in force is this, from now on; the state of before.
    fn believe(&mut self, next: Next) -> State {
        let Next { image, host_addrs, ports, legs, tables, .. } = next;
        let generation = self.state.generation;
        let next = State { generation, image: Some(image), host_addrs, tables, ports, legs };
        std::mem::replace(&mut self.state, next)
    }

    /// Makes all that a generation needs: legs, ports, tables. Nothing of it is open yet.
    fn prepare(
        &mut self,
        image: Arc<Image>,
        specs: &[PortSpec],
        host_addrs: &[IpAddr],
        made: &mut Made,
    ) -> Result<Next> {
        let found = Interfaces::look()?;
        let legs = self.ready_legs(&image, &found, made)?;
        let mut ports = self.ready_ports(&image, specs, &legs, &found, made)?;
        let known = self.numbers()?;
        place_all(&image, &legs, &mut ports, &known);
        let host_addrs = host_addrs.to_vec();
        let tables = Arc::new(build(&image, &legs, &ports, &host_addrs, &known));
        self.maps.most.check(&tables)?;
        self.retire_others(&known, &tables.subports)?;
        Ok(Next { found, image, host_addrs, ports, legs, tables })
    }

    fn ready_legs(
        &mut self,
        image: &Image,
        found: &Interfaces,
        made: &mut Made,
    ) -> Result<Vec<(u32, LegDevice)>> {
        let all = legs::all_wanted(image);
        let mut ready = Vec::new();
        let mut new = false;
        for (id, wanted) in &all {
            let leg = match legs::find(&wanted.network, &self.alias, found)? {
                Some(leg) => leg,
                None => {
                    let leg = legs::make(wanted, &self.alias)?;
                    made.interfaces.push(leg.port.clone());
                    self.retire(leg.ifindex)?;
                    new = true;
                    leg
                }
            };
            ready.push((*id, leg));
        }
        let looked = if new { Some(Interfaces::look()?) } else { None };
        let now = looked.as_ref().unwrap_or(found);
        for ((_, leg), (_, wanted)) in ready.iter().zip(&all) {
            self.links.attach(&mut self.code.ingress, &leg.port)?;
            host_leg::configure(wanted, now)?;
            host_leg::bring_up(&wanted.network, now)?;
        }
        Ok(ready)
    }

    /// Finds or makes the interfaces, with the program at each. What fails concerns that port
    /// alone, unless it is open now: a fault that passes must not close it.
    fn ready_ports(
        &mut self,
        image: &Image,
        specs: &[PortSpec],
        legs: &[(u32, LegDevice)],
        found: &Interfaces,
        made: &mut Made,
    ) -> Result<Vec<Port>> {
        let subports = self.numbers()?.into_values();
        let mut taken: BTreeSet<u32> =
            legs.iter().map(|(_, l)| l.ifindex).chain(subports).map(table_index).collect();
        let mut ports = Vec::new();
        for spec in specs {
            let mac = mac_of(image, spec);
            let mut own = Made::default();
            let port = match self.ready_port(spec, mac, &taken, found, &mut own) {
                Ok(port) => port,
                Err(e) => {
                    self.unmake(&std::mem::take(&mut own));
                    let place = Err(self.failed(spec, e, Some(self.state.generation))?);
                    Port { spec: spec.clone(), ifindex: 0, mtu: 0, hides_tags: true, place }
                }
            };
            if port.ifindex != 0 {
                taken.insert(table_index(port.ifindex));
            }
            ports.push(port);
            made.append(&mut own);
        }
        Ok(ports)
    }

    /// What an error closes: this port; or nothing, where it is open in generation `before`.
    fn failed(&self, spec: &PortSpec, error: Error, before: Option<u32>) -> Result<Closed> {
        match before {
            Some(before) if self.runs(spec, before) => {
                Err(Error::OpenPort { name: spec.name.clone(), source: Box::new(error) })
            }
            _ => Ok(Closed::Failed { error: error.to_string() }),
        }
    }

    /// Finds or makes the interface of a port, with the program at it: closed.
    pub(crate) fn ready_port(
        &mut self,
        spec: &PortSpec,
        mac: Option<Mac>,
        taken: &BTreeSet<u32>,
        found: &Interfaces,
        made: &mut Made,
    ) -> Result<Port> {
        let openers = self.config.group.map_or(Openers::Owner, Openers::Group);
        let marks = Marks { alias: &self.alias, openers };
        let device = device::ensure(spec, marks, mac, taken, found)?;
        if device.made {
            made.interfaces.push(spec.name.clone());
            self.retire(device.link.index)?;
        } else if !spec.kind.is_ours() && !self.links.ports()?.contains(&spec.name) {
            made.uplinks.push(spec.name.clone());
        }
        self.links.attach(&mut self.code.ingress, &spec.name)?;
        self.serve(spec, device.link.index)?;
        let hides_tags = gates::hides_tags(&self.bpffs, spec)?;
        let (ifindex, mtu) = (device.link.index, device.link.mtu);
        let place = Err(Closed::NoPolicy);
        Ok(Port { spec: spec.clone(), ifindex, mtu, hides_tags, place })
    }

    /// Ports that are open already and stay what they are: their guests are left alone, whatever
    /// they have made of their ends meanwhile.
    fn settled(&self, next: &Next) -> Result<BTreeSet<u32>> {
        let base = (self.state.generation & 1) * PORTS;
        let what = |e: &PortEntry| (e.ifindex, e.kind, e.mac, e.addrs, e.mtu);
        let mut settled = BTreeSet::new();
        for (index, new) in &next.tables.ports {
            let old = self.maps.ports.get(&(base + index), 0);
            let old = old.map_err(Error::map("read", name::PORTS))?;
            let old = PortEntry::read_from_bytes(&old).expect("an entry of that size");
            if what(&old) == what(new) {
                settled.insert(new.ifindex);
            }
        }
        Ok(settled)
    }

    /// Writes the other slot whole, and makes it the one that packets are judged by.
    fn write(&mut self, next: &Next, written: &mut dyn FnMut(u32)) -> Result<Validation> {
        let generation = self.state.generation + 1;
        self.collect_events();
        self.events.name_by(generation, &next.image);
        let counted = &mut self.counted[(generation & 1) as usize];
        let rules = next.image.rules.len() + 1;
        let now = Moment::read(&self.code.clock, &self.maps.settings()?)?;
        let bank = self.banks.settle(&mut self.maps, &next.image.denied)?;
        let mut writer = Writer::new(&mut self.maps, generation);
        writer.zero_rule_hits(*counted)?;
        *counted = rules;
        let rules = slot::rules(&next.image, |unix_s| now.tick_of(unix_s));
        let held = self.loaded.take(generation);
        let wanted = Wanted {
            image: &next.image,
            tables: &next.tables,
            rules: &rules,
            host_addrs: &next.host_addrs,
            generation,
            bank,
        };
        let validation = match self.load(&wanted, held.as_ref(), written) {
            // Somebody else has written there: this time it is read first what the slot holds.
            Err(Error::Differs { .. }) if held.is_some() => self.load(&wanted, None, written),
            other => other,
        };
        let validation = validation?;
        let (image, tables) = (Arc::clone(&next.image), Arc::clone(&next.tables));
        self.loaded.put(generation, Some(Loaded { image, tables, rules }));
        self.past = held;
        self.flip(generation)?;
        self.banks.put_in_force(bank);
        Ok(validation)
    }

    /// Does what the next change would have to do first, and nobody waits for now: zeroes the counters
    /// of the rules of before, and gives their memory back.
    pub fn tidy(&mut self) {
        self.past = None;
        let other = self.state.generation.wrapping_add(1);
        let counted = &mut self.counted[(other & 1) as usize];
        // What cannot be zeroed now, the next change tries again.
        if Writer::new(&mut self.maps, other).zero_rule_hits(*counted).is_ok() {
            *counted = 0;
        }
    }

    /// Writes a slot that holds this, as far as anybody knows, and compares what it holds then.
    fn load(
        &mut self,
        wanted: &Wanted<'_>,
        held: Option<&Loaded>,
        written: &mut dyn FnMut(u32),
    ) -> Result<Validation> {
        let other = self.loaded.of(wanted.generation + 1).map(|other| &*other.tables);
        Writer::new(&mut self.maps, wanted.generation).fill(wanted, held, other)?;
        written(wanted.generation);
        validate(&self.maps, &self.code.probe, wanted)
    }

    /// Brings all open ports up; one that does not come up is closed again. `before`: the
    /// generation in which a port that was open must not be closed by that.
    pub(crate) fn open_all(&mut self, settled: &BTreeSet<u32>, before: Option<u32>) -> Result<()> {
        let Some(image) = self.state.image.clone() else { return Ok(()) };
        let mut failed = false;
        for at in 0..self.state.ports.len() {
            let port = self.state.ports[at].clone();
            if port.place.is_err() || port.numbers().all(|number| settled.contains(&number)) {
                continue;
            }
            if let Err(e) = self.open(&port, &image) {
                self.state.ports[at].place = Err(self.failed(&port.spec, e, before)?);
                failed = true;
            }
        }
        if failed { self.reload() } else { Ok(()) }
    }

    /// Removes interfaces of ours that nothing asks for, and releases such uplinks. They are
    /// closed since the flip; what cannot be removed now is tried again by the next install.
    fn remove_unwanted(&self, found: &Interfaces) -> Vec<String> {
        let mut wanted: BTreeSet<String> =
            self.state.ports.iter().map(|p| p.spec.name.clone()).collect();
        for (_, leg) in &self.state.legs {
            wanted.extend([leg.port.clone(), host_leg::host_name(&leg.network)]);
        }
        let ours = found.all().filter(|link| link.is_ours(&self.alias));
        let mut unwanted: BTreeMap<String, bool> =
            self.links.ports().unwrap_or_default().into_iter().map(|p| (p, false)).collect();
        unwanted.extend(ours.map(|l| (l.name.clone(), true)));
        let mut removed = Vec::new();
        for (port, ours) in unwanted.into_iter().filter(|(p, _)| !wanted.contains(p)) {
            if self.give_back(&port, ours).is_ok() {
                removed.push(port);
            }
        }
        removed
    }
}

/// Names that interfaces can have, each once.
fn check_names(specs: &[PortSpec]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for spec in specs {
        ifname::check(&spec.name)?;
        if !seen.insert(&spec.name) {
            return Err(Error::PortExists { name: spec.name.clone() });
        }
    }
    Ok(())
}
