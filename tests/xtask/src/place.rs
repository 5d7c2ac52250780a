//! Where things lie: the repository, its target directory, the cache that outlives both.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The root of the repository.
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_path_buf()
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => env::current_dir().unwrap_or_else(|_| root()).join(dir),
        None => root().join("target"),
    }
}

/// Full logs of every step of the last run.
pub fn logs() -> PathBuf {
    target().join("xtask-logs")
}

/// What is downloaded or built once for a machine, whatever work tree asks for it.
pub fn cache() -> PathBuf {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let base = base.unwrap_or_else(|| {
        PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache")
    });
    base.join("portcullis")
}

/// The eBPF linker and its library. `dataplane/programs/build.rs` looks here.
pub fn toolchain() -> PathBuf {
    cache().join("toolchain")
}

/// Kernels taken out of their packages.
pub fn kernels() -> PathBuf {
    cache().join("kernels")
}

/// File systems of virtual machines, made of Debian's packages.
pub fn systems() -> PathBuf {
    cache().join("systems")
}

/// The cargo that runs us, in the repository.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}
