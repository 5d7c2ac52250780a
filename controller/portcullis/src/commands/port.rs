//! `attach` and `detach`.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, User};
use portcullis_switch::{Owner, PortKind, PortSpec};
use serde_json::json;

use super::{Context, Outcome};
use crate::{
    api::{Port, Request, Response},
    cli::{Attach, NicArgs},
    client,
    daemon::run_dir,
    error::Error,
    names,
    paint::Style,
};

/// Where `ip netns` keeps its namespaces.
const NAMED: &str = "/run/netns";

/// Makes a port, and with a command hands it over.
pub fn attach(attach: Attach, context: &Context) -> Result<Outcome, Error> {
    let (spec, command) = spec(attach)?;
    let port = match client::ask(&context.paths, &Request::Attach { port: spec.clone() })? {
        Response::Attached(port) => port,
        _ => return Err(Error::WrongAnswer),
    };
    if let (PortKind::Tap { queues }, false) = (&spec.kind, command.is_empty()) {
        // Only comes back if the command cannot be run: then nothing is left half made.
        let source = Box::new(become_command(&port.name, *queues, &command));
        client::ask(&context.paths, &Request::Detach { name: port.name.clone() })?;
        return Err(Error::HandOver { port: port.name, source });
    }
    let aside = notice(&port, context);
    Ok(Outcome { aside, ..Outcome::fine(format!("{}\n", port.name), port) })
}

fn become_command(tap: &str, queues: u16, line: &[OsString]) -> vmm_attach::Error {
    match vmm_attach::open_queues(tap, queues) {
        Ok(queues) => vmm_attach::become_command(line, &queues),
        Err(error) => error,
    }
}

/// A port that is closed works as asked for, but somebody may wonder.
pub(super) fn notice(port: &Port, context: &Context) -> String {
    match &port.closed {
        Some(why) => {
            let closed = context.paint_aside.paint(Style::Warn, "closed:");
            format!("{} is {closed} {why}\n", port.name)
        }
        None => String::new(),
    }
}

fn spec(attach: Attach) -> Result<(PortSpec, Vec<OsString>), Error> {
    let of = |name: String, kind: PortKind, nic: Option<NicArgs>| {
        let (guest, network) = nic.map_or((None, None), |n| (Some(n.guest), n.network));
        PortSpec { name, kind, guest, network }
    };
    Ok(match attach {
        Attach::Tap { name, nic, queues, command, .. } => {
            (of(name, PortKind::Tap { queues }, Some(nic)), command)
        }
        Attach::VhostUser { name, nic, owner, group, .. } => {
            let owner = Owner {
                user: owner.map(user).transpose()?,
                group: group.map(members).transpose()?,
            };
            (of(name, PortKind::VhostUser { owner }, Some(nic)), Vec::new())
        }
        Attach::Veth { name, nic, netns, peer, no_configure, .. } => {
            let netns = Some(namespace(&netns, Path::new(NAMED))?);
            let kind = PortKind::Veth { netns, peer, configure: !no_configure };
            (of(name, kind, Some(nic)), Vec::new())
        }
        Attach::Uplink { name, tagged, untagged, xdp, .. } => {
            let kind = PortKind::Uplink { tagged, untagged, xdp: xdp.into() };
            (of(name, kind, None), Vec::new())
        }
    })
}

/// A user by name or number.
fn user(name: String) -> Result<u32, Error> {
    match name.parse() {
        Ok(number) => Ok(number),
        Err(_) => match User::from_name(&name) {
            Ok(Some(user)) => Ok(user.uid.as_raw()),
            _ => Err(Error::NoSuchUser { user: name }),
        },
    }
}

/// A group by name or number.
fn members(name: String) -> Result<u32, Error> {
    match name.parse() {
        Ok(number) => Ok(number),
        Err(_) => run_dir::group(&name).map(Gid::as_raw),
    }
}

/// A namespace by name, path or process. The daemon opens it, so the path is absolute.
fn namespace(text: &str, named: &Path) -> Result<PathBuf, Error> {
    let path = if text.contains('/') {
        std::path::absolute(text).unwrap_or_else(|_| text.into())
    } else if named.join(text).exists() || text.parse::<u32>().is_err() {
        named.join(text)
    } else {
        format!("/proc/{text}/ns/net").into()
    };
    if path.exists() {
        return Ok(path);
    }
    let all = entries(named);
    let near = names::suggest(text, "namespaces", all.iter().map(String::as_str));
    Err(Error::NoSuchNamespace { path, near })
}

fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect()
}

/// Takes a port away.
pub fn detach(name: String, context: &Context) -> Result<Outcome, Error> {
    match client::ask(&context.paths, &Request::Detach { name: name.clone() })? {
        Response::Detached => {
            Ok(Outcome::fine(format!("{name} is detached\n"), json!({ "detached": name })))
        }
        _ => Err(Error::WrongAnswer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_name_a_path_or_a_process() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path();
        for name in ["web1", "77"] {
            fs::write(named.join(name), "").unwrap();
        }
        let own = std::process::id();
        assert_eq!(namespace("web1", named).unwrap(), named.join("web1"));
        assert_eq!(namespace("77", named).unwrap(), named.join("77"));
        let expected = PathBuf::from(format!("/proc/{own}/ns/net"));
        assert_eq!(namespace(&own.to_string(), named).unwrap(), expected);
        assert_eq!(namespace("/proc/self/ns/net", named).unwrap(), Path::new("/proc/self/ns/net"));
    }

    #[test]
    fn users_and_groups_have_names_and_numbers() {
        assert_eq!(user("root".into()).unwrap(), 0);
        assert_eq!(user("64055".into()).unwrap(), 64055);
        assert_eq!(members("root".into()).unwrap(), 0);
        let nobody = user("no-such-user".into()).unwrap_err();
        assert!(nobody.to_string().contains("no user \"no-such-user\""), "{nobody}");
        assert!(members("no-such-group".into()).unwrap_err().to_string().contains("no group"));
    }

    #[test]
    fn a_namespace_that_does_not_exist_has_a_likely_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("web1"), "").unwrap();
        let error = namespace("web2", folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("/web2"), "{error}");
        assert_eq!(error.hint().unwrap(), "did you mean web1?");
    }
}
