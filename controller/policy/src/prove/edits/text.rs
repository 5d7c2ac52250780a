//! Changes of the policy's text: taking an element out of a list, adding one, setting a key.
//!
//! The text is parsed again for this, so that block and flow style, comments and the order of
//! everything else stay as they are.

use std::collections::HashMap;

use crate::{
    diagnostic::{Diagnostics, Edit},
    source::{Sources, Span},
    yaml::{self, Node, Value},
};

/// The files of a policy, each parsed when it is first needed.
pub struct Text {
    sources: Sources,
    trees: HashMap<u32, Option<Node>>,
}

/// An element of a list: the list, and where the element stands in it.
struct Item<'n> {
    items: &'n [Node],
    at: usize,
    flow: bool,
}

impl Text {
    pub fn new(sources: &Sources) -> Self {
        Self { sources: sources.clone(), trees: HashMap::new() }
    }

    /// What stands there.
    pub fn slice(&self, span: Span) -> &str {
        let text = self.sources.file(span).text();
        text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// The text with a change made.
    pub fn apply(&self, edit: &Edit) -> Sources {
        let file = edit.span.file as usize;
        Sources::new(self.sources.files().iter().enumerate().map(|(i, f)| {
            let mut text = f.text().to_owned();
            if i == file {
                text.replace_range(edit.span.start as usize..edit.span.end as usize, &edit.text);
            }
            (f.name().to_owned(), text)
        }))
    }

    /// Without one element of a list. `None` where that cannot be written.
    pub fn remove(&mut self, span: Span, title: String) -> Option<Edit> {
        let sources = self.sources.clone();
        let text = sources.file(span).text();
        let Item { items, at, flow } = self.item(span)?;
        let (start, end) = match flow {
            true if items.len() == 1 => (span.start, span.end),
            true if at + 1 < items.len() => (span.start, items[at + 1].span.start),
            true => (items[at - 1].span.end, span.end),
            false => {
                dash_indent(text, span)?;
                let end = line_end(text, span.end) + 1;
                (line_start(text, span.start), end.min(text.len() as u32))
            }
        };
        Some(Edit { title, span: Span { start, end, ..span }, text: String::new() })
    }

    /// With a new element before (or behind) one of a list.
    pub fn insert(&mut self, beside: Span, behind: bool, new: &str, title: String) -> Option<Edit> {
        let flow = self.item(beside)?.flow;
        let text = self.sources.file(beside).text();
        let (at, new) = match (flow, behind) {
            (true, false) => (beside.start, format!("{new}, ")),
            (true, true) => (beside.end, format!(", {new}")),
            (false, false) => {
                let indent = dash_indent(text, beside)?;
                (line_start(text, beside.start), format!("{indent}- {new}\n"))
            }
            (false, true) => {
                let indent = dash_indent(text, beside)?;
                (line_end(text, beside.end), format!("\n{indent}- {new}"))
            }
        };
        Some(Edit { title, span: Span { start: at, end: at, ..beside }, text: new })
    }

    /// With one more element in a list that may be a single value so far.
    pub fn extend(&mut self, last: Span, new: &str, title: String) -> Option<Edit> {
        if self.item(last).is_some() {
            return self.insert(last, true, new, title);
        }
        let text = format!("[{}, {new}]", self.slice(last));
        (!text.contains('\n')).then_some(Edit { title, span: last, text })
    }

    /// The span of the whole list that these elements are, or of the single one; only where it
    /// can be written anew in one line.
    pub fn whole(&mut self, elements: &[Span]) -> Option<Span> {
        let (&first, &last) = (elements.first()?, elements.last()?);
        let Some(item) = self.item(first) else { return Some(first) };
        if !item.flow {
            return None;
        }
        let text = self.sources.file(first).text();
        let open = text.get(..first.start as usize)?.rfind('[')?;
        let close = text.get(last.end as usize..)?.find(']')? + last.end as usize + 1;
        Some(Span { start: open as u32, end: close as u32, ..first })
    }

    /// With a key of the mapping that stands under `owner` set.
    pub fn set_key(&mut self, owner: Span, key: &str, value: &str, title: String) -> Option<Edit> {
        let sources = self.sources.clone();
        let text = sources.file(owner).text();
        let node = value_of(self.tree(owner.file)?, owner)?;
        let Value::Map(entries) = &node.value else { return None };
        if let Some((_, old)) = entries.iter().find(|(k, _)| k.text == key) {
            return Some(Edit { title, span: old.span, text: value.to_owned() });
        }
        let first = entries.first()?.0.span;
        let at = Span { end: first.start, ..first };
        if text.get(node.span.start as usize..)?.starts_with('{') {
            return Some(Edit { title, span: at, text: format!("{key}: {value}, ") });
        }
        let start = line_start(text, first.start) as usize;
        let indent = text.get(start..first.start as usize)?;
        let text = format!("{key}: {value}\n{indent}");
        indent.trim().is_empty().then_some(Edit { title, span: at, text })
    }

    /// With a section at the end of the first file.
    pub fn section(&self, name: &str, item: &str, title: String) -> Option<Edit> {
        let text = self.sources.files().first()?.text();
        let end = text.len() as u32;
        let gap = if text.ends_with('\n') { "" } else { "\n" };
        let span = Span { file: 0, start: end, end };
        Some(Edit { title, span, text: format!("{gap}{name}:\n  - {item}\n") })
    }

    /// Two changes of one file as one, the first one before the second.
    pub fn join(&self, first: Edit, second: &Edit, title: String) -> Option<Edit> {
        let (a, b) = (first.span, second.span);
        if a.file != b.file || a.end > b.start {
            return None;
        }
        let between = self.slice(Span { start: a.end, end: b.start, ..a });
        let text = format!("{}{between}{}", first.text, second.text);
        Some(Edit { title, span: Span { end: b.end, ..a }, text })
    }

    fn tree(&mut self, file: u32) -> Option<&Node> {
        let sources = &self.sources;
        let parse = || yaml::parse(sources, file, &mut Diagnostics::new(sources));
        self.trees.entry(file).or_insert_with(parse).as_ref()
    }

    fn item(&mut self, span: Span) -> Option<Item<'_>> {
        let sources = self.sources.clone();
        let (list, at) = list_with(self.tree(span.file)?, span)?;
        let Value::List(items) = &list.value else { return None };
        let text = sources.file(span).text();
        let flow = text.get(list.span.start as usize..)?.starts_with('[');
        Some(Item { items, at, flow })
    }
}

