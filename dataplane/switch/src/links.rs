//! Programs at the ingress of interfaces: tcx links, pinned, or clsact filters, which outlive
//! their maker by themselves. Replacing a program leaves no gap in either.

use std::{cell::RefCell, collections::BTreeMap, fs, path::Path};

use aya::{
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        links::{FdLink, Link as _, LinkError, PinnedLink},
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
    },
    util::KernelVersion,
};
use portcullis_ports::link;

use crate::{
    bpffs::{self, Bpffs},
    error::{Chain, Error, Result, is_refusal},
    linger,
    status::{Hook, Notice},
};

/// The first kernel with tcx.
const TCX_SINCE: KernelVersion = KernelVersion::new(6, 6, 0);

/// Where our filter stands among those of clsact: first.
const PRIORITY: u16 = 1;
/// Tells our filter from others of that priority: "PC" in ASCII.
const HANDLE: TcHandle = TcHandle::new(0, 0x5043);

/// How this kernel attaches programs.
pub fn hook_of_kernel() -> Hook {
    match KernelVersion::current() {
        Ok(version) if version < TCX_SINCE => Hook::Clsact,
        _ => Hook::Tcx,
    }
}

/// The attachments of one switch.
pub struct Links {
    bpffs: Bpffs,
    hook: Hook,
    /// The links by port, as long as this process lives: where somebody unmounts the BPF file
    /// system, pins alone would let every port go.
    held: RefCell<BTreeMap<String, PinnedLink>>,
}

impl Links {
    /// Those pinned at `bpffs`, made by `hook`.
    pub fn new(bpffs: Bpffs, hook: Hook) -> Self {
        Self { bpffs, hook, held: RefCell::default() }
    }

    /// How programs are attached.
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// Ports with an attachment.
    pub fn ports(&self) -> Result<Vec<String>> {
        Ok(bpffs::list(&self.bpffs.links())?.iter().map(|p| bpffs::name_of(p)).collect())
    }

    /// Attaches the program to a port, or makes it take over from what is attached there.
    pub fn attach(&self, program: &mut SchedClassifier, port: &str) -> Result<()> {
        if self.replace(program, port)? {
            return Ok(());
        }
        match self.hook {
            Hook::Tcx => self.attach_tcx(program, port)?,
            Hook::Clsact => self.attach_clsact(program, port)?,
        }
        self.hold(port)
    }

    /// Keeps the link of a port open. A clsact filter stays with its interface by itself.
    fn hold(&self, port: &str) -> Result<()> {
        let path = self.bpffs.link(port);
        if !path.is_dir() {
            let link = PinnedLink::from_pin(path);
            let link = link.map_err(|e| link_error(format!("open the link of {port}"), e))?;
            self.held.borrow_mut().insert(port.to_owned(), link);
        }
        Ok(())
    }

    fn attach_tcx(&self, program: &mut SchedClassifier, port: &str) -> Result<()> {
        let action = || format!("attach the program to {port}");
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program
            .attach_with_options(port, TcAttachType::Ingress, options)
            .map_err(|e| no_hook(port, e))?;
        let link = program.take_link(id).map_err(Error::program(action()))?;
        let link: FdLink = link.try_into().map_err(|e| link_error(action(), e))?;
        let path = self.bpffs.link(port);
        link.pin(&path).map_err(|e| Error::Pin { path, source: Chain::new(e) })?;
        Ok(())
    }

    fn attach_clsact(&self, program: &mut SchedClassifier, port: &str) -> Result<()> {
        match tc::qdisc_add_clsact(port) {
            Err(TcError::NetlinkError(e)) if e.raw_os_error() == Some(libc::EEXIST) => {}
            other => other.map_err(|e| no_hook(port, e.into()))?,
        }
        // The note is written first: a filter without one would never be removed.
        let note = self.bpffs.link(port);
        fs::create_dir_all(&note).map_err(|e| Error::file("create", note, e))?;
        let options = NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
        let id = program
            .attach_with_options(port, TcAttachType::Ingress, TcAttachOptions::Netlink(options))
            .map_err(|e| no_hook(port, e))?;
        let link = program.take_link(id).map_err(Error::program("keep the filter"))?;
        // Dropping it would detach it; the kernel keeps the filter with the interface.
        std::mem::forget(link);
        Ok(())
    }

    /// Makes the program take over at a port. False where nothing is attached there (any more):
    /// then no pin is left either.
    fn replace(&self, program: &mut SchedClassifier, port: &str) -> Result<bool> {
        let path = self.bpffs.link(port);
        if !path.exists() {
            return Ok(false);
        }
        let replaced = if path.is_dir() {
            self.replace_clsact(program, port)?
        } else {
            self.replace_tcx(program, port)?
        };
        if !replaced {
            self.held.borrow_mut().remove(port);
            bpffs::remove(&path)?;
        } else if !self.held.borrow().contains_key(port) {
            self.hold(port)?;
        }
        Ok(replaced)
    }

