//! Partition refinement: the coarsest division into classes that every given set respects.

/// Elements 0..n, each in one class.
pub struct Partition {
    class: Vec<u32>,
    sizes: Vec<u32>,
    /// For each class, while one set is applied: how many of its members were seen.
    hits: Vec<u32>,
    /// For each class that is split: the class of the members that were seen.
    split: Vec<u32>,
    /// The classes that the set being applied splits.
    touched: Vec<u32>,
}

impl Partition {
    /// All elements in one class.
    pub fn new(elements: usize) -> Self {
        let sizes = if elements == 0 { vec![] } else { vec![elements as u32] };
        let one = sizes.iter().map(|_| 0).collect::<Vec<_>>();
        Self { class: vec![0; elements], sizes, hits: one.clone(), split: one, touched: Vec::new() }
    }

    /// Tells the members of a set (each listed once) apart from all others.
    pub fn refine(&mut self, members: &[u32]) {
        for &m in members {
            self.hits[self.class[m as usize] as usize] += 1;
        }
        for &m in members {
            let old = self.class[m as usize] as usize;
            if self.hits[old] == 0 || self.hits[old] == self.sizes[old] {
                continue;
            }
            if self.split[old] == 0 {
                self.split[old] = self.sizes.len() as u32;
                self.touched.push(old as u32);
                self.sizes.push(0);
                self.hits.push(0);
                self.split.push(0);
            }
            let new = self.split[old];
            self.class[m as usize] = new;
            self.sizes[new as usize] += 1;
        }
        self.settle(members);
    }

    /// Takes the moved members off their old classes' sizes, and clears the marks.
    fn settle(&mut self, members: &[u32]) {
        for &m in members {
            let class = self.class[m as usize] as usize;
            self.hits[class] = 0;
        }
        for old in self.touched.drain(..) {
            let old = old as usize;
            let new = std::mem::take(&mut self.split[old]) as usize;
            self.hits[old] = 0;
            self.sizes[old] -= self.sizes[new];
        }
    }

    /// How many classes there are.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// The class of each element, numbered by their first elements.
    pub fn classes(&self) -> Vec<u32> {
        let mut number = vec![u32::MAX; self.sizes.len()];
        let mut next = 0;
        let rename = |&old: &u32| {
            let slot = &mut number[old as usize];
            if *slot == u32::MAX {
                *slot = next;
                next += 1;
            }
            *slot
        };
        self.class.iter().map(rename).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn two_elements_share_a_class_iff_no_set_tells_them_apart(
            sets in prop::collection::vec(prop::collection::btree_set(0u32..40, 0..40), 0..12)
        ) {
            let mut partition = Partition::new(40);
            for set in &sets {
                partition.refine(&set.iter().copied().collect::<Vec<_>>());
            }
            let class = partition.classes();
            prop_assert_eq!(class.iter().max().map(|m| *m as usize + 1), Some(partition.len()));
            for a in 0..40u32 {
                for b in 0..40u32 {
                    let apart = sets.iter().any(|s| s.contains(&a) != s.contains(&b));
                    prop_assert_eq!(class[a as usize] != class[b as usize], apart);
                }
            }
        }
    }
}
