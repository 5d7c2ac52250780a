//! Debian packages with everything that they need, as files: the system of a virtual machine is
//! made of what is installed here, so it needs no network and no second download.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Every Debian system has these, so nobody depends on them.
const ESSENTIAL: &[&str] = &[
    "base-files",
    "bash",
    "coreutils",
    "dash",
    "findutils",
    "gawk",
    "grep",
    "hostname",
    "kmod",
    "libc-bin",
    "mawk",
    "mount",
    "netbase",
    "procps",
    "sed",
    "tar",
    "util-linux",
];

/// Files that no package owns: what installing them made.
const MADE: &[&str] =
    &["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/alternatives"];

/// Links that no package owns stand in these: alternatives.
const LINKED: &[&str] = &["/usr/bin", "/usr/sbin", "/etc/alternatives"];

/// Nobody in there reads manuals or looks at pictures.
const LEFT_OUT: &[&str] = &[
    "/usr/share/doc",
    "/usr/share/man",
    "/usr/share/locale",
    "/usr/share/icons",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/bug",
    "/usr/share/themes",
    "/usr/share/i18n",
];

/// Packages and what they depend on, each `NAME VERSION`, sorted.
pub fn packages(wanted: &[&str]) -> Result<Vec<String>> {
    let mut depends = Command::new("apt-cache");
    depends.args(["depends", "--recurse", "--installed", "--no-recommends", "--no-suggests"]);
    depends.args(["--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"]);
    depends.args(wanted).args(ESSENTIAL);
    let names = parse_depends(&stdout(depends)?);
    let mut versions = Command::new("dpkg-query");
    versions.args(["-W", "-f", "${Package} ${Version} ${db:Status-Status}\n"]).args(&names);
    // It says with its status that some of them are not installed, which we know.
    let output = versions.output().context("running dpkg-query")?;
    let installed: BTreeSet<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| Some(line.strip_suffix(" installed")?.to_owned()))
        .collect();
    Ok(installed.into_iter().collect())
}

/// Copies all files of these packages (`NAME VERSION`) below `tree`.
pub fn copy(packages: &[String], tree: &Path) -> Result<()> {
    let mut list = Command::new("dpkg-query");
    list.arg("-L").args(packages.iter().filter_map(|package| package.split(' ').next()));
    let mut files = files(&stdout(list)?);
    files.extend(MADE.iter().map(PathBuf::from));
    for directory in LINKED {
        for entry in fs::read_dir(directory).with_context(|| (*directory).to_owned())? {
            let entry = entry?;
            if entry.file_type()?.is_symlink() {
                files.insert(entry.path());
            }
        }
    }
    // Python compiles its library when it is installed; doing it again would take minutes.
    files.extend(compiled_python()?);
    // Bookworm's /bin and /lib are links, which no package owns either.
    files.extend(["/bin", "/sbin", "/lib", "/lib64"].map(PathBuf::from));
    transfer(&files, tree)
}

/// Paths that exist, without what is left out.
fn files(list: &str) -> BTreeSet<PathBuf> {
    list.lines()
        .filter(|line| line.starts_with('/') && *line != "/.")
        .filter(|line| !LEFT_OUT.iter().any(|out| Path::new(line).starts_with(out)))
        .map(PathBuf::from)
        .filter(|path| path.symlink_metadata().is_ok())
        .collect()
}

fn compiled_python() -> Result<Vec<PathBuf>> {
    let mut find = Command::new("find");
    find.args(["/usr/lib", "-path", "/usr/lib/python3*/__pycache__*"]);
    Ok(stdout(find)?.lines().map(PathBuf::from).collect())
}

/// One `tar` reads, another writes: links stay links, times and owners stay.
fn transfer(files: &BTreeSet<PathBuf>, tree: &Path) -> Result<()> {
    // What these link to must be there before anything goes through the links.
    for directory in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64"] {
        fs::create_dir_all(tree.join(directory))?;
    }
    let names: Vec<String> = files.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let list = tree.with_extension("list");
    fs::write(&list, names.join("\n")).context("writing the list of files")?;
    let mut reader = Command::new("tar")
        .args(["--create", "--no-recursion", "--absolute-names", "--files-from"])
        .arg(&list)
        .stdout(Stdio::piped())
        .spawn()
        .context("running tar")?;
    let from = reader.stdout.take().context("tar writes to a pipe")?;
    let writer = Command::new("tar")
        .args(["--extract", "--keep-directory-symlink", "--directory"])
        .arg(tree)
        .stdin(from)
        .stderr(Stdio::null())
        .status()
        .context("running tar")?;
    let read = reader.wait()?;
    fs::remove_file(list)?;
    if !read.success() || !writer.success() {
        bail!("copying files of Debian packages: tar ended with {read} and {writer}");
    }
    Ok(())
}

fn stdout(mut command: Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Names stand at the beginning of a line, what they depend on behind blanks; names of what is
/// only virtual in `<>`.
fn parse_depends(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()))
        // `libc6:i386`: another architecture's.
        .filter(|line| !line.contains(':'))
        .map(|line| line.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read() {
        let text = "curl\n  Depends: libc6\n  Depends: <virtual>\nlibc6\n<virtual>\n    curl\n";
        let names: Vec<String> = parse_depends(text).into_iter().collect();
        assert_eq!(names, ["curl", "libc6"]);
    }

    #[test]
    fn manuals_stay_here() {
        let list =
            "/.\n/etc\n/usr/share/doc/curl\n/nowhere/at/all\npackage diverts others to: /x\n";
        assert_eq!(files(list).into_iter().collect::<Vec<_>>(), [PathBuf::from("/etc")]);
    }
}
