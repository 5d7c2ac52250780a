//! What is wrong with a policy, and where: collected, never only the first.

use serde::Serialize;

use crate::{
    problem::Problem,
    source::{Position, Sources, Span},
};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy is taken, but somebody should look.
    Warning,
}

/// A further place that helps to understand a diagnostic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is there.
    pub text: String,
}

/// A change of the text that would mend something. Edits of one diagnostic are alternatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What it does, as advice: "take `any` out of `to`".
    pub title: String,
    /// What it replaces; nothing (an empty span) where it inserts.
    pub span: Span,
    /// What stands there afterwards.
    pub text: String,
}

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What.
    pub problem: Problem,
    /// Where.
    pub span: Span,
    /// Further places.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Vec<String>,
    /// What to do about it, as changes that a program can make; the smallest first.
    pub edits: Vec<Edit>,
}

impl Diagnostic {
    /// A problem at a place.
    pub fn new(problem: Problem, span: Span) -> Self {
        Self { problem, span, labels: Vec::new(), help: Vec::new(), edits: Vec::new() }
    }

    /// Adds a further place.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Adds advice if there is any.
    #[must_use]
    pub fn maybe_help(self, text: Option<impl Into<String>>) -> Self {
        match text {
            Some(text) => self.help(text),
            None => self,
        }
    }

    /// Adds a change that would mend it.
    #[must_use]
    pub fn edit(mut self, edit: Edit) -> Self {
        self.edits.push(edit);
        self
    }

    /// Its stable code, `PC0012`.
    pub fn code(&self) -> &'static str {
        self.problem.code()
    }

    /// Error or warning.
    pub fn severity(&self) -> Severity {
        self.problem.severity()
    }
}

/// All that is wrong with a policy, with the text that it is about.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    sources: Sources,
    items: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Nothing wrong yet.
    pub fn new(sources: &Sources) -> Self {
        Self { sources: sources.clone(), items: Vec::new() }
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.items.push(diagnostic);
    }

    /// Adds one without labels or advice.
    pub fn report(&mut self, problem: Problem, span: Span) {
        self.push(Diagnostic::new(problem, span));
    }

    /// All of them, in the order of the text.
    pub fn items(&self) -> &[Diagnostic] {
        &self.items
    }

    /// The text that they are about.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Is there nothing to say?
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Is the policy refused?
    pub fn has_errors(&self) -> bool {
        self.error_count() > 0
    }

    /// How many of them refuse the policy.
    pub fn error_count(&self) -> usize {
        self.items.iter().filter(|d| d.severity() == Severity::Error).count()
    }

    /// In the order of the text.
    pub(crate) fn sorted(mut self) -> Self {
        self.items.sort_by_key(|d| (d.span, d.code()));
        self
    }

    /// For people: excerpts with the place marked, in rustc's style.
    pub fn render(&self, color: bool) -> String {
        crate::render::render(self, color)
    }

    /// For programs: an array of [`JsonDiagnostic`].
    pub fn to_json(&self) -> Vec<JsonDiagnostic> {
        self.items.iter().map(|d| JsonDiagnostic::new(d, &self.sources)).collect()
    }
}

impl std::fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// A diagnostic as programs get it.
#[derive(Clone, Debug, Serialize)]
pub struct JsonDiagnostic {
    /// Stable code, `PC0012`.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where.
    #[serde(flatten)]
    pub position: Position,
    /// The source line.
    pub excerpt: String,
    /// Further places.
    pub labels: Vec<JsonLabel>,
    /// What to do about it.
    pub help: Vec<String>,
    /// Changes that would mend it: alternatives, the smallest first.
    pub edits: Vec<JsonEdit>,
}

/// A change of the text as programs get it.
#[derive(Clone, Debug, Serialize)]
pub struct JsonEdit {
    /// What it does.
    pub title: String,
    /// Where what it replaces begins.
    #[serde(flatten)]
    pub position: Position,
    /// First byte of what it replaces, from the start of the file.
    pub start: u32,
    /// Byte behind the last; equal to `start` where it inserts.
    pub end: u32,
    /// What stands there afterwards.
    pub text: String,
}

/// A further place as programs get it.
#[derive(Clone, Debug, Serialize)]
pub struct JsonLabel {
    /// What is there.
    pub message: String,
    /// Where.
    #[serde(flatten)]
    pub position: Position,
}

impl JsonDiagnostic {
    fn new(d: &Diagnostic, sources: &Sources) -> Self {
        let label =
            |l: &Label| JsonLabel { message: l.text.clone(), position: sources.position(l.span) };
        Self {
            code: d.code(),
            severity: d.severity(),
            message: d.problem.to_string(),
            position: sources.position(d.span),
            excerpt: sources.excerpt(d.span).0.to_owned(),
            labels: d.labels.iter().map(label).collect(),
            help: d.help.clone(),
            edits: d.edits.iter().map(|e| JsonEdit::new(e, sources)).collect(),
        }
    }
}

impl JsonEdit {
    /// With positions for people.
    pub(crate) fn new(edit: &Edit, sources: &Sources) -> Self {
        Self {
            title: edit.title.clone(),
            position: sources.position(edit.span),
            start: edit.span.start,
            end: edit.span.end,
            text: edit.text.clone(),
        }
    }
}
