//! YAML text to a tree in which every node knows its place.
//!
//! The subset that a policy needs: mappings with scalar keys, lists, scalars. Anchors, aliases,
//! merge keys, tags and several documents in one file are refused with their place: a rule that
//! stands in two places has no one line that could be shown for it.

use std::{collections::HashMap, ops::Range};

use granit_parser::{Event, Parser, ScalarStyle};

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    problem::Problem,
    source::{Sources, Span},
    syntax,
};

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    pub span: Span,
    pub value: Value,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Something that was refused and reported: whoever reads it says nothing more.
    Refused,
    /// A scalar, as written, unescaped. Types are the reader's business.
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A mapping's key.
#[derive(Clone, Debug)]
pub struct Key {
    pub span: Span,
    pub text: String,
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Refused => "refused",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Parses one file. `None`: it is empty, or its syntax is broken (then that was reported).
pub fn parse(sources: &Sources, file: u32, diags: &mut Diagnostics) -> Option<Node> {
    lines(sources, file, 0..sources.files()[file as usize].text().len(), diags)
}

/// Parses some lines of a file as if they were all.
pub fn lines(
    sources: &Sources,
    file: u32,
    range: Range<usize>,
    diags: &mut Diagnostics,
) -> Option<Node> {
    let text = sources.files()[file as usize].text().get(range.clone())?;
    let base = range.start as u32;
    let mut builder = Builder { diags, stack: Vec::new(), root: None, documents: 0 };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((Event::StreamEnd, _)) => break,
            Ok((event, span)) => builder.event(event, bytes(text, file, base, &span)),
            Err(error) => {
                let at = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
                let at = base + at as u32;
                let span = Span { file, start: at, end: at };
                builder.diags.push(syntax::refused(error.info(), span, sources));
                return None;
            }
        }
    }
    builder.root
}

/// The parser's span in bytes, without the white space that ends a block's span.
fn bytes(text: &str, file: u32, base: u32, span: &granit_parser::Span) -> Span {
    let range = span.byte_range().unwrap_or(0..0);
    let start = range.start.min(text.len());
    let end = range.end.clamp(start, text.len());
    let end = text.get(start..end).map_or(end, |s| start + s.trim_end().len());
    Span { file, start: base + start as u32, end: base + end as u32 }
}

/// The byte behind the last thing in a list or mapping.
fn last_byte(value: &Value) -> Option<u32> {
    match value {
        Value::List(items) => items.last().map(|node| node.span.end),
        Value::Map(entries) => entries.last().map(|(key, node)| match node.value {
            Value::Null => key.span.end,
            _ => node.span.end,
        }),
        _ => None,
    }
}

/// The entries whose key stood before, each with the first that has it.
fn repeated(entries: &[(Key, Node)]) -> Vec<(usize, usize)> {
    // Nearly all mappings have a handful of keys: looking is cheaper than hashing them.
    if entries.len() <= 8 {
        let before = |i: usize| entries[..i].iter().position(|(k, _)| k.text == entries[i].0.text);
        return (1..entries.len()).filter_map(|i| Some((i, before(i)?))).collect();
    }
    let mut first: HashMap<&str, usize> = HashMap::with_capacity(entries.len());
    let keys = entries.iter().enumerate();
    let known = keys.map(|(i, (key, _))| (i, *first.entry(&key.text).or_insert(i)));
    known.filter(|(i, known)| i != known).collect()
}

/// A list or mapping that is still open.
enum Open {
    List(Span, Vec<Node>),
    Map(Span, Vec<(Key, Node)>, Pending),
}

/// The key whose value comes next.
enum Pending {
    /// The key itself comes next.
    Nothing,
    /// It was refused and reported: its value is dropped.
    Refused,
    Key(Key),
}

