//! Removing a switch from what it left in the kernel alone: pins, notes and aliases.

use portcullis_ports::{alias_of, link};

use crate::{
    Switch,
    bpffs::{self, Bpffs},
    error::Result,
    links::{Links, hook_of_kernel},
    spec::Config,
    status::RemoveReport,
    uplink,
};

impl Switch {
    /// Removes everything of the switch in `config.run_dir`, whether its process lives, has ended
    /// or was killed, and nothing else. Nothing being there is fine.
    pub fn remove(config: &Config) -> Result<RemoveReport> {
        let mut report = RemoveReport::default();
        let alias = alias_of(&config.instance);
        // Interfaces go first: a port must not be without its program while it exists. Deleting
        // one end of a pair takes the other with it.
        for link in link::list_ours(&alias)? {
            if link::find(&link.name)?.is_some_and(|l| l.index == link.index) {
                link::delete(link.index)?;
            }
            report.interfaces.push(link.name);
        }
        let bpffs = Bpffs::of(&config.run_dir);
        if bpffs.is_mounted() {
            for version in bpffs.all_versions()? {
                release_uplinks(&version, &mut report)?;
                report.pins += bpffs::remove(version.version())?;
            }
        }
        bpffs.unmount()?;
        Ok(report)
    }
}

/// What still carries a program, now that our own interfaces are gone, is not ours.
fn release_uplinks(bpffs: &Bpffs, report: &mut RemoveReport) -> Result<()> {
    let links = Links::new(bpffs.clone(), hook_of_kernel());
    for port in links.ports()? {
        if link::find(&port)?.is_some() {
            uplink::give_back(bpffs, &port)?;
            report.uplinks.push(port.clone());
        }
        links.detach(&port)?;
        report.pins += 1;
    }
    Ok(())
}
