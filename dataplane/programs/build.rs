//! Compiles `ebpf/` with Debian's rustc-web (whose sources for `core` are packaged) and
//! bpf-linker, both installed by `cargo xtask setup`.

mod nested;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use nested::{RUSTC, fail, var};

const TRIPLE: &str = "bpfel-unknown-none";

/// Objects that the crate `ebpf` makes.
const OBJECTS: [&str; 2] = ["switch", "yardstick"];

fn main() {
    let root = PathBuf::from(var("CARGO_MANIFEST_DIR")).join("../..");
    let out = PathBuf::from(var("OUT_DIR"));
    for watched in ["ebpf/src", "ebpf/Cargo.toml", "ebpf/Cargo.lock", "dataplane/pipeline"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    println!("cargo::rerun-if-env-changed=XDG_CACHE_HOME");
    let linker = toolchain().join("bin/bpf-linker");
    if !linker.exists() || !Path::new(RUSTC).exists() {
        fail("the eBPF toolchain is not installed: run `cargo xtask setup` first");
    }
    let target = out.join("ebpf");
    for object in OBJECTS {
        // What an earlier run left must not pass for the result of this one.
        let _ = fs::remove_file(built(&target, object));
    }
    compile(&root.join("ebpf"), &target, &linker);
    for object in OBJECTS {
        let to = out.join(object);
        fs::copy(built(&target, object), &to).unwrap_or_else(|e| fail(&format!("{object}: {e}")));
        strip(&to);
    }
}

/// Where `cargo xtask setup` puts what no package has.
fn toolchain() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME")
        .filter(|v| !v.is_empty())
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")))
        .unwrap_or_else(|| fail("neither XDG_CACHE_HOME nor HOME is set"));
    cache.join("portcullis/toolchain")
}

fn built(target: &Path, object: &str) -> PathBuf {
    target.join(TRIPLE).join("release").join(object)
}

fn compile(source: &Path, target: &Path, linker: &Path) {
    let flags = [
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", linker.display()),
        "-Ctarget-cpu=v3".to_owned(),
        // Without it every packet word is assembled from bytes.
        "-Ctarget-feature=+allows-misaligned-mem-access".to_owned(),
    ];
    nested::build(source, target, TRIPLE, &flags, &[]);
}

/// Leaves BTF, drops DWARF: only size is lost when there is no strip tool.
fn strip(object: &Path) {
    let _ = Command::new("llvm-strip").arg("-g").arg(object).status();
}
