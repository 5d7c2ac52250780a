//! Diagnostics for people, in rustc's style.

use std::collections::BTreeMap;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity},
    source::{Sources, Span},
};

/// Diagnostics of one code that are written out; the rest of them is counted. Nobody reads the
/// same sentence a thousand times, and what is different must not drown in it.
const SHOWN: usize = 20;

/// All diagnostics, each with its excerpts, and a line that counts them.
pub fn render(all: &Diagnostics, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    let mut seen: BTreeMap<&str, (Severity, usize)> = BTreeMap::new();
    for d in all.items() {
        let (_, count) = seen.entry(d.code()).or_insert((d.severity(), 0));
        *count += 1;
        if *count <= SHOWN {
            out.push_str(&one(&renderer, d, all.sources()));
            out.push_str("\n\n");
        }
    }
    for (code, (severity, count)) in seen.into_iter().filter(|(_, (_, count))| *count > SHOWN) {
        let level = match severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let text = format!("and {} more of these", count - SHOWN);
        out.push_str(&renderer.render(&[Group::with_title(level.primary_title(text).id(code))]));
        out.push_str("\n\n");
    }
    out.push_str(&summary(all));
    out
}

fn one(renderer: &Renderer, d: &Diagnostic, sources: &Sources) -> String {
    let level = match d.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level.primary_title(d.problem.to_string()).id(d.code()).element(snippet(
        sources,
        d.span,
        AnnotationKind::Primary,
        "",
    ));
    for label in &d.labels {
        group = group.element(snippet(sources, label.span, AnnotationKind::Context, &label.text));
    }
    for help in &d.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    for edit in &d.edits {
        group = group.element(Level::HELP.message(edit.title.as_str()));
    }
    renderer.render(&[group])
}

/// Only the line in question: a policy may have a hundred thousand of them.
fn snippet<'a>(
    sources: &'a Sources,
    span: Span,
    kind: AnnotationKind,
    text: &'a str,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let (line, range) = sources.excerpt(span);
    let annotation = kind.span(range);
    let annotation = if text.is_empty() { annotation } else { annotation.label(text) };
    Snippet::source(line)
        .line_start(sources.position(span).line as usize)
        .path(sources.file(span).name())
        .annotation(annotation)
}

fn summary(all: &Diagnostics) -> String {
    let errors = all.error_count();
    let warnings = all.items().len() - errors;
    let count = |n: usize, what: &str| match n {
        0 => None,
        1 => Some(format!("1 {what}")),
        n => Some(format!("{n} {what}s")),
    };
    let parts: Vec<_> =
        [count(errors, "error"), count(warnings, "warning")].into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { parts.join(", ") + "\n" }
}
