//! `apply`, `confirm`, `rollback`: a policy becomes the next generation, and stays it.

use std::path::PathBuf;

use portcullis_policy::until;
use serde_json::json;

use super::{Context, Outcome, check::describe, diff::painted};
use crate::{
    api::{Applied, Difference, Pending, Request, Response, RolledBack, SourceFile},
    client,
    error::Error,
    paint::Style,
    policy,
    render::{events::cuts, outside::foreign},
};

/// Has the daemon enforce it, for good or until so many seconds are over.
pub fn apply(
    files: &[PathBuf],
    confirm_s: Option<u32>,
    context: &Context,
) -> Result<Outcome, Error> {
    let sources = policy::read(files)?;
    let request = Request::Apply { sources, color: context.paint_aside.is_on(), confirm_s };
    match client::ask(&context.paths, &request)? {
        Response::Applied(applied) => {
            let aside = applied.rendered.clone() + &foreign(&applied.foreign, context.paint_aside);
            Ok(Outcome { aside, ..Outcome::fine(acknowledged(&applied, context), applied) })
        }
        Response::Refused(refusal) => Err(refusal.into()),
        _ => Err(Error::WrongAnswer),
    }
}

/// Shows what applying it would change; nothing changes.
pub fn dry_run(files: &[PathBuf], context: &Context) -> Result<Outcome, Error> {
    let difference = preview(policy::read(files)?, context)?;
    let mut human = match difference.rendered.is_empty() {
        true => "no connection becomes allowed or denied\n".to_owned(),
        false => painted(&difference.rendered, context.paint),
    };
    human += &cuts(&difference.cuts, difference.cuts_total, context.paint);
    let aside = difference.warnings_rendered.clone();
    Ok(Outcome { aside, ..Outcome::fine(human, difference) })
}

/// What the daemon says that applying a policy would change.
pub fn preview(sources: Vec<SourceFile>, context: &Context) -> Result<Difference, Error> {
    let request = Request::Difference { sources, color: context.paint_aside.is_on() };
    match client::ask(&context.paths, &request)? {
        Response::Difference(difference) => Ok(*difference),
        Response::Refused(refusal) => Err(refusal.into()),
        _ => Err(Error::WrongAnswer),
    }
}

/// Keeps the policy that is on trial.
pub fn confirm(context: &Context) -> Result<Outcome, Error> {
    match client::ask(&context.paths, &Request::Confirm)? {
        Response::Confirmed { generation } => {
            let human = format!("generation {generation} is confirmed and stays in force\n");
            Ok(Outcome::fine(human, json!({ "generation": generation })))
        }
        _ => Err(Error::WrongAnswer),
    }
}

/// Goes back from the policy that is on trial.
pub fn rollback(context: &Context) -> Result<Outcome, Error> {
    match client::ask(&context.paths, &Request::Rollback)? {
        Response::RolledBack(back) => Ok(Outcome::fine(rolled_back(&back), back)),
        _ => Err(Error::WrongAnswer),
    }
}

fn rolled_back(back: &RolledBack) -> String {
    let what = match &back.files {
        Some(files) => format!("{} again", files.join(", ")),
        None => "every port is closed, as before".to_owned(),
    };
    format!(
        "rolled back: generation {}, {what}\n\
         Connections that were cut meanwhile have to be opened anew.\n",
        back.generation
    )
}

/// How to keep it, and until when.
fn terms(pending: &Pending, context: &Context) -> String {
    let before = match &pending.before {
        Some(files) => format!("{} comes back", files.join(", ")),
        None => "every port is closed again".to_owned(),
    };
    let confirm = context.paint.paint(Style::Bold, "portcullis confirm");
    format!(
        "To keep it, within {} s (until {}):\n  {confirm}\n\
         Otherwise {before} by itself (at once: portcullis rollback). Connections that are cut now \
         do not come back by themselves.\n",
        pending.left_ms.div_ceil(1000),
        until::show(pending.until_unix_s),
    )
}

fn acknowledged(applied: &Applied, context: &Context) -> String {
    let paint = context.paint;
    let generation = paint.paint(Style::Bold, format!("generation {}", applied.generation));
    let mut text = format!("{generation} is in force: {}\n", describe(&applied.size));
    let checked = &applied.validation;
    text += &format!(
        "read back and compared with what was proved, {} packets through the program: {:.1} ms\n",
        checked.packets,
        checked.total_us as f64 / 1000.0
    );
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
    if let Some(pending) = &applied.pending {
        text += &terms(pending, context);
    }
    text
}
