//! Names: which are possible, and which one was probably meant.

/// Longest name of an interface, bytes (`IFNAMSIZ` without its end mark).
pub const INTERFACE_MAX: usize = 15;

/// Can an interface have this name? The kernel's own rule (`dev_valid_name`), and nothing that
/// a shell or a log would trip over.
pub fn is_interface(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty()
        && name.len() <= INTERFACE_MAX
        && name != "."
        && name != ".."
        && !name.starts_with('-')
        && name.bytes().all(plain)
}

/// What the tap of a guest's NIC is called, by the NIC's number: the first one like the guest, if
/// that is possible.
pub fn tap_of(guest: &str, number: usize) -> String {
    let suffix = if number == 0 { String::new() } else { format!("-{number}") };
    let fits = |c: &char| c.is_ascii_graphic() && *c != '/' && *c != ':';
    guest.chars().filter(fits).take(INTERFACE_MAX - suffix.len()).collect::<String>() + &suffix
}

/// The candidates that are near to a name, the nearest first, at most three.
pub fn near<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = name.to_lowercase();
    let distance = |c: &str| strsim::damerau_levenshtein(&lower, &c.to_lowercase());
    let far = (name.chars().count() / 3).max(1);
    let mut found: Vec<(usize, &str)> = candidates
        .into_iter()
        .map(|c| (distance(c), c))
        .filter(|&(d, c)| d <= far || (name.len() > 2 && c.contains(name)))
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(3).map(|(_, c)| c).collect()
}

/// "did you mean", or everything there is if that is short; `None` if there is nothing to say.
pub fn suggest<'a>(
    name: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    let near = near(name, candidates.clone());
    if !near.is_empty() {
        return Some(format!("did you mean {}?", near.join(" or ")));
    }
    let mut all: Vec<&str> = candidates.into_iter().collect();
    all.sort_unstable();
    all.dedup();
    let rest = all.len().saturating_sub(8);
    all.truncate(8);
    match (all.is_empty(), rest) {
        (true, _) => None,
        (false, 0) => Some(format!("{what}: {}", all.join(", "))),
        (false, _) => Some(format!("{what}: {} and {rest} more", all.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_are_the_kernels() {
        for good in ["a", "vm1", "tap-web_1.2", "abcdefghijklmno"] {
            assert!(is_interface(good), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "abcdefghijklmnop", "a\n", "a:1", "-x", "ä"] {
            assert!(!is_interface(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_tap_is_called_like_its_guest_as_far_as_names_go() {
        assert_eq!(tap_of("web1", 0), "web1");
        assert_eq!(tap_of("web1", 2), "web1-2");
        assert_eq!(tap_of("a-guest-with-a-long-name", 1), "a-guest-with--1");
    }

    #[test]
    fn a_slip_finds_its_word() {
        let names = ["files", "web1", "pc1", "pc2"];
        assert_eq!(near("file", names), ["files"]);
        assert_eq!(near("wbe1", names), ["web1"]);
        assert_eq!(near("WEB1", names), ["web1"]);
        assert_eq!(near("pc3", names), ["pc1", "pc2"]);
        assert!(near("database", names).is_empty());
    }

    #[test]
    fn without_a_near_name_the_choice_is_shown() {
        assert_eq!(suggest("zzzz", "guests", ["b", "a"]), Some("guests: a, b".into()));
        assert_eq!(suggest("zzzz", "guests", []), None);
        let many: Vec<String> = (0..20).map(|i| format!("guest{i:02}")).collect();
        let text = suggest("zzzz", "guests", many.iter().map(String::as_str)).unwrap();
        assert!(text.ends_with("and 12 more"), "{text}");
    }
}
