//! Where the image is linked for: `guest.ld`.

fn main() {
    println!("cargo::rerun-if-changed=guest.ld");
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where it is");
    println!("cargo::rustc-link-arg=-T{directory}/guest.ld");
    println!("cargo::rustc-link-arg=--gc-sections");
}
