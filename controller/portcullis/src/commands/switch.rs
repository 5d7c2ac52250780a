//! `up` and `down`.

use std::{
    thread,
    time::{Duration, Instant},
};

use portcullis_store::Embedded;
use portcullis_switch::Config;
use serde_json::json;

use super::{Context, Outcome, background};
use crate::{
    api::{Info, Removed, Request, Response},
    cli::UpSettings,
    client,
    daemon::{
        LOCK_WAIT,
        actor::host_rules_of,
        failure::{host_failure, switch_failure},
        run_dir::RunDir,
    },
    dataplane::{Kernel, Launcher},
    error::Error,
    state::State,
};

/// How long a daemon may take to end after it said that it does, or to answer while it starts.
const SETTLE_MAX: Duration = Duration::from_secs(10);
const SETTLE_STEP: Duration = Duration::from_millis(20);

/// Starts the daemon, unless it runs already with the same settings.
pub fn up(settings: &UpSettings, context: &Context) -> Result<Outcome, Error> {
    if let Some(info) = client::info(&context.paths)? {
        return already(&info, settings, context);
    }
    match background::start(settings, context) {
        Ok(info) => Ok(started(&info)),
        // Somebody else was faster: he counts, once he answers.
        Err(Error::Failed(failure)) if failure.code == "locked" => {
            let info = wait_for(|| client::info(&context.paths).ok().flatten());
            match info {
                Some(info) => already(&info, settings, context),
                None => Err(Error::Failed(failure)),
            }
        }
        Err(error) => Err(error),
    }
}

fn started(info: &Info) -> Outcome {
    let start = &info.start;
    let mut human = format!("the switch is up (daemon {}, {})\n", info.pid, info.run_dir.display());
    human += &match start.generation {
        0 => "no policy applied yet, every port is closed: portcullis apply FILE\n".to_owned(),
        generation => format!("generation {generation} is in force\n"),
    };
    if !start.filtered.is_empty() {
        human += &format!("taken over while running: {}\n", start.filtered.join(", "));
    }
    let aside = start.notices.iter().map(|notice| format!("note: {notice}\n")).collect();
    Outcome { aside, ..Outcome::fine(human, json!({ "already": false, "daemon": info })) }
}

fn already(info: &Info, asked: &UpSettings, context: &Context) -> Result<Outcome, Error> {
    let mut difference = Vec::new();
    if let Some(flows) = asked.flows.filter(|flows| *flows != info.flows) {
        difference.push(format!("--flows {} instead of {flows}", info.flows));
    }
    if asked.group.is_some() && asked.group != info.group {
        difference.push(format!("--group {}", info.group.as_deref().unwrap_or("(none)")));
    }
    if info.state_dir != context.paths.state_dir {
        difference.push(format!("--state-dir {}", info.state_dir.display()));
    }
    if !difference.is_empty() {
        return Err(Error::OtherSettings { pid: info.pid, difference: difference.join(", ") });
    }
    let human = format!("the switch is up already (daemon {})\n", info.pid);
    Ok(Outcome::fine(human, json!({ "already": true, "daemon": info })))
}

/// Removes everything, with the daemon's help or without.
pub fn down(forget: bool, context: &Context) -> Result<Outcome, Error> {
    let removed = match client::ask(&context.paths, &Request::Down) {
        Ok(Response::Down(removed)) => {
            // The daemon holds its lock a moment longer; the next `up` shall not trip over it.
            wait_for(|| (!context.paths.lock().exists()).then_some(()));
            removed
        }
        Ok(_) => return Err(Error::WrongAnswer),
        Err(Error::NoDaemon { .. }) => without_daemon(context)?,
        Err(error) => return Err(error),
    };
    if forget && context.paths.store().exists() {
        State::new(Embedded::open(context.paths.store())?).forget()?;
    }
    let json = json!({ "removed": removed, "forgotten": forget });
    Ok(Outcome::fine(human(&removed, forget), json))
}

/// After a crash: the pins and the marks on the interfaces say what is ours.
fn without_daemon(context: &Context) -> Result<Removed, Error> {
    let run_dir = RunDir::hold(&context.paths, LOCK_WAIT)?;
    let config = Config {
        run_dir: context.paths.run_dir.clone(),
        instance: context.paths.instance(),
        flows: crate::daemon::FLOWS,
        group: None,
    };
    portcullis_host_rules::remove(host_rules_of(&config))
        .map_err(|error| Error::Failed(host_failure(&error)))?;
    let removed = Kernel.remove(&config).map_err(|error| Error::Failed(switch_failure(&error)))?;
    run_dir.remove()?;
    Ok(removed.into())
}

fn human(removed: &Removed, forget: bool) -> String {
    let list = |names: &[String]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let mut text = "the switch is down\n".to_owned();
    text += &format!("interfaces removed: {}\n", list(&removed.interfaces));
    if !removed.uplinks.is_empty() {
        text += &format!("uplinks released: {}\n", list(&removed.uplinks));
    }
    if forget {
        text += "policy, ports and settings are forgotten\n";
    }
    text
}

fn wait_for<T>(mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + SETTLE_MAX;
    loop {
        match ready() {
            None if Instant::now() < end => thread::sleep(SETTLE_STEP),
            found => return found,
        }
    }
}
