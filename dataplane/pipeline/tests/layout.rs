//! A layout that changes gets another version: its number is in the path of the pins, and maps of
//! one layout must never be read by programs of another.

use portcullis_pipeline::LAYOUT_VERSION;

/// Version and digest of `src/layout` without comments. When this test fails: raise
/// [`LAYOUT_VERSION`] if the meaning of any byte has changed since the last release, and write the
/// new digest here.
const KNOWN: (u32, u64) = (5, 0x8fd1_b1db_1b78_67ff);

/// FNV-1a over the code, white space and comments left out.
fn digest(text: &str) -> u64 {
    let code = text.lines().map(|l| l.split("//").next().unwrap_or_default());
    let bytes = code.flat_map(str::bytes).filter(|b| !b.is_ascii_whitespace());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn the_version_follows_the_layout() {
    let text = [
        include_str!("../src/layout/mod.rs"),
        include_str!("../src/layout/address.rs"),
        include_str!("../src/layout/dense.rs"),
        include_str!("../src/layout/event.rs"),
        include_str!("../src/layout/flow.rs"),
        include_str!("../src/layout/generation.rs"),
        include_str!("../src/layout/network.rs"),
        include_str!("../src/layout/told.rs"),
        include_str!("../src/layout/port.rs"),
        include_str!("../src/layout/traffic.rs"),
    ];
    let now = (LAYOUT_VERSION, digest(&text.concat()));
    assert_eq!(now, KNOWN, "src/layout has changed: {now:#x?}");
}
