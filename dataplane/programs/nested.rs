//! A cargo inside a build script, for crates of another compiler and another target. Build scripts
//! of several packages include this file.

use std::{env, path::Path, process::Command};

/// Debian's compiler, whose sources for `core` are packaged.
pub const RUSTC: &str = "/usr/bin/rustc";

/// `cargo build --release` of the package in `source`, into `target`, with `core` built for the
/// triple and these flags for the compiler. Ends the build script if that fails.
pub fn build(source: &Path, target: &Path, triple: &str, flags: &[String], more: &[&str]) {
    let mut cargo = Command::new(var("CARGO"));
    // Nothing of the outer build may leak into the inner one: another compiler, another target.
    for (name, _) in env::vars_os() {
        let n = name.to_string_lossy();
        let cargos = n.starts_with("CARGO") && n != "CARGO_HOME";
        if cargos || n.starts_with("RUST") && n != "RUSTUP_HOME" && n != "RUSTUP_TOOLCHAIN" {
            cargo.env_remove(&name);
        }
    }
    let status = cargo
        .current_dir(source)
        .args(["build", "--locked", "--release", "--target", triple])
        .args(["-Z", "build-std=core", "--target-dir"])
        .arg(target)
        .args(more)
        .env("RUSTC", RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .status()
        .unwrap_or_else(|e| fail(&format!("cargo does not start: {e}")));
    if !status.success() {
        fail(&format!("{} does not compile; the messages above say why", source.display()));
    }
}

/// What cargo tells build scripts.
pub fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|e| fail(&format!("{name}: {e}")))
}

/// Ends the build with this message.
pub fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    std::process::exit(1)
}
