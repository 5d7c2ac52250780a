//! A layout that changes gets another version: its number is in the path of the pins, and maps of
//! one layout must never be read by programs of another.

use portcullis_pipeline::LAYOUT_VERSION;

/// Version and digest of `src/layout.rs` without comments. When this test fails: raise
/// [`LAYOUT_VERSION`] if the meaning of any byte has changed since the last release, and write the
/// new digest here.
const KNOWN: (u32, u64) = (5, 0x4e3d_7c8d_426e_a4a1);

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
    let now = (LAYOUT_VERSION, digest(include_str!("../src/layout.rs")));
    assert_eq!(now, KNOWN, "src/layout.rs has changed: {now:#x?}");
}
