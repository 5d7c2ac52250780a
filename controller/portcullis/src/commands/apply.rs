//! `apply`: a policy becomes the next generation.

use std::path::PathBuf;

use super::{Context, Outcome, check::describe};
use crate::{
    api::{Applied, Request, Response},
    client,
    error::Error,
    paint::Style,
    policy,
};

/// Has the daemon enforce it.
pub fn apply(files: &[PathBuf], context: &Context) -> Result<Outcome, Error> {
    let sources = policy::read(files)?;
    let request = Request::Apply { sources, color: context.paint_aside.is_on() };
    match client::ask(&context.paths, &request)? {
        Response::Applied(applied) => {
            let aside = applied.rendered.clone();
            Ok(Outcome { aside, ..Outcome::fine(acknowledged(&applied, context), applied) })
        }
        Response::Refused(refusal) => Err(refusal.into()),
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
