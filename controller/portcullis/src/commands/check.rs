//! `check`: everything that can be known about a policy without a switch.

use std::time::{Duration, Instant};

use portcullis_policy::{Compiled, Diagnostics, compile_at, model};
use serde_json::json;

use super::{Context, Outcome};
use crate::{
    api::{Size, SourceFile},
    cli::{CheckArgs, CheckFormat},
    error::Error,
    paint::Style,
    policy, sarif,
};

/// From here on people wonder where the time goes.
const LONG: Duration = Duration::from_millis(500);

/// Parses, resolves, compiles and proves.
pub fn check(args: &CheckArgs, context: &Context) -> Result<Outcome, Error> {
    let started = Instant::now();
    let sources = match policy::read(&args.files) {
        Err(error) if args.format == CheckFormat::Sarif => return Ok(unread(&error)),
        sources => sources?,
    };
    let result = compile_at(&policy::texts(&sources), &policy::now());
    let outcome = match &result {
        Ok(compiled) => fine(compiled, &sources, started.elapsed(), args, context),
        Err(diagnostics) => refused(diagnostics, context),
    };
    let diagnostics = result.as_ref().map_or_else(|d| d, |compiled| &compiled.warnings);
    Ok(match args.format {
        CheckFormat::Sarif => Outcome { json: sarif::log(diagnostics, args.strict), ..outcome },
        _ => outcome,
    })
}

/// It holds; with `--strict` only if there is nothing to look at.
fn fine(
    compiled: &Compiled,
    sources: &[SourceFile],
    took: Duration,
    args: &CheckArgs,
    context: &Context,
) -> Outcome {
    let size = Size::of(&compiled.image);
    let names: Vec<&str> = sources.iter().map(|s| s.name.as_str()).collect();
    let warnings = &compiled.warnings;
    let strict = args.strict && !warnings.is_empty();
    let json = json!({
        "ok": !strict, "strict": args.strict, "files": names, "size": size,
        "proved": compiled.invariants(), "warnings": policy::to_json(warnings),
        "denied": denied_json(compiled),
    });
    let mut aside = match warnings.is_empty() {
        true => String::new(),
        false => warnings.render(context.paint_aside.is_on()),
    };
    if strict {
        let error = context.paint_aside.paint(Style::Bad, "error:");
        aside += &format!("{error} warnings are errors because of --strict\n");
        return Outcome { aside, json, human: String::new(), status: 2 };
    }
    let good = context.paint.paint(Style::Good, "ok");
    let invariants = match compiled.invariants() {
        0 => "no invariant to prove".to_owned(),
        1 => "1 invariant proved".to_owned(),
        n => format!("{n} invariants proved"),
    };
    let time =
        if took >= LONG { format!(" in {:.1} s", took.as_secs_f64()) } else { String::new() };
    let human = format!(
        "{}: {good}, {}; {invariants}{time}\n{}{}",
        names.join(", "),
        describe(&size),
        denied(compiled),
        published(compiled)
    );
    Outcome { aside, ..Outcome::fine(human, json) }
}

/// How many prefixes each denied set names, and how many ranges of the outside they make together.
fn denied(compiled: &Compiled) -> String {
    let sets = &compiled.model.denied;
    if sets.is_empty() {
        return String::new();
    }
    let set = |s: &model::DeniedSet| format!("{} ({} prefixes)", s.name, s.prefixes().count());
    let sets: Vec<String> = sets.iter().map(set).collect();
    let ranges = compiled.image.denied.ranges();
    format!("denied: {}; {ranges} ranges of addresses outside\n", sets.join(", "))
}

fn denied_json(compiled: &Compiled) -> serde_json::Value {
    let set = |s: &model::DeniedSet| json!({ "name": s.name, "prefixes": s.prefixes().count() });
    let sets: Vec<_> = compiled.model.denied.iter().map(set).collect();
    json!({ "sets": sets, "ranges": compiled.image.denied.ranges() })
}

/// Where guests' services are to be reached, one a line.
fn published(compiled: &Compiled) -> String {
    let list = |ports: Vec<String>| ports.join(", ");
    let line = |p: &model::Publish| {
        format!(
            "published: {} at {} {} -> {} {}\n",
            p.name,
            p.place(),
            list(p.ports().map(ToString::to_string).collect()),
            compiled.model.guests[p.guest].name,
            list(p.inside().map(|ports| ports.to_string()).collect())
        )
    };
    compiled.model.publish.iter().map(line).collect()
}

fn refused(diagnostics: &Diagnostics, context: &Context) -> Outcome {
    let refused = policy::refused(diagnostics, context.paint_aside.is_on());
    super::failed(&refused.into(), context.paint_aside)
}

/// What could not be read, for a tool that only takes SARIF.
fn unread(error: &Error) -> Outcome {
    let json = sarif::failure(&error.to_string());
    Outcome { human: String::new(), aside: String::new(), json, status: error.exit_status() }
}

/// A policy's size for people.
pub fn describe(size: &Size) -> String {
    format!(
        "{} networks, {} guests, {} rules ({} identity classes, {} service classes)",
        size.networks, size.guests, size.rules, size.classes, size.services
    )
}
