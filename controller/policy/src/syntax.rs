//! What is wrong with text that is not YAML, in words for people who do not know its grammar.

use crate::{
    diagnostic::Diagnostic,
    problem::Problem,
    source::{Sources, Span},
};

/// The parser's message at its place, with what to look for.
pub fn refused(message: String, span: Span, sources: &Sources) -> Diagnostic {
    let (line, at) = sources.excerpt(span);
    let help = hint(line, at.start, &message);
    Diagnostic::new(Problem::Syntax { message }, span).maybe_help(help)
}

fn hint(line: &str, at: usize, message: &str) -> Option<&'static str> {
    let before = line.get(..at).unwrap_or(line);
    let word = line.trim_start().trim_start_matches("- ");
    if line.contains('\t') {
        return Some("indent and separate with spaces: YAML takes no tabs here");
    }
    if word.starts_with('*')
        || before.trim_end().ends_with([':', ',', '[']) && line[at..].starts_with('*')
    {
        return Some("a word that begins with `*` stands in quotes");
    }
    if line[at..].starts_with(['@', '`', '%']) {
        return Some("a word that begins with `@`, `` ` `` or `%` stands in quotes");
    }
    let quotes = |quote: char| line.matches(quote).count() % 2 == 1;
    if quotes('"') || quotes('\'') {
        return Some("a quote is opened and not closed, or the other way round");
    }
    let open = |c: char| line.matches(c).count();
    if open('{') != open('}') || open('[') != open(']') || message.contains("flow") {
        return Some(
            "every `{` and `[` needs its `}` and `]`; between entries stands a comma; a text with \
             `: ` in it stands in quotes",
        );
    }
    Some(
        "entries of one mapping stand in the same column, with `key: value` and a space behind the colon",
    )
}
