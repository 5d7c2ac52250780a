//! Compiles `vmm-attach/guest` with Debian's rustc-web (whose sources for `core` are packaged),
//! installed by `cargo xtask setup`.

#[path = "../../dataplane/programs/nested.rs"]
mod nested;

use std::{
    fs,
    path::{Path, PathBuf},
};

use nested::{RUSTC, fail, var};

/// No operating system, no floating point and no SSE, which KVM's emulator hardly knows.
const TRIPLE: &str = "x86_64-unknown-none";

fn main() {
    let source = PathBuf::from(var("CARGO_MANIFEST_DIR")).join("../guest");
    let out = PathBuf::from(var("OUT_DIR"));
    for watched in ["src", "build.rs", "Cargo.toml", "Cargo.lock", "guest.ld"] {
        println!("cargo::rerun-if-changed={}", source.join(watched).display());
    }
    println!("cargo::rerun-if-changed=../../dataplane/programs/nested.rs");
    if !Path::new(RUSTC).exists() {
        fail("the compiler for the test guest is not installed: run `cargo xtask setup` first");
    }
    let flags = [
        // That of Debian's binutils: there is no linker in rustc-web.
        "-Clinker=ld".to_owned(),
        "-Clinker-flavor=ld".to_owned(),
        // It runs where it is linked for, below 2 GiB.
        "-Crelocation-model=static".to_owned(),
        "-Ccode-model=small".to_owned(),
        "-Cstrip=symbols".to_owned(),
    ];
    let target = out.join("target");
    let memory = ["-Z", "build-std-features=compiler-builtins-mem"];
    nested::build(&source, &target, TRIPLE, &flags, &memory);
    let built = target.join(TRIPLE).join("release/guest");
    fs::copy(&built, out.join("guest")).unwrap_or_else(|e| fail(&format!("the guest: {e}")));
}
