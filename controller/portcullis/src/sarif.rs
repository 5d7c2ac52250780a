//! Diagnostics for code review: the Static Analysis Results Interchange Format (SARIF 2.1.0,
//! OASIS standard).

use std::collections::BTreeSet;

use portcullis_policy::{Diagnostic, Diagnostics, Edit, Problem, Severity, Sources, Span};
use serde_json::{Value, json};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// One run with all diagnostics. Strict: warnings count as errors.
pub fn log(diagnostics: &Diagnostics, strict: bool) -> Value {
    let codes: BTreeSet<&str> = diagnostics.items().iter().map(Diagnostic::code).collect();
    let codes: Vec<&str> = codes.into_iter().collect();
    let sources = diagnostics.sources();
    let results: Vec<Value> =
        diagnostics.items().iter().map(|d| result(d, &codes, sources, strict)).collect();
    run(&codes, json!({ "executionSuccessful": true }), results)
}

/// One run that could not begin.
pub fn failure(message: &str) -> Value {
    let notification = json!({ "level": "error", "message": { "text": message } });
    let invocation =
        json!({ "executionSuccessful": false, "toolExecutionNotifications": [notification] });
    run(&[], invocation, Vec::new())
}

fn run(codes: &[&str], invocation: Value, results: Vec<Value>) -> Value {
    let rules: Vec<Value> = codes.iter().map(|code| rule(code)).collect();
    let driver = json!({
        "name": "portcullis",
        "semanticVersion": env!("CARGO_PKG_VERSION"),
        "rules": rules,
    });
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": driver },
            "columnKind": "unicodeCodePoints",
            "invocations": [invocation],
            "results": results,
        }],
    })
}

/// What a code means.
fn rule(code: &str) -> Value {
    let meaning = Problem::MEANINGS.iter().find(|m| m.0 == code);
    let (short, full) = meaning.map_or((code, code), |m| (m.1.trim(), m.2));
    json!({
        "id": code,
        "shortDescription": { "text": short },
        "fullDescription": { "text": full },
        "help": { "text": format!("{short} The message is: {full}.") },
    })
}

fn result(d: &Diagnostic, codes: &[&str], sources: &Sources, strict: bool) -> Value {
    let level = match d.severity() {
        Severity::Warning if !strict => "warning",
        _ => "error",
    };
    let mut text = d.problem.to_string();
    for help in &d.help {
        text += &format!("\nhelp: {help}");
    }
    let related = d.labels.iter().enumerate().map(|(i, label)| {
        let mut location = location(sources, label.span);
        location["id"] = (i + 1).into();
        location["message"] = json!({ "text": label.text });
        location
    });
    let mut result = json!({
        "ruleId": d.code(),
        "ruleIndex": codes.iter().position(|code| *code == d.code()),
        "level": level,
        "message": { "text": text },
        "locations": [location(sources, d.span)],
    });
    let related: Vec<Value> = related.collect();
    if !related.is_empty() {
        result["relatedLocations"] = related.into();
    }
    if !d.edits.is_empty() {
        result["fixes"] = d.edits.iter().map(|e| fix(sources, e)).collect();
    }
    result
}

fn location(sources: &Sources, span: Span) -> Value {
    json!({ "physicalLocation": {
        "artifactLocation": artifact(sources, span), "region": region(sources, span),
    } })
}

fn fix(sources: &Sources, edit: &Edit) -> Value {
    json!({
        "description": { "text": edit.title },
        "artifactChanges": [{
            "artifactLocation": artifact(sources, edit.span),
            "replacements": [{
                "deletedRegion": region(sources, edit.span),
                "insertedContent": { "text": edit.text },
            }],
        }],
    })
}

/// Lines and columns from 1, in characters; the end is behind the last one (section 3.30).
fn region(sources: &Sources, span: Span) -> Value {
    let end = Span { start: span.end.max(span.start), ..span };
    let (from, to) = (sources.position(span), sources.position(end));
    json!({
        "startLine": from.line, "startColumn": from.column,
        "endLine": to.line, "endColumn": to.column,
    })
}

fn artifact(sources: &Sources, span: Span) -> Value {
    json!({ "uri": uri(sources.file(span).name()) })
}

/// A path as a relative reference (RFC 3986, section 4.2).
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("policies/dmz.yaml"), "policies/dmz.yaml");
        assert_eq!(uri("c: d/ä.yaml"), "c%3A%20d/%C3%A4.yaml");
    }
}
