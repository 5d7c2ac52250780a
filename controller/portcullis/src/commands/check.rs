//! `check`: everything that can be known about a policy without a switch.

use std::path::PathBuf;

use serde_json::json;

use super::{Context, Outcome};
use crate::{api::Size, error::Error, paint::Style, policy};

/// Parses, resolves, compiles and proves.
pub fn check(files: &[PathBuf], context: &Context) -> Result<Outcome, Error> {
    let sources = policy::read(files)?;
    let compiled = policy::compile(&sources, context.paint_aside.is_on())?;
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

/// A policy's size for people.
pub fn describe(size: &Size) -> String {
    format!(
        "{} networks, {} guests, {} rules ({} identity classes, {} service classes)",
        size.networks, size.guests, size.rules, size.classes, size.services
    )
}
