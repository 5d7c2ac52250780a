//! The lines of the items that a change lies in.
//!
//! An item of a block list can be read again by itself: nothing around it reaches into it, because
//! it begins with a dash at the start of a line and ends where the next line has a dash in the
//! same column, or a key of the file.

use std::ops::Range;

use crate::source::Span;

/// Items of one list that are to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirty {
    /// Which of all items.
    pub items: Range<usize>,
    /// Their lines, in bytes; the first has the dash of the first.
    pub bytes: Range<usize>,
    /// How far the dashes are indented.
    pub indent: usize,
    /// Does another item of the same list follow?
    pub followed: bool,
}

/// The items whose lines a change touches. `spans` are those of all items of one kind, ascending.
/// `None`: the change is not wholly inside such lines.
pub fn dirty(text: &str, file: u32, spans: &[Span], change: Range<usize>) -> Option<Dirty> {
    // A dash stands in front of its item: the next one may begin before the change, too.
    let behind = spans.partition_point(|s| (s.file, s.start as usize) <= (file, change.start));
    let begins = |i: usize| {
        let span = spans.get(i).filter(|s| s.file == file)?;
        dash(text, span.start as usize)
    };
    let before = |i: &usize| begins(*i).is_some_and(|d| d.line <= change.start);
    let first = [behind, behind.wrapping_sub(1)].into_iter().find(before)?;
    let Dash { line, indent } = begins(first)?;
    let mut last = first;
    loop {
        let (end, followed) = item_end(text, spans[last].end as usize, begins(last + 1))?;
        // The line break in front of the end must be outside of the change.
        if change.end < end || end == text.len() {
            let (items, bytes) = (first..last + 1, line..end);
            return Some(Dirty { items, bytes, indent, followed });
        }
        if !followed {
            return None;
        }
        last += 1;
    }
}

/// Could these lines be items of a list whose dashes are indented so far, and nothing else?
pub fn are_items(lines: &str, indent: usize) -> bool {
    let is_dash = |line: &str| {
        let (space, rest) = line.split_at_checked(indent)?;
        let dash = rest.strip_prefix('-')?;
        Some(space.bytes().all(|b| b == b' ') && dash.starts_with([' ', '\r', '\n']))
    };
    let first = lines.split_inclusive('\n').next();
    first.is_none_or(|line| is_dash(line) == Some(true))
        && lines.split_inclusive('\n').all(|line| {
            line.starts_with([' ', '#', '\r', '\n']) || indent == 0 && is_dash(line) == Some(true)
        })
}

/// Where the line of an item begins.
#[derive(Clone, Copy)]
struct Dash {
    line: usize,
    indent: usize,
}

/// The dash in front of an item; `None` if more than white space stands around it.
fn dash(text: &str, item: usize) -> Option<Dash> {
    let line = text[..item].rfind('\n').map_or(0, |at| at + 1);
    let before = text[line..item].trim_end_matches(' ');
    let space = before.strip_suffix('-').filter(|_| before.len() < item - line)?;
    space.bytes().all(|b| b == b' ').then_some(Dash { line, indent: space.len() })
}

/// Where an item's lines end, and whether the next item begins there. `None`: unclear.
fn item_end(text: &str, end: usize, next: Option<Dash>) -> Option<(usize, bool)> {
    let mut at = end;
    loop {
        let Some(length) = text[at..].find('\n') else { return Some((text.len(), false)) };
        at += length + 1;
        match (next, text.as_bytes().get(at)) {
            (Some(next), _) if next.line == at => return Some((at, true)),
            (Some(next), _) if next.line < at => return None,
            (_, None | Some(b' ' | b'\r' | b'\n' | b'#')) => {}
            (_, Some(b'-' | b'\t')) => return None,
            (_, Some(_)) => return Some((at, false)),
        }
        if at == text.len() {
            return Some((at, false));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "rules:\n  - {a: 1}\n  # about b\n  - b: 2\n    c: 3\n\n  - {d: 4}\nnever:\n";

    /// Spans of what stands behind the dashes.
    fn spans() -> Vec<Span> {
        let each = [("{a: 1}", 0), ("b: 2\n    c: 3", 0), ("{d: 4}", 0)];
        let span = |(item, file): (&str, u32)| {
            let start = TEXT.find(item).expect(item);
            Span { file, start: start as u32, end: (start + item.len()) as u32 }
        };
        each.map(span).to_vec()
    }

    /// What is read again when a part of the text changes.
    fn read_again(part: &str) -> Option<(Range<usize>, &'static str)> {
        let start = TEXT.find(part).expect(part);
        let dirty = dirty(TEXT, 0, &spans(), start..start + part.len())?;
        Some((dirty.items, &TEXT[dirty.bytes]))
    }

    #[test]
    fn a_change_is_in_its_items_lines() {
        assert_eq!(read_again("1"), Some((0..1, "  - {a: 1}\n  # about b\n")));
        assert_eq!(read_again("about"), Some((0..1, "  - {a: 1}\n  # about b\n")));
        assert_eq!(read_again("c: "), Some((1..2, "  - b: 2\n    c: 3\n\n")));
        assert_eq!(read_again("  - b"), Some((1..2, "  - b: 2\n    c: 3\n\n")));
        assert_eq!(read_again("4}"), Some((2..3, "  - {d: 4}\n")));
    }

    #[test]
    fn a_change_of_a_line_break_is_in_both_items() {
        let both = "  - {a: 1}\n  # about b\n  - b: 2\n    c: 3\n\n";
        assert_eq!(read_again("b\n"), Some((0..2, both)));
    }

    #[test]
    fn what_is_in_no_item_is_not_found() {
        assert_eq!(read_again("rules"), None);
        assert_eq!(read_again("never"), None);
        assert_eq!(read_again("}\nnever"), None);
    }

    #[test]
    fn lines_of_items() {
        assert!(are_items("  - {a: 1}\n  # b\n\n  - c\n", 2));
        assert!(are_items("", 2) && are_items("- a\n- b\n", 0));
        for bad in ["  # b\n  - a\n", " - a\n", "  -a\n", "  - a\n...\n", "  - a\nb: 1\n", "---\n"]
        {
            assert!(!are_items(bad, 2), "{bad}");
        }
        assert!(!are_items("- a\n--- b\n", 0));
    }
}