/// The list of which an element stands exactly there.
fn list_with(node: &Node, span: Span) -> Option<(&Node, usize)> {
    match &node.value {
        Value::List(items) => match items.iter().position(|i| i.span == span) {
            Some(at) => Some((node, at)),
            None => list_with(around(items.iter(), span)?, span),
        },
        Value::Map(entries) => list_with(around(entries.iter().map(|(_, n)| n), span)?, span),
        _ => None,
    }
}

/// The value under the key that stands exactly there.
fn value_of(node: &Node, key: Span) -> Option<&Node> {
    match &node.value {
        Value::List(items) => value_of(around(items.iter(), key)?, key),
        Value::Map(entries) => match entries.iter().find(|(k, _)| k.span == key) {
            Some((_, value)) => Some(value),
            None => value_of(around(entries.iter().map(|(_, n)| n), key)?, key),
        },
        _ => None,
    }
}

/// The node that a place lies in: the last one that does not begin behind it.
fn around<'n>(mut nodes: impl Iterator<Item = &'n Node>, span: Span) -> Option<&'n Node> {
    nodes.find(|n| n.span.start <= span.start && span.end <= n.span.end)
}

/// What stands before the dash of a block list's element, if nothing but white space does.
fn dash_indent(text: &str, item: Span) -> Option<&str> {
    let before = text.get(line_start(text, item.start) as usize..item.start as usize)?;
    let indent = before.trim_end().strip_suffix('-')?;
    indent.trim().is_empty().then_some(indent)
}

fn line_start(text: &str, at: u32) -> u32 {
    text[..at as usize].rfind('\n').map_or(0, |i| i as u32 + 1)
}

/// The line break behind a place, or the end of the text.
fn line_end(text: &str, at: u32) -> u32 {
    text[at as usize..].find('\n').map_or(text.len() as u32, |i| at + i as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "\
networks:
  a: { vlan: 1 }
  b:
    vlan: 2
rules:
  # about flow
  - { name: x, from: [p, q, r], to: s }
  - name: y
    from:
      - p
      - q # last
";

    /// The place of `what` behind `before`.
    fn span(before: &str, what: &str) -> Span {
        let start = POLICY.find(&format!("{before}{what}")).expect("there") + before.len();
        Span { file: 0, start: start as u32, end: (start + what.len()) as u32 }
    }

    /// The policy after an edit, if it is the policy with `old` replaced by `new`.
    fn changes(edit: impl FnOnce(&mut Text) -> Option<Edit>, old: &str, new: &str) {
        let mut text = Text::new(&Sources::new([("a.yaml", POLICY)]));
        let edit = edit(&mut text).expect("an edit");
        assert_eq!(text.apply(&edit).files()[0].text(), POLICY.replacen(old, new, 1));
    }

    fn title() -> String {
        "it".into()
    }

    #[test]
    fn elements_leave_lists_of_both_styles() {
        changes(|t| t.remove(span("from: [", "p"), title()), "p, q, r", "q, r");
        changes(|t| t.remove(span("p, ", "q"), title()), "p, q, r", "p, r");
        changes(|t| t.remove(span("q, ", "r"), title()), "p, q, r", "p, q");
        changes(|t| t.remove(span("- p\n      - ", "q"), title()), "      - q # last\n", "");
        let rule = "{ name: x, from: [p, q, r], to: s }";
        changes(|t| t.remove(span("- ", rule), title()), &format!("  - {rule}\n"), "");
    }

    #[test]
    fn elements_join_lists_of_both_styles_and_single_values() {
        changes(|t| t.extend(span("q, ", "r"), "new", title()), "q, r", "q, r, new");
        changes(|t| t.extend(span("to: ", "s"), "new", title()), "to: s", "to: [s, new]");
        let last = "- q # last";
        let longer = "- q # last\n      - new";
        changes(|t| t.extend(span("- p\n      - ", "q"), "new", title()), last, longer);
    }

    #[test]
    fn keys_are_set_in_mappings_of_both_styles() {
        let set = |t: &mut Text, name, key| t.set_key(span("\n  ", name), key, "true", title());
        changes(|t| set(t, "a", "g"), "{ vlan: 1", "{ g: true, vlan: 1");
        changes(|t| set(t, "a", "vlan"), "vlan: 1", "vlan: true");
        changes(|t| set(t, "b", "g"), "    vlan: 2", "    g: true\n    vlan: 2");
    }

    #[test]
    fn a_list_is_found_as_a_whole() {
        let mut text = Text::new(&Sources::new([("a.yaml", POLICY)]));
        let all = [span("from: [", "p"), span("p, ", "q"), span("q, ", "r")];
        assert_eq!(text.whole(&all), Some(span("from: ", "[p, q, r]")));
        assert_eq!(text.whole(&[span("to: ", "s")]), Some(span("to: ", "s")));
        assert_eq!(text.whole(&[span("      - ", "p")]), None);
    }
}
