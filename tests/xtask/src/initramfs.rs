//! What a kernel starts with: busybox, the modules for its disks, and a script that mounts these.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::disk;

/// What Debian's kernels have as modules on the way to a disk, each behind those that it needs.
const MODULES: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "overlay",
];

/// The same for guests of our own monitor, whose devices are on MMIO.
const GUEST_MODULES: &[&str] = &[
    "failover",
    "net_failover",
    "virtio_ring",
    "virtio",
    "virtio_mmio",
    "virtio_net",
    "virtio_blk",
    "rng-core",
    "virtio-rng",
    "overlay",
];

/// The same for guests of QEMU's that have no disk, but a network card.
const ALONE_MODULES: &[&str] = &[
    "failover",
    "net_failover",
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_net",
];

/// Whom an archive is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For<'a> {
    /// A machine of QEMU's.
    Machine,
    /// A guest of our own monitor.
    Guest,
    /// A guest of QEMU's without disks: this program is what it runs.
    Alone(&'a Path),
}

impl For<'_> {
    const fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Machine => MODULES,
            Self::Guest => GUEST_MODULES,
            Self::Alone(_) => ALONE_MODULES,
        }
    }
}

/// The first program. What the machine is for is `/inside` of the archive, if there is one. Else the
/// two disks come one above the other, below a layer in memory that takes what is written, and it is
/// their `/inside`, unless the command line says `inside=`. Whatever comes of it, that was all.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin
for command in mount mkdir insmod switch_root poweroff; do
    busybox ln -s busybox /bin/$command
done
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod $module; done
[ -x /inside ] && exec /inside
mkdir /system /programs /changes /root
mount -t ext4 -o ro /dev/vda /system && mount -t ext4 -o ro /dev/vdb /programs || poweroff -f
mount -t tmpfs changes /changes
mkdir /changes/upper /changes/work
layers=lowerdir=/programs:/system,upperdir=/changes/upper,workdir=/changes/work
mount -t overlay -o $layers root /root || poweroff -f
mount -t devtmpfs dev /root/dev
exec switch_root -c /dev/console /root ${inside:-/inside}
"#;

/// Writes the archive for a kernel whose modules lie under `modules`.
pub fn write(modules: &Path, archive: &Path, whose: For<'_>) -> Result<()> {
    let tree = disk::fresh(&archive.with_extension("tree"))?;
    for dir in ["bin", "dev", "modules"] {
        fs::create_dir_all(tree.join(dir)).context("creating the initramfs tree")?;
    }
    install(Path::new("/bin/busybox"), &tree.join("bin/busybox"))?;
    symlink("busybox", tree.join("bin/sh"))?;
    for (number, module) in whose.modules().iter().enumerate() {
        if let Some(file) = find(modules, module)? {
            unpack(&file, &tree.join(format!("modules/{number:02}-{module}.ko")))?;
        }
    }
    if let For::Alone(program) = whose {
        install(program, &tree.join("inside"))?;
    }
    fs::write(tree.join("init"), INIT)?;
    fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755))?;
    pack(&tree, archive)?;
    fs::remove_dir_all(&tree).context("removing the initramfs tree")
}

fn install(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A module by its name; none where the kernel has it built in.
fn find(directory: &Path, module: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find(&path, module)? {
                return Ok(Some(found));
            }
        } else if path.file_name().is_some_and(|name| {
            name == format!("{module}.ko").as_str() || name == format!("{module}.ko.xz").as_str()
        }) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn unpack(from: &Path, to: &Path) -> Result<()> {
    if from.extension().is_none_or(|extension| extension != "xz") {
        return install(from, to);
    }
    let status = Command::new("xz").arg("-dc").arg(from).stdout(File::create(to)?).status()?;
    if !status.success() {
        bail!("xz -dc {}: {status}", from.display());
    }
    Ok(())
}

/// The kernel reads the `newc` format.
fn pack(tree: &Path, archive: &Path) -> Result<()> {
    let list = Command::new("find").arg(".").current_dir(tree).output().context("running find")?;
    let mut cpio = Command::new("cpio")
        .args(["-o", "-H", "newc", "--quiet"])
        .current_dir(tree)
        .stdin(Stdio::piped())
        .stdout(File::create(archive)?)
        .spawn()
        .context("running cpio")?;
    cpio.stdin.take().context("cpio reads names")?.write_all(&list.stdout)?;
    let status = cpio.wait()?;
    if !status.success() {
        bail!("cpio: {status}");
    }
    Ok(())
}
