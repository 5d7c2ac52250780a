//! The policy's text, and places in it.

use std::{ops::Range, sync::Arc};

use serde::Serialize;

/// One policy file: the name that messages show, and its text.
#[derive(Clone, Debug)]
pub struct File {
    name: String,
    text: String,
    /// Byte offset of the first byte of each line.
    lines: Vec<u32>,
}

/// How files are called that hold a list of prefixes and no policy.
pub const LIST_ENDINGS: [&str; 5] = [".txt", ".list", ".zone", ".netset", ".ipset"];

impl File {
    /// Does it hold a list of prefixes, one a line? That is told by its name.
    pub fn is_list(&self) -> bool {
        is_list(&self.name)
    }

    /// The name as the user gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Index of the line (from 0) that holds this byte.
    fn line_of(&self, byte: u32) -> usize {
        self.lines.partition_point(|&start| start <= byte).saturating_sub(1)
    }

    /// Bytes of a line (from 0), without its line break.
    pub(crate) fn line_range(&self, line: usize) -> Range<usize> {
        let start = self.lines[line] as usize;
        let end = self.lines.get(line + 1).map_or(self.text.len(), |&next| next as usize);
        start..start + self.text[start..end].trim_end_matches(['\n', '\r']).len()
    }
}

/// Every file of one policy. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Arc<Vec<File>>,
}

impl Sources {
    /// From (file name, text) pairs, in the order in which the user named them.
    pub fn new<N: Into<String>, T: Into<String>>(files: impl IntoIterator<Item = (N, T)>) -> Self {
        let files = files.into_iter().map(|(name, text)| {
            let text: String = text.into();
            let breaks = text.bytes().enumerate().filter(|&(_, b)| b == b'\n');
            let lines = std::iter::once(0).chain(breaks.map(|(i, _)| i as u32 + 1)).collect();
            File { name: name.into(), text, lines }
        });
        let mut files: Vec<File> = files.collect();
        if files.is_empty() {
            // So that a message about the policy as a whole has a place.
            files.push(File { name: "(no file)".into(), text: String::new(), lines: vec![0] });
        }
        Self { files: Arc::new(files) }
    }

    /// The files, in order.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The file of a span.
    pub fn file(&self, span: Span) -> &File {
        &self.files[span.file as usize]
    }

    /// Where a span begins.
    pub fn position(&self, span: Span) -> Position {
        let file = self.file(span);
        let line = file.line_of(span.start);
        let start = file.lines[line] as usize;
        let column = file.text.get(start..span.start as usize).map_or(0, |s| s.chars().count());
        Position { file: file.name.clone(), line: line as u32 + 1, column: column as u32 + 1 }
    }

    /// The line that a span begins in, and the span's bytes inside it (cut at the line's end,
    /// at least one column wide where the line allows it).
    pub(crate) fn excerpt(&self, span: Span) -> (&str, Range<usize>) {
        let file = self.file(span);
        let line = file.line_range(file.line_of(span.start));
        let text = &file.text[line.clone()];
        let start = (span.start as usize).clamp(line.start, line.end) - line.start;
        let end = (span.end as usize).clamp(line.start + start, line.end) - line.start;
        let end = if end == start { next_char(text, start) } else { end };
        (text, start..end)
    }
}

/// Is a file of this name a list of prefixes?
pub fn is_list(name: &str) -> bool {
    LIST_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The byte behind the character at `at`.
fn next_char(text: &str, at: usize) -> usize {
    at + text[at..].chars().next().map_or(0, char::len_utf8)
}

/// Bytes of one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Index of the file in [`Sources::files`].
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// Byte behind the last.
    pub end: u32,
}

/// Where something stands, for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// File as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_and_lines() {
        let s = Sources::new([("a.yaml", "first\nzwölf x\n")]);
        let at = |start, end| Span { file: 0, start, end };
        assert_eq!(s.position(at(0, 1)).to_string(), "a.yaml:1:1");
        assert_eq!(s.position(at(13, 14)).to_string(), "a.yaml:2:7");
        assert_eq!(s.excerpt(at(13, 14)), ("zwölf x", 7..8));
        assert_eq!(s.position(at(15, 15)).to_string(), "a.yaml:3:1");
        assert_eq!(s.excerpt(at(15, 15)), ("", 0..0));
    }

    #[test]
    fn an_excerpt_stays_in_its_line() {
        let s = Sources::new([("a", "one\r\ntwo\r\n")]);
        assert_eq!(s.excerpt(Span { file: 0, start: 1, end: 9 }), ("one", 1..3));
    }
}
