//! `diff`: which connections become allowed, and which become denied.

use std::path::{Path, PathBuf};

use portcullis_policy::{Compiled, compile_at};
use serde_json::json;

use super::{Context, Outcome, apply::preview, explain::applied};
use crate::{
    api::SourceFile,
    cli::DiffArgs,
    error::Error,
    paint::{Paint, Style},
    policy,
    render::events::cuts,
};

/// Compares two policies, or one with the applied one.
pub fn diff(args: &DiffArgs, context: &Context) -> Result<Outcome, Error> {
    let (old, new) = match &args.policies[..] {
        [old, new] => (read(old)?, read(new)?),
        [new] => {
            // The file first: whoever mistypes it has no use for the applied policy.
            let new = read(new)?;
            (Policy { name: "the applied policy".into(), sources: applied(context)? }, new)
        }
        // The definition of the command line allows no other number.
        _ => return Err(Error::NoPolicy),
    };
    let color = context.paint_aside.is_on();
    let (old, _) = old.compile("OLD", color)?;
    let sources = new.sources.clone();
    let (new, violations) = new.compile("NEW", color)?;
    let difference = portcullis_policy::diff(&old, &new);
    let status = u8::from(args.exit_code && !difference.is_empty());
    let aside = match violations {
        0 => String::new(),
        n => format!(
            "{} NEW violates {n} of its invariants: `apply` will refuse it, and `check` says why\n",
            context.paint_aside.paint(Style::Warn, "warning:")
        ),
    };
    let mut human = painted(&difference.render(), context.paint);
    let mut json = json!(difference);
    // The daemon alone knows what runs, and looks only at what it would take.
    if args.policies.len() == 1 && violations == 0 {
        let running = preview(sources, context)?;
        human += &cuts(&running.cuts, running.cuts_total, context.paint);
        json["cuts"] = json!(running.cuts);
        json["cuts_total"] = running.cuts_total.into();
    }
    json["empty"] = difference.is_empty().into();
    json["violations"] = violations.into();
    Ok(Outcome { status, aside, ..Outcome::fine(human, json) })
}

/// One side of a comparison.
struct Policy {
    name: String,
    sources: Vec<SourceFile>,
}

fn read(path: &Path) -> Result<Policy, Error> {
    let sources = policy::read(&[PathBuf::from(path)])?;
    Ok(Policy { name: path.display().to_string(), sources })
}

impl Policy {
    /// Compiles it, also where its invariants do not hold: then it says how many.
    fn compile(&self, side: &'static str, color: bool) -> Result<(Compiled, usize), Error> {
        let refused = |refused| Error::RefusedSide {
            side,
            name: self.name.clone(),
            refused: Box::new(refused),
        };
        match compile_at(&policy::texts(&self.sources), &policy::now()) {
            Ok(compiled) => Ok((compiled, 0)),
            Err(diagnostics) if policy::is_violated(&diagnostics) => {
                let compiled = policy::compile_unproved(&self.sources, color).map_err(refused)?;
                Ok((compiled, diagnostics.error_count()))
            }
            Err(diagnostics) => Err(refused(policy::refused(&diagnostics, color))),
        }
    }
}

/// Lines in the colours that people know from other differences.
pub fn painted(text: &str, paint: Paint) -> String {
    let line = |line: &str| match line.chars().next() {
        Some('+') => paint.paint(Style::Good, line),
        Some('-') => paint.paint(Style::Bad, line),
        Some('~') => paint.paint(Style::Warn, line),
        Some(' ') => paint.paint(Style::Dim, line),
        Some(_) => paint.paint(Style::Bold, line),
        None => String::new(),
    };
    text.lines().map(|text| line(text) + "\n").collect()
}
