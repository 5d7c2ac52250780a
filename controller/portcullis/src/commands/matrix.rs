//! `matrix`: who may talk to whom.

use std::fs;

use portcullis_policy::{
    Compiled,
    matrix::{self, By, Matrix},
};
use serde_json::Value;

use super::{Context, Outcome, explain::files_or_applied};
use crate::{
    cli::{MatrixArgs, MatrixFormat},
    error::Error,
    policy,
};

/// Columns where nobody says how wide the terminal is.
const WIDTH: usize = 100;
/// Most rows of a picture that is still a picture, unless somebody asks for more.
const PICTURE: usize = 100;

/// Shows the matrix of a policy.
pub fn matrix(args: &MatrixArgs, context: &Context) -> Result<Outcome, Error> {
    let sources = files_or_applied(&args.files, context)?;
    let compiled = policy::compile_unproved(&sources, context.paint_aside.is_on())?;
    let width = width();
    let found = match args.by {
        Some(by) => matrix::matrix(&compiled, by.into())?,
        None => widest(&compiled, |m| match args.format {
            MatrixFormat::Human => m.fits(width),
            MatrixFormat::Html => m.subjects.len() <= PICTURE,
            MatrixFormat::Json | MatrixFormat::Csv => true,
        })?,
    };
    let names: Vec<&str> = sources.iter().map(|s| s.name.as_str()).collect();
    let text = match args.format {
        MatrixFormat::Human => found.render(width),
        MatrixFormat::Csv => found.to_csv(),
        MatrixFormat::Html => found.to_html(&names.join(", ")),
        MatrixFormat::Json => match &args.out {
            None => return Ok(Outcome::fine("", found)),
            Some(_) => format!("{}\n", serde_json::json!(found)),
        },
    };
    let Some(path) = &args.out else { return Ok(Outcome::fine(text, Value::Null)) };
    fs::write(path, text).map_err(|source| Error::Write { path: path.clone(), source })?;
    Ok(Outcome::fine(format!("{} is written\n", path.display()), Value::Null))
}

/// All of it that fits; if nothing does, the networks.
fn widest(compiled: &Compiled, fits: impl Fn(&Matrix) -> bool) -> Result<Matrix, Error> {
    for by in [By::All, By::Label] {
        match matrix::matrix(compiled, by) {
            Ok(found) if fits(&found) => return Ok(found),
            _ => {}
        }
    }
    Ok(matrix::matrix(compiled, By::Network)?)
}

fn width() -> usize {
    terminal_size::terminal_size().map_or(WIDTH, |(width, _)| usize::from(width.0))
}
