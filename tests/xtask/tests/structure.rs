//! The shape of the project: who may see whom, and where `unsafe` may stand.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Every package of ours with those of ours that it may depend on. Tests of a package may see
/// more; packages under `tests/` may see everything.
const MAY_SEE: &[(&str, &[&str])] = &[
    ("portcullis-pipeline", &[]),
    ("portcullis-image", &["portcullis-pipeline"]),
    ("portcullis-engine", &["portcullis-pipeline", "portcullis-image"]),
    ("portcullis-policy", &["portcullis-pipeline", "portcullis-image"]),
    ("portcullis-import", &["portcullis-image", "portcullis-pipeline", "portcullis-policy"]),
    ("portcullis-host-rules", &["portcullis-ports"]),
    ("portcullis-ports", &[]),
    ("portcullis-programs", &[]),
    ("portcullis-sandbox", &[]),
    (
        "portcullis-switch",
        &["portcullis-image", "portcullis-pipeline", "portcullis-ports", "portcullis-programs"],
    ),
    (
        "portcullis-vhost-user",
        &[
            "portcullis-engine",
            "portcullis-pipeline",
            "portcullis-ports",
            "portcullis-sandbox",
            "portcullis-switch",
        ],
    ),
    ("portcullis-store", &[]),
    ("vmm-attach", &["portcullis-ports"]),
    ("portcullis-guest-image", &[]),
    ("portcullis-vmm", &["portcullis-sandbox"]),
    (
        "portcullis",
        &[
            "portcullis-guest-image",
            "portcullis-host-rules",
            "portcullis-image",
            "portcullis-import",
            "portcullis-policy",
            "portcullis-store",
            "portcullis-switch",
            "portcullis-vhost-user",
            "portcullis-vmm",
            "vmm-attach",
        ],
    ),
];

/// The only package that may load programs into the kernel.
const LOADER: &str = "portcullis-switch";

/// Files that may hold `unsafe`, each with what it isolates.
const UNSAFE_FILES: &[(&str, &str)] = &[
    ("dataplane/engine/src/memory.rs", "advice to the kernel and the processor about memory"),
    ("dataplane/pipeline/src/word.rs", "words of table entries that several CPUs write"),
    ("dataplane/ports/src/ethtool.rs", "the ioctl that asks a NIC's driver"),
    ("dataplane/ports/src/tap.rs", "tap ioctls"),
    ("dataplane/sandbox/src/lib.rs", "how the allocator behaves"),
    ("dataplane/switch/src/batch.rs", "batched map updates, which aya does not have"),
    ("dataplane/switch/src/window.rs", "arrays of the kernel's in memory, which aya does not have"),
    ("dataplane/vhost-user/src/bell.rs", "calls that the kernel makes for us (io_submit)"),
    ("dataplane/vhost-user/src/fault.rs", "memory that a front end takes back while it is in use"),
    ("dataplane/vhost-user/src/map.rs", "slices of a guest's memory, found without a call"),
    ("ebpf/src/bytes.rs", "packet access, before and behind the packet buffer"),
    ("ebpf/src/frame.rs", "packet access in the kernel"),
    ("ebpf/src/maps.rs", "map access in the kernel"),
    ("ebpf/src/pass.rs", "hand-over of the context in the kernel"),
    ("ebpf/src/seam.rs", "calls between the parts that the verifier checks one by one"),
    ("ebpf/src/switch.rs", "the hooks' entry points"),
    ("ebpf/src/xdp.rs", "the context and the hook of XDP"),
    ("ebpf/src/yardstick.rs", "the hooks' entry points, for the bench"),
    ("tests/bench/src/sys.rs", "tap ioctls and clocks of the bench"),
    ("tests/lab/src/sys.rs", "tap ioctls and packet sockets of the lab"),
    ("vmm-attach/guest/src/cpu.rs", "instructions and registers of the bare machine"),
    ("vmm-attach/guest/src/main.rs", "the entry of the bare machine"),
    ("vmm-attach/guest/src/parameters.rs", "what the monitor has left in memory"),
    ("vmm-attach/guest/src/room.rs", "static memory that is taken once"),
    ("vmm-attach/guest/src/virtio.rs", "a ring that a device writes to"),
    ("vmm-attach/vmm/src/config.rs", "descriptors that a process inherits"),
    ("vmm-attach/vmm/src/memory.rs", "the guest's memory, given to KVM"),
    ("vmm-attach/vmm/src/snapshot/processor.rs", "extended registers, given to KVM"),
    ("vmm-attach/vmm/src/virtio/hostile.rs", "memory that is watched on either side"),
    ("vmm-attach/vmm/src/virtio/net/tap.rs", "frames between a tap and the guest's memory"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

/// Packages of a workspace as cargo sees them.
fn packages(directory: &str) -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root().join(directory))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Names of what a package depends on, its tests left out.
fn dependencies(package: &Value) -> BTreeSet<&str> {
    let all = package["dependencies"].as_array().unwrap().iter();
    all.filter(|d| d["kind"] != "dev").map(|d| d["name"].as_str().unwrap()).collect()
}

fn is_test(package: &Value) -> bool {
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    manifest.starts_with(root().join("tests"))
}

#[test]
fn packages_see_only_what_lies_below_them() {
    let packages = packages(".");
    let ours: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    for package in packages.iter().filter(|package| !is_test(package)) {
        let name = package["name"].as_str().unwrap();
        let (_, allowed) = MAY_SEE
            .iter()
            .find(|(known, _)| *known == name)
            .unwrap_or_else(|| panic!("{name} is new: say in MAY_SEE what it may depend on"));
        let seen: BTreeSet<&str> = dependencies(package).intersection(&ours).copied().collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        let forbidden: Vec<&&str> = seen.difference(&allowed).collect();
        assert!(forbidden.is_empty(), "{name} must not depend on {forbidden:?}");
    }
}

#[test]
fn the_programs_see_only_the_pipeline() {
    for package in packages("ebpf") {
        let ours: Vec<&str> = dependencies(&package)
            .into_iter()
            .filter(|name| name.starts_with("portcullis") || *name == "vmm-attach")
            .collect();
        assert_eq!(ours, ["portcullis-pipeline"], "{}", package["name"]);
    }
}

#[test]
fn only_the_loader_touches_aya() {
    for package in packages(".").iter().filter(|package| !is_test(package)) {
        let name = package["name"].as_str().unwrap();
        let touches = dependencies(package).iter().any(|d| *d == "aya" || d.starts_with("aya-"));
        assert!(!touches || name == LOADER, "{name} must not depend on aya");
    }
}

/// All Rust sources of the repository, relative to its root.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path.strip_prefix(root()).unwrap().to_path_buf());
        }
    }
}

