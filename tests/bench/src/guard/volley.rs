//! What an attacker throws: frames that never repeat, built once and changed in place.

use crate::frame::{Direction, End, Segment, Template, VNET_HEADER, fold, word_sum};

/// One kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Datagrams from addresses that are not the attacker's.
    Spoof,
    /// Frames from MACs that are not the attacker's, as of macof.
    Macs,
    /// ARP questions about one address after another.
    ArpStorm,
    /// Gratuitous ARP for the victim's address.
    ArpSpoof,
    /// Datagrams to all.
    Broadcast,
    /// New connections that a rule allows, to a guest beside the victim.
    SynFlood,
    /// New connections that no rule allows.
    Scan,
    /// First fragments of datagrams that never become whole.
    Fragments,
    /// Datagrams of one allowed connection to a guest that does not read them.
    Flood,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Spoof,
        Self::Macs,
        Self::ArpStorm,
        Self::ArpSpoof,
        Self::Broadcast,
        Self::SynFlood,
        Self::Scan,
        Self::Fragments,
        Self::Flood,
    ];

    /// Its name in a table.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Spoof => "spoofed addresses",
            Self::Macs => "spoofed MACs",
            Self::ArpStorm => "a storm of ARP questions",
            Self::ArpSpoof => "ARP for the victim's address",
            Self::Broadcast => "a broadcast storm",
            Self::SynFlood => "a flood of SYNs",
            Self::Scan => "a port scan",
            Self::Fragments => "endless fragments",
            Self::Flood => "a flood of allowed datagrams",
        }
    }
}

// Offsets in a frame.
const SOURCE_MAC: usize = 6;
const IPV4: usize = 14;
const ID: usize = IPV4 + 4;
const FRAGMENT: usize = IPV4 + 6;
const CHECKSUM: usize = IPV4 + 10;
const SOURCE: usize = IPV4 + 12;
const TARGET: usize = IPV4 + 16;
const L4: usize = IPV4 + 20;
/// Target protocol address of ARP (RFC 826).
const ARP_TARGET: usize = 38;
const MORE_FRAGMENTS: u8 = 0x20;

/// Who is who in the attack.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// Throws.
    pub attacker: End,
    /// May be reached by the attacker.
    pub target: End,
    /// Is attacked where the attack is on somebody.
    pub victim: End,
}

/// A run of frames.
pub struct Volley {
    attack: Attack,
    bytes: Vec<u8>,
    template: Template,
    thrown: u32,
}

impl Volley {
    /// The frames of an attack.
    pub fn new(attack: Attack, cast: Cast) -> Self {
        let Cast { attacker, target, victim } = cast;
        let template = match attack {
            Attack::SynFlood => Template::tcp(attacker, target, Segment::Syn),
            Attack::Scan => Template::tcp(attacker, victim, Segment::Syn),
            _ => Template::udp(attacker, target, Direction::Forward),
        };
        let bytes = match attack {
            Attack::ArpStorm => arp(attacker, attacker),
            Attack::ArpSpoof => arp(attacker, victim),
            _ => template.with_vnet_header().to_vec(),
        };
        let mut volley = Self { attack, bytes, template, thrown: 0 };
        match attack {
            Attack::Broadcast => {
                volley.put(0, &[0xff; 6]);
                volley.put(TARGET, &[0xff; 4]);
                volley.seal();
            }
            Attack::Fragments => volley.put(FRAGMENT, &[MORE_FRAGMENTS, 0]),
            _ => {}
        }
        volley
    }

    /// The next frame, with its virtio-net header.
    pub fn frame(&mut self) -> &[u8] {
        self.thrown = self.thrown.wrapping_add(1);
        let n = self.thrown;
        let [_, _, high, low] = n.to_be_bytes();
        match self.attack {
            Attack::Spoof => {
                self.put(SOURCE, &[10, 99, high, low]);
                self.seal();
            }
            Attack::Macs => self.put(SOURCE_MAC, &[2, 0, 99, 0, high, low]),
            Attack::ArpStorm => self.put(ARP_TARGET + 2, &[high, low]),
            Attack::Fragments => {
                self.put(ID, &[high, low]);
                self.seal();
            }
            Attack::SynFlood => {
                self.template.set_connection(n);
                return self.template.with_vnet_header();
            }
            Attack::Scan => {
                self.template.set_ports(0x8000 | (n as u16), 1 + n as u16 % 1_024);
                return self.template.with_vnet_header();
            }
            Attack::ArpSpoof | Attack::Broadcast | Attack::Flood => {}
        }
        &self.bytes
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        self.bytes[VNET_HEADER + at..VNET_HEADER + at + value.len()].copy_from_slice(value);
    }

    /// A right checksum of the IPv4 header (RFC 791, section 3.1).
    fn seal(&mut self) {
        self.put(CHECKSUM, &[0, 0]);
        let sum = word_sum(&self.bytes[VNET_HEADER + IPV4..VNET_HEADER + L4]);
        self.put(CHECKSUM, &(!fold(sum)).to_be_bytes());
    }
}

/// An ARP question to all, from `sender`'s MAC, that says that `holder`'s address is there.
fn arp(sender: End, holder: End) -> Vec<u8> {
    let mut frame = vec![0; VNET_HEADER];
    frame.extend([0xff; 6]);
    frame.extend(sender.mac);
    // Ethernet and IPv4, a question.
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(sender.mac);
    frame.extend(holder.ip.octets());
    frame.extend([0; 6]);
    frame.extend(holder.ip.octets());
    frame.resize(VNET_HEADER + 60, 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Ends;

    /// Sender protocol address of ARP (RFC 826).
    const ARP_SENDER: usize = 28;

    fn cast() -> Cast {
        let Ends { client, server } = Ends::switched();
        Cast { attacker: client, target: server, victim: server }
    }

    fn frames(attack: Attack) -> [Vec<u8>; 2] {
        let mut volley = Volley::new(attack, cast());
        [0, 1].map(|_| volley.frame()[VNET_HEADER..].to_vec())
    }

    #[test]
    fn frames_differ_where_the_attack_says_so() {
        for attack in Attack::ALL {
            let [first, second] = frames(attack);
            let same = matches!(attack, Attack::ArpSpoof | Attack::Broadcast | Attack::Flood);
            assert_eq!(first == second, same, "{attack:?}");
        }
    }

    #[test]
    fn every_ipv4_header_has_a_right_checksum() {
        for attack in Attack::ALL {
            for frame in frames(attack).iter().filter(|f| f[12..14] == [8, 0]) {
                assert_eq!(fold(word_sum(&frame[IPV4..L4])), 0xffff, "{attack:?}");
            }
        }
    }

    #[test]
    fn arp_names_the_sender_it_claims() {
        let [storm, _] = frames(Attack::ArpStorm);
        assert_eq!(storm[ARP_SENDER..ARP_SENDER + 4], cast().attacker.ip.octets());
        let [spoof, _] = frames(Attack::ArpSpoof);
        assert_eq!(spoof[ARP_SENDER..ARP_SENDER + 4], cast().victim.ip.octets());
        assert_eq!(spoof[ARP_TARGET..ARP_TARGET + 4], cast().victim.ip.octets());
    }
}
