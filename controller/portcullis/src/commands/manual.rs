//! Completions and manual pages, from the definition of the command line; the schema of policies.

use std::path::Path;

use clap_complete::Shell;
use clap_mangen::Man;
use serde_json::Value;

use super::Outcome;
use crate::{cli, error::Error};

/// The completion script of a shell.
pub fn completions(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::definition(), "portcullis", &mut script);
    Outcome::fine(String::from_utf8_lossy(&script), Value::Null)
}

/// The JSON Schema of policies.
pub fn schema() -> Outcome {
    Outcome::fine(portcullis_policy::schema_text(), Value::Null)
}

/// The main manual page as text, or all of them as files.
pub fn man(out: Option<&Path>) -> Result<Outcome, Error> {
    let Some(folder) = out else {
        let mut page = Vec::new();
        let rendered = Man::new(cli::definition()).render(&mut page);
        rendered.map_err(|source| Error::Write { path: "the manual page".into(), source })?;
        return Ok(Outcome::fine(String::from_utf8_lossy(&page), Value::Null));
    };
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(cli::definition(), folder));
    written.map_err(|source| Error::Write { path: folder.to_owned(), source })?;
    Ok(Outcome::fine("", Value::Null))
}
