//! A million prefixes: as many /24s as single addresses, and one in ten of IPv6.

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

use portcullis_image::Denied;

/// Prefixes in all.
pub const PREFIXES: u32 = 1_000_000;
/// /48s among them.
const V6: u32 = PREFIXES / 10;
const V4: u32 = PREFIXES - V6;
/// Where those of IPv4 begin: pairs of a whole /24 and one address in the next.
const FIRST: u32 = 0x1000_0000;
const PAIR: u32 = 512;
const SINGLE: u32 = 256 + 7;
/// Where nothing is denied: half of a /8.
const OTHERS: u32 = 0x0b00_0000;
/// And those of IPv6, every second /48.
const FIRST_V6: u128 = 0x2600 << 112;
const STRIDE_V6: u128 = 1 << 81;

/// As the policy has them.
pub fn denied() -> Denied {
    let pair = |i: u32| {
        let base = FIRST + i * PAIR;
        [(base, base + 255), (base + SINGLE, base + SINGLE)]
    };
    let net = |i: u32| FIRST_V6 + u128::from(i) * STRIDE_V6;
    Denied {
        v4: (0..V4 / 2).flat_map(pair).collect(),
        v6: (0..V6).map(|i| (net(i), net(i) + (STRIDE_V6 >> 1) - 1)).collect(),
    }
}

/// A denied address, another one for each number: in a /24 and single ones in turn.
pub fn address(number: u32) -> Ipv4Addr {
    // Far from the one before, so that tables are read where no cache has been.
    let pair = number.wrapping_mul(2_654_435_761) % (V4 / 2);
    let base = FIRST + pair * PAIR;
    Ipv4Addr::from(if number.is_multiple_of(2) { base + number % 256 } else { base + SINGLE })
}

/// One that is not denied, another one for each number below a few millions.
pub fn other_address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(OTHERS + number % (1 << 23))
}

/// A denied address of IPv6.
pub fn address_v6() -> Ipv6Addr {
    Ipv6Addr::from(FIRST_V6 + 77_777 * STRIDE_V6 + 5)
}

/// The same prefixes as two nftables sets, and the drop by them in front of everything that an
/// interface takes. What passes is counted.
pub fn nft(interface: &str) -> String {
    let Denied { v4, v6 } = denied();
    let mut text = String::from("table netdev bench {\n");
    let mut set = |name: &str, kind: &str, elements: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "set {name} {{ type {kind}; flags interval; elements = {{ {elements} }} }}"
        );
    };
    let v4 = v4.iter().map(|&(a, b)| match a == b {
        true => Ipv4Addr::from(a).to_string(),
        false => format!("{}/24", Ipv4Addr::from(a)),
    });
    set("v4", "ipv4_addr", v4.collect::<Vec<_>>().join(","));
    let v6 = v6.iter().map(|&(a, _)| format!("{}/48", Ipv6Addr::from(a)));
    set("v6", "ipv6_addr", v6.collect::<Vec<_>>().join(","));
    text + &chain(interface, "ip saddr @v4 drop\nip6 saddr @v6 drop\n")
}

/// nftables at the same place that drops everything unseen.
pub fn nft_bare(interface: &str) -> String {
    format!("table netdev bench {{\n{}", chain(interface, "drop\n"))
}

fn chain(interface: &str, rules: &str) -> String {
    format!(
        "counter passed {{ }}\nchain ingress {{\ntype filter hook ingress device \"{interface}\" \
         priority 0\n{rules}counter name passed\n}}\n}}\n"
    )
}