struct Builder<'a> {
    diags: &'a mut Diagnostics,
    stack: Vec<Open>,
    root: Option<Node>,
    documents: u32,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) {
        if event.anchor_id().is_some_and(|id| id != 0) && !event.is_alias() {
            self.refuse("anchors (`&name`)", span);
        }
        if event.tag().is_some() {
            self.refuse("tags (`!name`)", span);
        }
        match event {
            Event::DocumentStart(..) => self.document(span),
            Event::Alias(_) => {
                self.refuse("aliases (`*name`)", span);
                self.add(Node { span, value: Value::Refused });
            }
            Event::Scalar(text, style, ..) => self.scalar(text.into_owned(), style, span),
            Event::SequenceStart(..) => {
                self.key_must_be_scalar(span);
                self.stack.push(Open::List(span, Vec::new()));
            }
            Event::MappingStart(..) => {
                self.key_must_be_scalar(span);
                self.stack.push(Open::Map(span, Vec::new(), Pending::Nothing));
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            _ => {}
        }
    }

    fn refuse(&mut self, what: &'static str, span: Span) {
        self.diags.push(
            Diagnostic::new(Problem::UnsupportedYaml { what }, span)
                .help("write the value out where it is used, or name it as a set or service"),
        );
    }

    fn document(&mut self, span: Span) {
        self.documents += 1;
        if self.documents == 2 {
            let problem = Problem::UnsupportedYaml { what: "several documents in one file" };
            let help = "take the `---` out, or write several files";
            self.diags.push(Diagnostic::new(problem, span).help(help));
        }
    }

    /// A list or mapping where a key is expected: `? [a, b] : c`.
    fn key_must_be_scalar(&mut self, span: Span) {
        if let Some(Open::Map(_, _, Pending::Nothing)) = self.stack.last() {
            self.refuse("lists or mappings as keys", span);
        }
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, span: Span) {
        let plain = matches!(style, ScalarStyle::Plain);
        if let Some(Open::Map(_, _, pending @ Pending::Nothing)) = self.stack.last_mut() {
            if plain && text == "<<" {
                *pending = Pending::Refused;
                self.refuse("merge keys (`<<`)", span);
            } else {
                *pending = Pending::Key(Key { span, text });
            }
            return;
        }
        let null = plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
        self.add(Node { span, value: if null { Value::Null } else { Value::Scalar(text) } });
    }

    fn close(&mut self, end: Span) {
        let (span, value) = match self.stack.pop() {
            Some(Open::List(span, items)) => (span, Value::List(items)),
            Some(Open::Map(span, entries, _)) => (span, Value::Map(self.unique(entries))),
            None => return,
        };
        // A block ends for the parser where the next thing begins, however far below.
        let is_block = end.start == end.end;
        let end = if is_block { last_byte(&value).unwrap_or(span.end) } else { end.end };
        self.add(Node { span: Span { end: end.max(span.end), ..span }, value });
    }

    /// Reports keys that stand twice and keeps the first of each.
    fn unique(&mut self, entries: Vec<(Key, Node)>) -> Vec<(Key, Node)> {
        let again = repeated(&entries);
        for &(i, first) in &again {
            let (key, first) = (&entries[i].0, entries[first].0.span);
            let problem = Problem::DuplicateKey { key: key.text.clone() };
            self.diags.push(Diagnostic::new(problem, key.span).label(first, "first here"));
        }
        if again.is_empty() {
            return entries;
        }
        let twice = |i: usize| again.iter().any(|&(again, _)| again == i);
        entries.into_iter().enumerate().filter(|(i, _)| !twice(*i)).map(|(_, e)| e).collect()
    }

    fn add(&mut self, node: Node) {
        match self.stack.last_mut() {
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, entries, pending)) => {
                match std::mem::replace(pending, Pending::Nothing) {
                    Pending::Key(key) => entries.push((key, node)),
                    // The node was itself a key, and refused as such.
                    Pending::Nothing => *pending = Pending::Refused,
                    Pending::Refused => {}
                }
            }
            None if self.root.is_none() => self.root = Some(node),
            None => {}
        }
    }
}
