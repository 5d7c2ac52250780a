//! File systems for virtual machines: one with Debian's packages and the modules of all kernels,
//! made once for a machine, and one with what is to be run, made for each run.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{closure, kernel::Kernel, place, step::Step};

/// Counted up when [`system`] puts something else into its image.
const FORM: u32 = 1;

/// The image with Debian's packages, what these depend on, and the modules of the kernels.
pub fn system(packages: &[&str], kernels: &[Kernel]) -> Result<PathBuf> {
    let packages = closure::packages(packages)?;
    let releases = kernels.iter().map(Kernel::release).collect::<Result<Vec<_>>>()?;
    let mut hasher = DefaultHasher::new();
    (FORM, &packages, &releases).hash(&mut hasher);
    let image = place::systems().join(format!("{:016x}.ext4", hasher.finish()));
    if image.exists() {
        return Ok(image);
    }
    // Several work trees may want it at a time: one makes it, the others find it then.
    fs::create_dir_all(place::cache()).context("creating the cache")?;
    let lock = File::create(place::systems().with_extension("lock"))?;
    lock.lock().context("waiting for another system to be made")?;
    if image.exists() {
        return Ok(image);
    }
    println!("  ..  a system of {} Debian packages for virtual machines", packages.len());
    // Others would be of packages that are no longer installed; who still runs one keeps it open.
    let tree = fresh(&place::systems())?.join("tree");
    fs::create_dir(&tree)?;
    closure::copy(&packages, &tree)?;
    for (kernel, release) in kernels.iter().zip(&releases) {
        let modules = tree.join("lib/modules");
        fs::create_dir_all(&modules)?;
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(kernel.modules.join(release)).arg(modules);
        Step::new(format!("modules of {release}"), copy).succeed()?;
        let mut depmod = Command::new("depmod");
        depmod.arg("-b").arg(&tree).arg(release);
        Step::new(format!("depmod {release}"), depmod).succeed()?;
    }
    for directory in ["dev", "proc", "sys", "run", "tmp", "root", "var/tmp", "var/log"] {
        fs::create_dir_all(tree.join(directory))?;
    }
    fs::set_permissions(tree.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    pack(&tree, &image)?;
    Ok(image)
}

/// An empty directory.
pub fn fresh(tree: &Path) -> Result<PathBuf> {
    if tree.exists() {
        fs::remove_dir_all(tree)?;
    }
    fs::create_dir_all(tree).with_context(|| format!("creating {}", tree.display()))?;
    Ok(tree.to_path_buf())
}

/// Makes an image of a tree, with no room to spare: nobody writes to it. The tree is gone then.
pub fn pack(tree: &Path, image: &Path) -> Result<()> {
    let mut du = Command::new("du");
    du.args(["--summarize", "--block-size=1M", "--apparent-size"]).arg(tree);
    let output = String::from_utf8_lossy(&du.output().context("running du")?.stdout).into_owned();
    let size = output.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
    let size = size.context("du prints a number")?;
    let unfinished = image.with_extension("new");
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-d"]);
    // Blocks of small files, inodes and tables come on top.
    mke2fs.arg(tree).arg(&unfinished).arg(format!("{}M", size * 3 / 2 + 64));
    Step::new("mke2fs", mke2fs).succeed()?;
    fs::remove_dir_all(tree)?;
    fs::rename(&unfinished, image).with_context(|| format!("creating {}", image.display()))
}
