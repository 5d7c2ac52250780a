//! Router advertisements that nobody asked for (RFC 4861, section 6.2.4): hosts ask once, when
//! they come up, and would forget their router in the end. A program sends them out of the ports,
//! driven by BPF_PROG_TEST_RUN.

use std::time::{Duration, Instant};

use aya::programs::{TestRun, TestRunOptions};
use portcullis_pipeline::{
    addr::{Addr, Mac},
    layout::{NoticeEntry, notice},
    subport::is_subport,
    wire::{ethernet, protocol},
};

use crate::{
    Switch,
    error::{Error, Result},
    place::vlan_of,
    slot::Tables,
    validate::context,
};

/// Between two rounds: MaxRtrAdvInterval of RFC 4861, section 6.2.1.
const EVERY: Duration = Duration::from_secs(600);
/// All nodes of a link, and their MAC.
const ALL_NODES: Addr = Addr { hi: 0xff02_0000_0000_0000, lo: 1 };
const ALL_NODES_MAC: Mac = Mac(0x3333_0000_0001);

impl Switch {
    /// Advertises when it is time.
    pub(crate) fn announce_in_time(&mut self) -> Result<()> {
        match self.announced {
            Some(last) if last.elapsed() < EVERY => Ok(()),
            _ => self.announce(),
        }
    }

    /// Advertises at once where the tables say something else than `before`. What fails is done
    /// again, and told, when the daemon looks after things the next time.
    pub(crate) fn announce_change(&mut self, before: &Tables) {
        if !advertised(before).eq(advertised(&self.state.tables)) {
            let _ = self.announce();
        }
    }

    /// Tells every guest about its router. One that cannot hear it now asks when it comes up.
    fn announce(&mut self) -> Result<()> {
        self.announced = None;
        self.announce_everywhere()?;
        self.announced = Some(Instant::now());
        Ok(())
    }

    fn announce_everywhere(&self) -> Result<()> {
        let Some(image) = &self.state.image else { return Ok(()) };
        for port in &self.state.ports {
            let Ok(place) = &port.place else { continue };
            for (nic, number) in place.nics(port.ifindex) {
                let vlan = if is_subport(number) { vlan_of(image, nic) } else { 0 };
                self.announce_to(image.nics[nic].network, number, vlan)?;
            }
        }
        Ok(())
    }

    /// By one port of a network, with this tag where it is not 0.
    fn announce_to(&self, network: u32, port: u32, vlan: u16) -> Result<()> {
        let key = (notice::ADVERTISEMENT, network, 0);
        let Some(entry) = self.state.tables.notices.get(&key) else { return Ok(()) };
        let frame = frame(entry);
        let context = context([port, vlan.into()]);
        let options = TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let sent = self.code.announce.test_run(options);
        sent.map(drop).map_err(Error::program("advertise a router"))
    }
}

/// The advertisements of all networks.
fn advertised(tables: &Tables) -> impl Iterator<Item = (&(u32, u32, u32), &NoticeEntry)> {
    tables.notices.iter().filter(|((kind, ..), _)| *kind == notice::ADVERTISEMENT)
}

/// An advertisement to all nodes.
fn frame(entry: &NoticeEntry) -> Vec<u8> {
    let text = &entry.text.as_flattened()[..entry.len as usize];
    let mut frame = Vec::with_capacity(54 + text.len());
    frame.extend(ALL_NODES_MAC.octets());
    frame.extend(Mac(entry.mac).octets());
    frame.extend(ethernet::IPV6.to_be_bytes());
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((text.len() as u16).to_be_bytes());
    frame.extend([protocol::ICMPV6, 255]);
    frame.extend(entry.server.octets());
    frame.extend(ALL_NODES.octets());
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair[1]);
    let pseudo: u32 = frame[22..54].chunks_exact(2).map(word).sum();
    let mut sum = pseudo + entry.len + u32::from(protocol::ICMPV6) + entry.sum;
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame.extend(text);
    frame[56..58].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        place::Place,
        slot::{OpenPort, build},
        testing,
    };

    #[test]
    fn an_advertisement_is_a_whole_packet() {
        let mut image = testing::image();
        let gateway = Addr { hi: 0xfd00_0010_0000_0000, lo: 1 };
        image.networks[0].gateway.push((gateway, 64));
        image.networks[0].subnets.push((Addr { lo: 0, ..gateway }, 64));
        let port = OpenPort { ifindex: 31, mtu: 1500, place: Place::Nic(0), hides_tags: false };
        let tables = build(&image, &[], &[port], &[]);
        assert_eq!(advertised(&tables).count(), 1);
        let frame = frame(&tables.notices[&(notice::ADVERTISEMENT, 1, 0)]);
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(usize::from(frame[19]), frame.len() - 54);
        // The sum over pseudo header and message is all ones (RFC 1071).
        let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair[1]);
        let mut sum = u32::from(frame[19]) + 58;
        sum += frame[22..].chunks_exact(2).map(word).sum::<u32>();
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        assert_eq!(sum, 0xffff);
    }
}