/// Does a line of code (not of comment or text) use the word `unsafe`?
fn has_unsafe(source: &str) -> bool {
    source.lines().any(|line| {
        let code = line.split("//").next().unwrap_or_default();
        // What stands between quotation marks is text.
        let words = code.split('"').step_by(2);
        let mut words =
            words.flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_'));
        words.any(|word| word == "unsafe")
    })
}

#[test]
fn unsafe_stands_only_in_named_files() {
    let mut all = Vec::new();
    sources(&root(), &mut all);
    assert!(all.len() > 20, "the sources were not found");
    let named: BTreeSet<PathBuf> = UNSAFE_FILES.iter().map(|(file, _)| file.into()).collect();
    let found: BTreeSet<PathBuf> = all
        .into_iter()
        .filter(|file| has_unsafe(&fs::read_to_string(root().join(file)).unwrap()))
        .collect();
    let unnamed: Vec<&PathBuf> = found.difference(&named).collect();
    let gone: Vec<&PathBuf> = named.difference(&found).collect();
    assert!(unnamed.is_empty(), "`unsafe` outside the named files: {unnamed:?}");
    assert!(gone.is_empty(), "no `unsafe` (any more) in {gone:?}");
}

#[test]
fn every_unsafe_block_says_why_it_is_safe() {
    for (file, _) in UNSAFE_FILES {
        let source = fs::read_to_string(root().join(file)).unwrap();
        let lines: Vec<&str> = source.lines().collect();
        // Attributes (`#[unsafe(no_mangle)]`) do nothing by themselves.
        let blocks = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| has_unsafe(line) && !line.trim_start().starts_with("#[unsafe("));
        for (at, _) in blocks {
            let above = &lines[at.saturating_sub(6)..at];
            assert!(
                above.iter().any(|line| line.contains("SAFETY") || line.contains("# Safety")),
                "{file}:{}: no SAFETY comment above",
                at + 1
            );
        }
    }
}