    fn replace_tcx(&self, program: &mut SchedClassifier, port: &str) -> Result<bool> {
        let action = || format!("replace the program at {port}");
        let pinned = PinnedLink::from_pin(self.bpffs.link(port));
        let link = FdLink::from(pinned.map_err(|e| link_error(action(), e))?);
        let runs = link.info().map_err(|e| link_error(action(), e))?.program_id();
        if !is_attached(port, runs)? {
            return Ok(false);
        }
        if runs == program.info().map_err(Error::program(action()))?.id() {
            return Ok(true);
        }
        let link: SchedClassifierLink = link.try_into().map_err(|e| link_error(action(), e))?;
        let id = program.attach_to_link(link).map_err(Error::program(action()))?;
        // Taken out and closed: the pin keeps it attached.
        drop(program.take_link(id).map_err(Error::program(action()))?);
        Ok(true)
    }

    fn replace_clsact(&self, program: &mut SchedClassifier, port: &str) -> Result<bool> {
        if link::find(port)?.is_none() {
            return Ok(false);
        }
        let action = || format!("replace the filter at {port}");
        match program.attach_to_link(our_filter(port)?) {
            Ok(id) => {
                std::mem::forget(program.take_link(id).map_err(Error::program(action()))?);
                Ok(true)
            }
            // No such filter, or no clsact: the interface is another one of that name.
            Err(ProgramError::TcError(TcError::NetlinkError(e)))
                if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) =>
            {
                Ok(false)
            }
            Err(e) => Err(Error::program(action())(e)),
        }
    }

    /// Makes the program take over everywhere; the ports where it runs now.
    pub fn take_over(
        &self,
        program: &mut SchedClassifier,
        notices: &mut Vec<Notice>,
    ) -> Result<Vec<String>> {
        let mut running = Vec::new();
        for port in self.ports()? {
            if self.replace(program, &port)? {
                running.push(port);
            } else {
                notices.push(Notice::StaleLink { port });
            }
        }
        Ok(running)
    }

    /// Takes the program off a port: when it returns it is gone. Nothing being there is fine.
    pub fn detach(&self, port: &str) -> Result<()> {
        let path = self.bpffs.link(port);
        if !path.is_dir() {
            return self.detach_tcx(port, &path);
        }
        if link::find(port)?.is_some() {
            let detached = our_filter(port)?.detach();
            if let Err(e) = detached
                && !matches!(&e, ProgramError::NetlinkError(n)
                    if matches!(n.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)))
            {
                return Err(Error::program(format!("take the filter off {port}"))(e));
            }
        }
        bpffs::remove(&path).map(drop)
    }

    fn detach_tcx(&self, port: &str, path: &Path) -> Result<()> {
        let held = self.held.borrow_mut().remove(port);
        let link = match held {
            Some(link) => Some(link),
            None if path.exists() => Some(
                PinnedLink::from_pin(path)
                    .map_err(|e| link_error(format!("open the link of {port}"), e))?,
            ),
            None => None,
        };
        let Some(link) = link.map(FdLink::from) else { return Ok(()) };
        let runs = link.info().map_err(|e| link_error(format!("look at the link of {port}"), e))?;
        drop(link);
        bpffs::remove(path)?;
        linger::wait(|| is_attached(port, runs.program_id()))
    }
}

/// Our filter at a port, whoever attached it.
fn our_filter(port: &str) -> Result<SchedClassifierLink> {
    SchedClassifierLink::attached(port, TcAttachType::Ingress, PRIORITY, HANDLE, None)
        .map_err(|e| Error::program(format!("look for {port}"))(TcError::IoError(e).into()))
}

/// Does this program run at the ingress of an interface of that name?
fn is_attached(port: &str, program: u32) -> Result<bool> {
    match SchedClassifier::query_tcx(port, TcAttachType::Ingress) {
        Ok((_, programs)) => Ok(programs.iter().any(|p| p.id() == program)),
        // No such interface.
        Err(ProgramError::TcError(TcError::IoError(e)))
            if matches!(e.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) =>
        {
            Ok(false)
        }
        Err(e) => Err(Error::program(format!("look at the programs of {port}"))(e)),
    }
}

fn no_hook(port: &str, source: ProgramError) -> Error {
    match is_refusal(&source) {
        true => Error::NotPermitted { action: format!("attach a program to {port}") },
        false => Error::NoHook { port: port.into(), source: Chain::new(source) },
    }
}

pub(crate) fn link_error(action: String, source: LinkError) -> Error {
    Error::Link { action, source: Chain::new(source) }
}
