//! `import`: files in, a proved policy and a report out.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use portcullis_import::{Finding, ImportError, Imported, Options, SourceText};
use portcullis_policy::include::LoadError;
use serde_json::json;

use super::{Context, Outcome};
use crate::{
    cli::import::{Import, IntoArgs, SiteArgs},
    error::Error,
    paint::{Paint, Style},
};

/// Where Proxmox VE keeps what is read, below `/etc/pve`; `*` is any name.
const PROXMOX: &[&[&str]] = &[
    &["firewall", "*.fw"],
    &["host.fw"],
    &["nodes", "*", "host.fw"],
    &["nodes", "*", "qemu-server", "*.conf"],
    &["nodes", "*", "lxc", "*.conf"],
    &["sdn", "firewall", "*.fw"],
];

/// Translates, proves, writes.
pub fn import(import: &Import, context: &Context) -> Result<Outcome, Error> {
    let into = import.into_args();
    let result = match import {
        Import::Proxmox { path, node, site, .. } => {
            let options = Options { node: node.clone(), ..options(site) };
            portcullis_import::proxmox(&below(path)?, &options)
        }
        Import::Libvirt { files, variables, site, .. }
        | Import::Nwfilter { files, variables, site, .. } => {
            let options = Options { variables: variables.clone(), ..options(site) };
            portcullis_import::libvirt(&read(files)?, &options)
        }
        Import::IptablesSave { files, site, .. } => {
            portcullis_import::iptables(&read(files)?, &options(site))
        }
    };
    match result {
        Ok(imported) => done(&imported, into, context),
        Err(error) => Ok(refused(&error, context.paint_aside)),
    }
}

fn options(site: &SiteArgs) -> Options {
    let SiteArgs { networks, guests, host, world } = site.clone();
    Options { networks, guests, host, world, ..Options::default() }
}

fn done(imported: &Imported, into: &IntoArgs, context: &Context) -> Result<Outcome, Error> {
    let closed = imported.closed();
    let refused = into.strict && closed > 0;
    if let Some(path) = into.out.as_ref().filter(|_| !refused) {
        fs::write(path, &imported.yaml)
            .map_err(|source| Error::Write { path: path.clone(), source })?;
    }
    let findings: Vec<_> = imported.findings.iter().map(Finding::to_json).collect();
    let json = json!({
        "ok": !refused,
        "yaml": (into.out.is_none() && !refused).then_some(&imported.yaml),
        "out": into.out.as_ref().filter(|_| !refused).map(|path| path.display().to_string()),
        "rules": imported.rules,
        "compared": imported.compared,
        "closed": closed,
        "findings": findings,
    });
    let human = match &into.out {
        _ if refused => String::new(),
        Some(path) => format!("{} is written\n", path.display()),
        None => imported.yaml.clone(),
    };
    let paint = context.paint_aside;
    let mut aside = report(&imported.findings, paint);
    aside += &format!(
        "{}: {} rules, equal to the source for all of {} connections that either tells apart\n",
        paint.paint(Style::Good, "proved"),
        imported.rules,
        imported.compared
    );
    if closed > 0 {
        let what = if refused { "nothing is written (--strict)" } else { "it is closed here" };
        let bad = paint.paint(Style::Bad, format!("{closed} without equal"));
        aside += &format!("{bad}: {what}\n");
    }
    let status = if refused { 2 } else { u8::from(closed > 0) };
    Ok(Outcome { human, aside, json, status })
}

fn refused(error: &ImportError, paint: Paint) -> Outcome {
    let findings = match error {
        ImportError::Refused { findings } => findings.as_slice(),
        ImportError::NotAccepted { .. } | ImportError::NotEqual { .. } => &[],
    };
    let message = error.to_string();
    let aside =
        report(findings, paint) + &format!("{} {message}\n", paint.paint(Style::Bad, "error:"));
    let findings: Vec<_> = findings.iter().map(Finding::to_json).collect();
    let json = json!({ "ok": false, "error": message, "findings": findings });
    Outcome { human: String::new(), aside, json, status: 2 }
}

fn report(findings: &[Finding], paint: Paint) -> String {
    let one = |finding: &Finding| {
        let text = finding.render();
        match text.split_once(':') {
            Some((head, rest)) => paint.paint(Style::Bold, head) + ":" + rest,
            None => text,
        }
    };
    findings.iter().map(one).collect()
}

fn read(files: &[PathBuf]) -> Result<Vec<SourceText>, Error> {
    files.iter().map(|path| read_file(path, path.display().to_string())).collect()
}

fn read_file(path: &Path, name: String) -> Result<SourceText, Error> {
    let text = fs::read_to_string(path).map_err(unreadable(path))?;
    Ok(SourceText { name, text })
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |error| {
        let source = match error.kind() {
            io::ErrorKind::NotFound => LoadError::Missing,
            _ => LoadError::Unreadable { reason: error.to_string() },
        };
        Error::Read { path, source }
    }
}

/// Everything of Proxmox VE below a folder, named by its path there; or one file.
fn below(root: &Path) -> Result<Vec<SourceText>, Error> {
    if fs::metadata(root).map_err(unreadable(root))?.is_file() {
        let name = root.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        return Ok(vec![read_file(root, name)?]);
    }
    let mut found = Vec::new();
    for pattern in PROXMOX {
        find(root, pattern, &mut Vec::new(), &mut found)?;
    }
    Ok(found)
}

fn find(
    folder: &Path,
    pattern: &[&str],
    above: &mut Vec<String>,
    found: &mut Vec<SourceText>,
) -> Result<(), Error> {
    let Some((first, rest)) = pattern.split_first() else { return Ok(()) };
    for name in names(folder)?.into_iter().filter(|name| fits(name, first)) {
        let path = folder.join(&name);
        above.push(name);
        if rest.is_empty() && path.is_file() {
            found.push(read_file(&path, above.join("/"))?);
        } else if path.is_dir() {
            find(&path, rest, above, found)?;
        }
        above.pop();
    }
    Ok(())
}

fn fits(name: &str, pattern: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => name.ends_with(end),
        None => name == pattern,
    }
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(folder).map_err(unreadable(folder))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>().map_err(unreadable(folder))?;
    names.sort();
    Ok(names)
}
