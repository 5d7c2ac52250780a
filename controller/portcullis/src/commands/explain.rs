//! `explain`: what happens to a connection, and why.

use std::path::PathBuf;

use portcullis_policy::{Verdict, explain_flow};

use super::{Context, Outcome};
use crate::{
    api::{Request, Response, SourceFile},
    cli::ExplainArgs,
    client,
    error::Error,
    paint::{Paint, Style},
    policy,
};

/// Says what happens to a connection, and why. A policy that violates an invariant is explained
/// too: that is how to find out.
pub fn explain(args: &ExplainArgs, context: &Context) -> Result<Outcome, Error> {
    let sources = files_or_applied(&args.files, context)?;
    let color = context.paint_aside.is_on();
    let compiled = policy::compile_unproved(&sources, color)?;
    let asked = match &args.flow {
        Some(flow) => explain_flow(&compiled, flow),
        None => {
            let [from, to, service] = [&args.from, &args.to, &args.service]
                .map(|word| word.as_deref().unwrap_or_default());
            portcullis_policy::explain(&compiled, from, to, service)
        }
    };
    let explained = asked.map_err(|error| Error::Question { message: error.to_string() })?;
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

/// The files, or those of the applied policy.
pub fn files_or_applied(files: &[PathBuf], context: &Context) -> Result<Vec<SourceFile>, Error> {
    if files.is_empty() { applied(context) } else { policy::read(files) }
}

/// The files of the applied policy.
pub fn applied(context: &Context) -> Result<Vec<SourceFile>, Error> {
    match client::ask(&context.paths, &Request::Policy)? {
        Response::Policy { sources } => sources.ok_or(Error::NoPolicy),
        _ => Err(Error::WrongAnswer),
    }
}
