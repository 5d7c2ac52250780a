//! A root file system in memory: busybox, the modules a kernel needs, and one program to run.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Network devices and hooks that Debian's kernels have as modules.
const MODULES: &[&str] = &["veth", "tun", "sch_ingress", "cls_bpf", "act_bpf"];

/// Runs `/kernel-probe` and turns the machine off, whatever comes of it.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t tmpfs tmp /tmp
/bin/busybox mount -t tmpfs run /run
/bin/busybox mount -t bpf bpf /sys/fs/bpf
for module in /modules/*.ko; do /bin/busybox insmod "$module"; done
/bin/busybox ip link set lo up
echo
echo "kernel $(/bin/busybox uname -r)"
/kernel-probe
echo "kernel-probe exit $?"
/bin/busybox poweroff -f
"#;

/// Writes the archive for a kernel whose modules lie under `modules`.
pub fn write(modules: &Path, program: &Path, archive: &Path) -> Result<()> {
    let tree = archive.with_extension("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    for dir in ["bin", "proc", "sys", "dev", "tmp", "run", "modules"] {
        fs::create_dir_all(tree.join(dir)).context("creating the initramfs tree")?;
    }
    install(Path::new("/bin/busybox"), &tree.join("bin/busybox"))?;
    symlink("busybox", tree.join("bin/sh"))?;
    install(program, &tree.join("kernel-probe"))?;
    for library in libraries(program)? {
        let place = tree.join(library.strip_prefix("/")?);
        fs::create_dir_all(place.parent().context("a library lies in a directory")?)?;
        install(&library, &place)?;
    }
    for module in MODULES {
        if let Some(file) = find(modules, module)? {
            unpack(&file, &tree.join("modules").join(format!("{module}.ko")))?;
        }
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

/// The shared libraries of a program, so that it need not be compiled a second time, statically.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("running ldd")?;
    Ok(parse_ldd(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_ldd(text: &str) -> Vec<PathBuf> {
    text.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let text = "\tlinux-vdso.so.1 (0x7ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        assert_eq!(
            parse_ldd(text),
            [
                Path::new("/lib/x86_64-linux-gnu/libc.so.6"),
                Path::new("/lib64/ld-linux-x86-64.so.2")
            ]
        );
        assert!(parse_ldd("\tnot a dynamic executable\n").is_empty());
    }
}
