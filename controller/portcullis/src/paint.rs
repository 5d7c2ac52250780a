//! Colours, where they are wanted.

use std::{env, fmt::Display, io::IsTerminal};

use crate::cli::ColorWhen;

/// What a piece of text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Ordinary.
    #[default]
    Plain,
    /// A heading.
    Bold,
    /// Less important.
    Dim,
    /// Fine.
    Good,
    /// Look here.
    Warn,
    /// Not fine.
    Bad,
}

impl Style {
    /// SGR parameters (ECMA-48, section 8.3.117).
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "1;31",
        }
    }
}

/// Paints, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// As the user and the environment want it (<https://no-color.org>).
    pub fn new(when: ColorWhen, out: &impl IsTerminal) -> Self {
        let no_color = env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { on: decide(when, out.is_terminal(), no_color || dumb) }
    }

    /// Without colours.
    pub const fn off() -> Self {
        Self { on: false }
    }

    /// Are colours wanted?
    pub const fn is_on(self) -> bool {
        self.on
    }

    /// A text in a style.
    pub fn paint(self, style: Style, text: impl Display) -> String {
        if !self.on || style == Style::Plain {
            return text.to_string();
        }
        format!("\x1b[{}m{text}\x1b[0m", style.code())
    }
}

const fn decide(when: ColorWhen, terminal: bool, unwanted: bool) -> bool {
    match when {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => terminal && !unwanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        assert!(decide(ColorWhen::Auto, true, false));
        assert!(!decide(ColorWhen::Auto, true, true));
        assert!(!decide(ColorWhen::Auto, false, false));
        assert!(decide(ColorWhen::Always, false, true));
        assert!(!decide(ColorWhen::Never, true, false));
    }

    #[test]
    fn plain_text_stays_plain() {
        assert_eq!(Paint::off().paint(Style::Bad, "x"), "x");
        assert_eq!(Paint { on: true }.paint(Style::Bad, "x"), "\x1b[1;31mx\x1b[0m");
        assert_eq!(Paint { on: true }.paint(Style::Plain, "x"), "x");
    }
}
