//! `discover`: guests of this host that the policy does not know.

use std::{fs, path::Path};

use portcullis_import::domain::Domain;
use vmm_attach::discover as look;

use super::{Context, Outcome, plug};
use crate::{discovery, error::Error, render};

/// Where libvirt keeps its domains: those that run, which know their devices, and all.
const DOMAINS: &[&str] = &["/run/libvirt/qemu", "/etc/libvirt/qemu", "/etc/libvirt/libxl"];

/// Looks around.
pub fn discover(context: &Context) -> Result<Outcome, Error> {
    let status = match plug::status(context) {
        Ok(status) => Some(status),
        Err(Error::NoDaemon { .. }) => None,
        Err(error) => return Err(error),
    };
    let interfaces = look::interfaces().map_err(|source| Error::Look { source })?;
    let found = discovery::discover(&interfaces, &look::machines(), &domains(), status.as_deref());
    let mut outcome = Outcome::fine(render::discovery::render(&found, context.paint), &found);
    if status.is_none() {
        outcome.aside = "no switch runs here: nothing is known to a policy\n".to_owned();
    }
    Ok(outcome)
}

/// libvirt's domains, each once. A file that is none is somebody else's business.
fn domains() -> Vec<Domain> {
    let files = DOMAINS.iter().flat_map(|folder| xml_files(Path::new(folder)));
    let mut domains: Vec<Domain> = Vec::new();
    for text in files {
        let Ok(domain) = Domain::read(&text) else { continue };
        if !domains.iter().any(|known| known.name == domain.name) {
            domains.push(domain);
        }
    }
    domains
}

fn xml_files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<_> = paths.filter(|p| p.extension().is_some_and(|e| e == "xml")).collect();
    paths.sort();
    paths.iter().filter_map(|path| fs::read_to_string(path).ok()).collect()
}
