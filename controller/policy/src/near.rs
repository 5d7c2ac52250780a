//! Near misses: what somebody may have meant.

use crate::diagnostic::{Diagnostic, Edit};

/// "did you mean", if one of `known` is near `got`.
pub fn did_you_mean<'a>(got: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest(got, known).map(|name| format!("did you mean `{name}`?"))
}

impl Diagnostic {
    /// "did you mean", as a change of the text, if somebody knows what was meant.
    #[must_use]
    pub fn meant(self, what: Option<&str>) -> Self {
        let Some(what) = what else { return self };
        let title = format!("did you mean `{what}`?");
        let edit = Edit { title, span: self.span, text: what.to_owned() };
        self.edit(edit)
    }
}

/// The nearest of `known`, if it is near enough that the difference is likely a slip.
pub fn nearest<'a>(got: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let folded = got.to_lowercase();
    let slips = (got.chars().count() / 3).clamp(1, 3);
    known
        .map(|name| {
            let other = name.to_lowercase();
            let distance = strsim::damerau_levenshtein(&folded, &other);
            // Of two that are as near, people rarely get the first letter or the length wrong.
            let longer = folded.len().abs_diff(other.len());
            (distance, folded.chars().next() != other.chars().next(), longer, name)
        })
        .filter(|&(distance, ..)| distance <= slips)
        .min()
        .map(|(.., name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        let known = ["networks", "guests", "rules", "web1"];
        let near = |got| nearest(got, known.into_iter());
        assert_eq!(near("netwroks"), Some("networks"));
        assert_eq!(near("Guests"), Some("guests"));
        assert_eq!(near("web"), Some("web1"));
        assert_eq!(near("invariants"), None);
        assert_eq!(nearest("form", ["for", "from"].into_iter()), Some("from"));
    }
}
