//! Names that the policy's language takes, made of names that other formats take.

use std::collections::HashSet;

/// Longest name of the language.
const NAME_MAX: usize = 63;
/// Names that mean something already.
const RESERVED: [&str; 4] = ["any", "host", "world", "auto"];

/// Gives names out, each once.
#[derive(Default)]
pub struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// A free name near this one; `kind` stands before it where it has to.
    pub fn take(&mut self, wanted: &str, kind: &str) -> String {
        let clean = clean(wanted, kind);
        let prefixed = clean_into(&format!("{kind}-{clean}"));
        self.first_free([clean, prefixed])
    }

    /// A free name near this one, with a number behind it where it has to.
    pub fn take_numbered(&mut self, wanted: &str, kind: &str) -> String {
        self.first_free([clean(wanted, kind)])
    }

    fn first_free<const N: usize>(&mut self, wanted: [String; N]) -> String {
        let clean = wanted[0].clone();
        let stem = &clean[..clean.len().min(NAME_MAX - 11)];
        let numbered = (2u32..).map(|n| format!("{stem}-{n}"));
        let is_free = |n: &String| !RESERVED.contains(&n.as_str()) && !self.taken.contains(n);
        // There are more numbers than names.
        let free = wanted.into_iter().chain(numbered).find(is_free);
        let name = free.unwrap_or_else(|| clean.clone());
        self.taken.insert(name.clone());
        name
    }
}

/// Only characters that names have, and a letter first.
fn clean(wanted: &str, kind: &str) -> String {
    let clean = clean_into(wanted);
    match clean.bytes().next() {
        Some(first) if first.is_ascii_alphabetic() => clean,
        Some(_) => clean_into(&format!("{kind}-{clean}")),
        None => kind.to_owned(),
    }
}

fn clean_into(wanted: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let text: String = wanted.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let text = text.trim_matches(['-', '.']);
    text.chars().take(NAME_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_are_taken_once() {
        let mut names = Names::default();
        assert_eq!(names.take("web 1", "guest"), "web-1");
        assert_eq!(names.take("web-1", "guest"), "guest-web-1");
        assert_eq!(names.take("web-1", "guest"), "web-1-2");
        assert_eq!(names.take("101", "guest"), "guest-101");
        assert_eq!(names.take("host", "set"), "set-host");
        assert_eq!(names.take("ä", "set"), "set");
        let long = "x".repeat(200);
        assert!((0..20).all(|_| names.take(&long, "set").len() <= NAME_MAX));
    }
}
