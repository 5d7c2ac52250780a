//! A table by number, for what is looked up for every frame: ports, networks, who has a MAC. There
//! are few of them, they change with a generation only, and no guest names them, so it is sparse,
//! and mostly the first look finds.

/// Values by number.
pub struct Numbered<V> {
    /// A power of two of them, or none.
    places: Vec<Option<(u64, V)>>,
    count: usize,
}

impl<V> Default for Numbered<V> {
    fn default() -> Self {
        Self { places: Vec::new(), count: 0 }
    }
}

impl<V> Numbered<V> {
    /// Places from where a number belongs on, each once.
    #[inline(always)]
    fn chain(&self, number: u64) -> impl Iterator<Item = usize> + use<V> {
        let mask = self.places.len().wrapping_sub(1);
        // Numbers in a row come apart (Knuth, The Art of Computer Programming, volume 3, section 6.4).
        let home = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize;
        (0..self.places.len()).map(move |step| home.wrapping_add(step) & mask)
    }

    /// What has this number.
    #[inline(always)]
    pub fn get(&self, number: impl Into<u64>) -> Option<&V> {
        let number = number.into();
        for at in self.chain(number) {
            match &self.places[at] {
                Some((own, value)) if *own == number => return Some(value),
                Some(_) => {}
                None => return None,
            }
        }
        None
    }

    /// Gives a number this value; it may have had another one.
    pub fn insert(&mut self, number: impl Into<u64>, value: V) {
        if self.places.len() < 2 * (self.count + 1) {
            let places = (4 * (self.count + 1)).next_power_of_two();
            let fresh = (0..places).map(|_| None).collect();
            let old = std::mem::replace(&mut self.places, fresh);
            self.count = 0;
            old.into_iter().flatten().for_each(|(number, value)| self.put(number, value));
        }
        self.put(number.into(), value);
    }

    /// As [`Numbered::insert`], where there is room.
    fn put(&mut self, number: u64, value: V) {
        let is_its =
            |place: &Option<(u64, V)>| place.as_ref().is_none_or(|(own, _)| *own == number);
        if let Some(at) = self.chain(number).find(|at| is_its(&self.places[*at])) {
            self.count += usize::from(self.places[at].is_none());
            self.places[at] = Some((number, value));
        }
    }
}

impl<N: Into<u64>, V> FromIterator<(N, V)> for Numbered<V> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(all: I) -> Self {
        let mut numbered = Self::default();
        all.into_iter().for_each(|(number, value)| numbered.insert(number, value));
        numbered
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It is the map that it stands for.
        #[test]
        fn it_finds_what_was_put_in_last(
            all in proptest::collection::vec(
                (prop_oneof![0_u64..40, any::<u64>(), (0_u64..40).prop_map(|n| n << 48)], any::<u8>()),
                0..200,
            ),
            others in proptest::collection::vec(any::<u64>(), 0..20),
        ) {
            let expected: HashMap<u64, u8> = all.iter().copied().collect();
            let found: Numbered<u8> = all.iter().copied().collect();
            prop_assert_eq!(found.count, expected.len());
            for number in all.iter().map(|(number, _)| *number).chain(others).chain(0..40) {
                prop_assert_eq!(found.get(number), expected.get(&number));
            }
        }
    }
}
