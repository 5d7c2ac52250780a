//! `check`, `explain` and `apply`.

use std::path::PathBuf;

use portcullis_policy::Verdict;
use serde_json::json;

use super::{Context, Outcome};
use crate::{
    api::{Applied, Refused, Request, Response, Size, SourceFile},
    client,
    error::Error,
    paint::{Paint, Style},
    policy,
};

/// Parses, resolves, compiles and proves.
pub fn check(files: &[PathBuf], context: &Context) -> Result<Outcome, Error> {
    let sources = policy::read(files)?;
    let compiled = policy::compile(&sources, context.paint_aside.is_on()).map_err(refused)?;
    let size = Size::of(&compiled.image);
    let names: Vec<&str> = sources.iter().map(|s| s.name.as_str()).collect();
    let warnings = policy::to_json(&compiled.warnings);
    let json = json!({ "ok": true, "files": names, "size": size, "warnings": warnings });
    let good = context.paint.paint(Style::Good, "ok");
    let human = format!("{}: {good}, {}\n", names.join(", "), describe(&size));
    let aside = match compiled.warnings.is_empty() {
        true => String::new(),
        false => compiled.warnings.render(context.paint_aside.is_on()),
    };
    Ok(Outcome { aside, ..Outcome::fine(human, json) })
}

/// Says what happens to a connection, and why. A policy that violates an invariant is explained
/// too: that is how to find out.
pub fn explain(
    files: &[PathBuf],
    from: &str,
    to: &str,
    service: &str,
    context: &Context,
) -> Result<Outcome, Error> {
    let sources = files_or_applied(files, context)?;
    let color = context.paint_aside.is_on();
    let compiled = policy::compile_unproved(&sources, color).map_err(refused)?;
    let explained = portcullis_policy::explain(&compiled, from, to, service)
        .map_err(|error| Error::Question { message: error.to_string() })?;
    // DESIGN, section 6: a flow that is denied is "no", also where only some of them are.
    let status = u8::from(explained.verdict != Verdict::Allowed);
    let human = painted(&explained.render(), context.paint);
    Ok(Outcome { status, ..Outcome::fine(human, explained) })
}

/// The verdicts, which begin their lines.
fn painted(text: &str, paint: Paint) -> String {
    let line = |line: &str| match line.split_once(':') {
        Some(("allowed", rest)) => paint.paint(Style::Good, "allowed:") + rest,
        Some(("denied", rest)) => paint.paint(Style::Bad, "denied:") + rest,
        _ => line.to_owned(),
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

/// Has the daemon enforce it.
pub fn apply(files: &[PathBuf], context: &Context) -> Result<Outcome, Error> {
    let sources = policy::read(files)?;
    let request = Request::Apply { sources, color: context.paint_aside.is_on() };
    match client::ask(&context.paths, &request)? {
        Response::Applied(applied) => {
            let aside = applied.rendered.clone();
            Ok(Outcome { aside, ..Outcome::fine(acknowledged(&applied, context), applied) })
        }
        Response::Refused(refusal) => Err(refused(refusal)),
        _ => Err(Error::WrongAnswer),
    }
}

fn acknowledged(applied: &Applied, context: &Context) -> String {
    let paint = context.paint;
    let generation = paint.paint(Style::Bold, format!("generation {}", applied.generation));
    let mut text = format!("{generation} is in force: {}\n", describe(&applied.size));
    for port in &applied.ports {
        let state = match (&port.closed, port.open) {
            (_, true) => paint.paint(Style::Good, "open"),
            (Some(why), false) => paint.paint(Style::Bad, format!("closed: {why}")),
            (None, false) => paint.paint(Style::Bad, "closed"),
        };
        let whose = port.guest.clone().unwrap_or_else(|| port.kind.clone());
        text += &format!("  {:<15}  {whose:<15}  {state}\n", port.name);
    }
    if !applied.removed.is_empty() {
        text += &format!("removed: {}\n", applied.removed.join(", "));
    }
    text
}

fn describe(size: &Size) -> String {
    format!(
        "{} networks, {} guests, {} rules ({} identity classes, {} service classes)",
        size.networks, size.guests, size.rules, size.classes, size.services
    )
}

fn refused(refused: Refused) -> Error {
    Error::Refused { refused: Box::new(refused) }
}

/// The files, or those of the applied policy.
fn files_or_applied(files: &[PathBuf], context: &Context) -> Result<Vec<SourceFile>, Error> {
    if !files.is_empty() {
        return policy::read(files);
    }
    match client::ask(&context.paths, &Request::Policy)? {
        Response::Policy { sources } => sources.ok_or(Error::NoPolicy),
        _ => Err(Error::WrongAnswer),
    }
}
