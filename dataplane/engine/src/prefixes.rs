//! Longest prefix first: one hash table for each length that is in use.

use hashbrown::HashMap;
use portcullis_pipeline::{addr::Addr, layout::PrefixEntry};

/// Prefixes of one slot.
#[derive(Default)]
pub struct Prefixes {
    /// By descending length.
    lengths: Vec<(u8, HashMap<Addr, PrefixEntry>)>,
}

/// The first `len` bits of an address.
fn mask(addr: Addr, len: u8) -> Addr {
    let bits = u128::from_be_bytes(addr.octets());
    let kept = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
    Addr::v6((bits & kept).to_be_bytes())
}

impl Prefixes {
    /// Adds a prefix (length of the mapped form, 0..=128), or replaces it.
    pub fn insert(&mut self, addr: Addr, len: u8, entry: PrefixEntry) {
        let at = match self.lengths.binary_search_by(|(l, _)| len.cmp(l)) {
            Ok(at) => at,
            Err(at) => {
                self.lengths.insert(at, (len, HashMap::new()));
                at
            }
        };
        self.lengths[at].1.insert(mask(addr, len), entry);
    }

    /// The longest prefix that covers an address.
    pub fn get(&self, addr: Addr) -> Option<&PrefixEntry> {
        self.lengths.iter().find_map(|(len, prefixes)| prefixes.get(&mask(addr, *len)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wins() {
        let mut p = Prefixes::default();
        let entry = |class| PrefixEntry { class, network: 0 };
        p.insert(Addr::v4([10, 0, 0, 0]), 104, entry(1));
        p.insert(Addr::v4([10, 1, 0, 0]), 112, entry(2));
        p.insert(Addr::UNSPECIFIED, 0, entry(3));
        p.insert(Addr::v4([10, 1, 0, 9]), 128, entry(4));
        let class = |a| p.get(Addr::v4(a)).unwrap().class;
        assert_eq!(class([10, 2, 0, 1]), 1);
        assert_eq!(class([10, 1, 0, 8]), 2);
        assert_eq!(class([10, 1, 0, 9]), 4);
        assert_eq!(class([11, 0, 0, 0]), 3);
    }
}
