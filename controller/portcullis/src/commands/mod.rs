//! The commands. Each returns what is to be printed and the exit status; only this file prints.

mod apply;
mod background;
mod check;
mod cni;
mod diff;
mod discover;
mod events;
mod explain;
mod guest;
mod import;
mod libvirt;
mod manual;
mod matrix;
mod plug;
mod port;
mod qemu;
mod switch;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use clap::Parser;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    api::{EventQuery, Request},
    cli::{self, Cli, Command, Format},
    client,
    error::Error,
    paint::{Paint, Style},
};

/// What came of a command.
#[derive(Debug)]
pub struct Outcome {
    /// For people, on standard output.
    pub human: String,
    /// For people, on standard error.
    pub aside: String,
    /// For programs.
    pub json: Value,
    /// DESIGN, section 6.
    pub status: u8,
}

impl Outcome {
    /// It is fine.
    pub fn fine(human: impl Into<String>, json: impl Serialize) -> Self {
        let json = serde_json::to_value(json).unwrap_or(Value::Null);
        Self { human: human.into(), aside: String::new(), json, status: 0 }
    }
}

/// What every command knows.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where the switch lives.
    pub paths: crate::paths::Paths,
    /// Colours of standard output.
    pub paint: Paint,
    /// Colours of standard error.
    pub paint_aside: Paint,
}

/// The program.
pub fn main() -> ExitCode {
    let cli = Cli::parse_from(cli::arguments(std::env::args_os()));
    let context = Context {
        paths: cli.global.paths(),
        paint: Paint::new(cli.global.color, &io::stdout()),
        paint_aside: Paint::new(cli.global.color, &io::stderr()),
    };
    let format = cli.command.format();
    let outcome = match run(cli.command, &context) {
        Ok(outcome) => outcome,
        Err(error) => failed(&error, context.paint_aside),
    };
    print(&outcome, format);
    ExitCode::from(outcome.status)
}

fn run(command: Command, context: &Context) -> Result<Outcome, Error> {
    match command {
        Command::Check(args) => check::check(&args, context),
        Command::Explain(args) => explain::explain(&args, context),
        Command::Diff(args) => diff::diff(&args, context),
        Command::Matrix(args) => matrix::matrix(&args, context),
        Command::Schema => Ok(manual::schema()),
        Command::Up { settings, foreground: true, .. } => {
            background::foreground(&settings, context)
        }
        Command::Up { settings, .. } => switch::up(&settings, context),
        Command::Down { forget, .. } => switch::down(forget, context),
        Command::Apply { files, dry_run: true, .. } => apply::dry_run(&files, context),
        Command::Apply { files, confirm, .. } => apply::apply(&files, confirm, context),
        Command::Events { follow, rule, observed, output } => {
            let query = EventQuery { after: 0, rule, observed };
            events::events(query, follow, output.format, context)
        }
        Command::Confirm { .. } => apply::confirm(context),
        Command::Rollback { .. } => apply::rollback(context),
        Command::Attach(attach) => port::attach(attach, context),
        Command::Guest(what) => guest::guest(what, context),
        Command::Discover { .. } => discover::discover(context),
        Command::Cni => Ok(cni::cni(context)),
        Command::LibvirtHook(args) => libvirt::hook(&args, context),
        Command::QemuHelper(args) => qemu::helper(&args, context),
        Command::Detach { name, .. } => port::detach(name, context),
        Command::Status { .. } => status(context),
        Command::Usage { .. } => usage(context),
        Command::Import(what) => import::import(&what, context),
        Command::Completions { shell } => Ok(manual::completions(shell)),
        Command::Man { out } => manual::man(out.as_deref()),
        Command::Engine => background::engine(context),
        Command::Daemon { settings, detached: true } => background::daemon(&settings, context),
        Command::Daemon { settings, .. } => background::foreground(&settings, context),
    }
}

fn status(context: &Context) -> Result<Outcome, Error> {
    let status = plug::status(context)?;
    let now = crate::daemon::log::unix_seconds();
    Ok(Outcome::fine(crate::render::status::render(&status, now, context.paint), status))
}

fn usage(context: &Context) -> Result<Outcome, Error> {
    match client::ask(&context.paths, &Request::Usage)? {
        crate::api::Response::Usage { usage } => {
            Ok(Outcome::fine(crate::render::usage::render(&usage, context.paint), usage))
        }
        _ => Err(Error::WrongAnswer),
    }
}

/// An error as an outcome.
fn failed(error: &Error, paint: Paint) -> Outcome {
    let (aside, json) = match error {
        Error::Refused { refused } => (
            refused.rendered.clone(),
            json!({ "ok": false, "violated": refused.violated, "diagnostics": refused.diagnostics }),
        ),
        Error::RefusedSide { side, name, refused } => (
            error.to_string(),
            json!({ "ok": false, "side": side.to_lowercase(), "policy": name,
                    "diagnostics": refused.diagnostics }),
        ),
        _ => {
            let mut text = format!("{} {error}\n", paint.paint(Style::Bad, "error:"));
            if let Some(hint) = error.hint() {
                text += &format!("{} {hint}\n", paint.paint(Style::Bold, " hint:"));
            }
            (text, json!({ "error": error.to_failure() }))
        }
    };
    Outcome { human: String::new(), aside, json, status: error.exit_status() }
}

/// Prints a part of a result before the rest is there. False: nobody reads it any more.
fn stream(text: &str) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Prints a remark before the result is there.
fn remark(text: &str) {
    let _ = io::stderr().lock().write_all(with_line_end(text).as_bytes());
}

/// A reader that went away is no error of ours.
fn print(outcome: &Outcome, format: Format) {
    let (out, aside) = match format {
        Format::Human => (outcome.human.clone(), outcome.aside.as_str()),
        Format::Json if outcome.json.is_null() => (String::new(), ""),
        Format::Json if io::stdout().is_terminal() => (format!("{:#}\n", outcome.json), ""),
        Format::Json => (format!("{}\n", outcome.json), ""),
    };
    let _ = io::stdout().lock().write_all(out.as_bytes());
    let _ = io::stderr().lock().write_all(with_line_end(aside).as_bytes());
}

fn with_line_end(text: &str) -> String {
    if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}
