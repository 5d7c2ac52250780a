//! What an import has to say: each with a stable code, a place, why, and what to do about it.

pub use portcullis_policy::did_you_mean;
use serde::Serialize;

use crate::program::Place;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Nothing is written.
    Error,
    /// It has no equal here, and what it would have let through is closed.
    Closed,
    /// Said differently here, or by itself; nothing is lost.
    Note,
}

impl Weight {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Closed => "closed",
            Self::Note => "note",
        }
    }
}

/// Declares [`Remark`] with its codes.
macro_rules! remarks {
    ($($(#[doc = $doc:literal])+ $code:literal $weight:ident $text:literal $name:ident { $($field:ident: $ty:ty),* };)*) => {
        /// What there is to say.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[allow(missing_docs, reason = "the fields say what the message of the variant says")]
        pub enum Remark { $($(#[doc = $doc])+ #[error($text)] $name { $($field: $ty),* },)* }

        impl Remark {
            /// Its stable code.
            pub const fn code(&self) -> &'static str {
                match self { $(Self::$name { .. } => $code,)* }
            }

            /// How much it matters.
            pub const fn weight(&self) -> Weight {
                match self { $(Self::$name { .. } => Weight::$weight,)* }
            }

            /// All codes, for the manual and the tests.
            pub const CODES: &'static [&'static str] = &[$($code),*];
        }
    };
}

remarks! {
    /// It cannot be read.
    "PI0001" Error "{what} cannot be read: {why}" Unreadable { what: String, why: String };
    /// A name that nothing has.
    "PI0002" Error "no {what} is called `{name}`" UnknownName { what: &'static str, name: String };
    /// A word that means nothing here.
    "PI0003" Error "`{got}` is not {expected}" BadWord { got: String, expected: &'static str };
    /// Something is not there.
    "PI0004" Error "{what} is missing" Missing { what: String };
    /// Two of one.
    "PI0005" Error "{what} stands here twice" Twice { what: String };
    /// Chains in a circle, too many rules.
    "PI0006" Error "{what}" TooLarge { what: String };
    /// What only the user can know.
    "PI0007" Error "{what} is not said in these files" NotSaid { what: String };
    /// The command line's own.
    "PI0008" Error "`{option} {value}`: {why}" BadOption { option: &'static str, value: String, why: String };
    /// Networks and guests that do not fit together.
    "PI0009" Error "the networks and guests do not fit together: {why}" BadSite { why: String };
    /// What denies, in a place that is not read.
    "PI0010" Error "{what} denies, and that cannot be taken over" DeniesElsewhere { what: String };

    /// An accepting line with a condition that has no equal.
    "PI0101" Closed "{what} has no equal here: what this line accepts stays denied" AcceptLeftOut { what: String };
    /// A denying line with a condition that has no equal.
    "PI0102" Closed "{what} has no equal here: this line denies without it" DenyWidened { what: String };
    /// A jump or return with a condition that has no equal.
    "PI0103" Closed "{what} has no equal here: only what is accepted with and without it is allowed" BranchUnsure { what: String };
    /// A whole line without equal.
    "PI0104" Closed "{what} has no equal here, and is left out" LeftOut { what: String };
    /// A side effect.
    "PI0105" Closed "{what} does not come along: it is not a decision about a connection" NotADecision { what: String };

    /// What the switch does anyway.
    "PI0201" Note "{what}: here by itself" ByItself { what: String };
    /// Said with other words.
    "PI0202" Note "{what}" Differs { what: String };
    /// A line that is switched off.
    "PI0203" Note "a disabled rule is left out" Disabled {};
    /// A line that never decides.
    "PI0204" Note "lines before it decide everything that it matches: left out" NeverReached {};
    /// A log line without a rule of its shape.
    "PI0205" Note "no rule covers just what is logged here; what the default denies is counted by `portcullis status`" NotLogged {};
    /// Something that was chosen for the user.
    "PI0206" Note "{what}" Chosen { what: String };
}

/// One of them, where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub remark: Remark,
    /// Where; nowhere for the command line's own.
    pub place: Option<Place>,
    /// What stands there.
    pub text: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Finding {
    /// A remark about a place.
    pub fn new(remark: Remark, place: &Place, text: impl Into<String>) -> Self {
        Self { remark, place: Some(place.clone()), text: text.into(), help: None }
    }

    /// A remark about no place in a file.
    pub fn anywhere(remark: Remark) -> Self {
        Self { remark, place: None, text: String::new(), help: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Adds advice if there is any.
    #[must_use]
    pub fn maybe_help(self, text: Option<String>) -> Self {
        match text {
            Some(text) => self.help(text),
            None => self,
        }
    }

    /// How much it matters.
    pub fn weight(&self) -> Weight {
        self.remark.weight()
    }

    /// For people, over several lines.
    pub fn render(&self) -> String {
        let mut text =
            format!("{}[{}]: {}\n", self.weight().name(), self.remark.code(), self.remark);
        if let Some(place) = &self.place {
            text += &format!("  --> {place}:{}\n", place.column);
            if !self.text.is_empty() {
                text += &format!("   | {}\n", self.text);
            }
        }
        if let Some(help) = &self.help {
            text += &format!("   = help: {help}\n");
        }
        text
    }

    /// For programs.
    pub fn to_json(&self) -> JsonFinding {
        JsonFinding {
            code: self.remark.code(),
            weight: self.weight(),
            message: self.remark.to_string(),
            place: self.place.clone(),
            text: self.text.clone(),
            help: self.help.clone(),
        }
    }
}

/// A finding as programs get it.
#[derive(Clone, Debug, Serialize)]
pub struct JsonFinding {
    /// Stable code, `PI0101`.
    pub code: &'static str,
    /// How much it matters.
    pub weight: Weight,
    /// What there is to say.
    pub message: String,
    /// Where.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// What stands there.
    pub text: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Those of a source, in the order of the text.
pub fn sort(findings: &mut Vec<Finding>) {
    findings.sort_by(|a, b| {
        let key = |f: &Finding| (f.place.clone(), f.remark.code());
        key(a).cmp(&key(b)).then_with(|| a.remark.to_string().cmp(&b.remark.to_string()))
    });
    findings.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_sorted() {
        assert!(Remark::CODES.is_sorted_by(|a, b| a < b));
    }
}
