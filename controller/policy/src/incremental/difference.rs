//! Where two texts differ.

/// The bytes that differ: all before `start` and all behind the ends are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// First byte that differs.
    pub start: usize,
    /// Byte behind the last one in the old text.
    pub old_end: usize,
    /// Byte behind the last one in the new text.
    pub new_end: usize,
}

impl Difference {
    /// Between two texts; `None` if they are equal.
    pub fn between(old: &str, new: &str) -> Option<Self> {
        let (old, new) = (old.as_bytes(), new.as_bytes());
        let start = common(old, new, |bytes, from, to| &bytes[from..to]);
        if start == old.len() && start == new.len() {
            return None;
        }
        let (old_rest, new_rest) = (&old[start..], &new[start..]);
        let tail = |bytes: &[u8], from: usize, to: usize| bytes.len() - to..bytes.len() - from;
        let end = common(old_rest, new_rest, |bytes, from, to| &bytes[tail(bytes, from, to)]);
        Some(Self { start, old_end: old.len() - end, new_end: new.len() - end })
    }

    /// How far what lies behind the difference moved.
    pub fn shift(&self) -> i64 {
        self.new_end as i64 - self.old_end as i64
    }
}

/// How many bytes two texts have in common from one side; `part` counts from that side.
fn common(a: &[u8], b: &[u8], part: impl Fn(&[u8], usize, usize) -> &[u8]) -> usize {
    const BLOCK: usize = 512;
    let least = a.len().min(b.len());
    let mut same = 0;
    for block in [BLOCK, 16, 1] {
        while same + block <= least && part(a, same, same + block) == part(b, same, same + block) {
            same += block;
        }
    }
    same
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_around_is_equal_and_what_is_inside_is_minimal(
            head in "[ab]{0,40}", old in "[abc]{0,5}", new in "[abc]{0,5}", tail in "[ab]{0,2000}"
        ) {
            let (a, b) = (format!("{head}{old}{tail}"), format!("{head}{new}{tail}"));
            match Difference::between(&a, &b) {
                None => prop_assert_eq!(a, b),
                Some(d) => {
                    prop_assert_eq!(&a[..d.start], &b[..d.start]);
                    prop_assert_eq!(&a[d.old_end..], &b[d.new_end..]);
                    let (old, new) = (&a[d.start..d.old_end], &b[d.start..d.new_end]);
                    prop_assert!(old.is_empty() || new.is_empty() || old[..1] != new[..1]);
                    prop_assert!(!old.is_empty() || !new.is_empty());
                }
            }
        }
    }
}
