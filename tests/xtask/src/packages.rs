//! Debian packages: what each command needs, and installing only what is missing.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::step::Step;

/// The compiler and the `core` source for eBPF, and a C linker for the host.
pub const BUILD: &[&str] = &["rustc-web", "rust-web-src", "gcc", "libc6-dev"];

/// Real clients and servers for guests, and what the daemon starts on its host.
pub const PLAY: &[&str] = &[
    "conntrack",
    "curl",
    "iproute2",
    "iputils-ping",
    "nftables",
    "openssh-client",
    "openssh-server",
    "python3",
    "samba",
    "smbclient",
];

/// What the tests use besides.
pub const TEST: &[&str] =
    &["busybox-static", "ethtool", "iperf3", "iptables", "isc-dhcp-client", "keepalived", "strace"];

/// Those who attack the guests of the lab.
pub const ATTACKERS: &[&str] = &[
    "busybox-static",
    "dnsmasq-base",
    "dsniff",
    "hping3",
    "nmap",
    "python3-scapy",
    "thc-ipv6",
    "yersinia",
];

/// Booting other kernels.
pub const KERNELS: &[&str] =
    &["busybox-static", "cpio", "e2fsprogs", "kmod", "qemu-system-x86", "xz-utils"];

/// Measuring against peers.
pub const BENCH: &[&str] = &["ethtool", "iperf3", "iproute2", "nftables", "procps"];

/// The peers of vhost-user ports, which nothing else needs.
pub const RINGS: &[&str] = &["dpdk-dev", "openvswitch-switch-dpdk"];

/// Installs those of `wanted` that are not there. Asks the network for nothing when all are.
pub fn install(wanted: &[&[&str]]) -> Result<()> {
    let missing = missing(&wanted.concat())?;
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing Debian packages: {}", missing.join(" "));
    let _quiet = NoServices::start()?;
    Step::new("apt-get update", apt(&["update", "-qq"])).succeed()?;
    let mut command = apt(&["install", "-y", "-qq", "--no-install-recommends"]);
    command.args(&missing);
    Step::new("apt-get install", command).succeed()?;
    Ok(())
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
    command
}

/// Those of `wanted` that dpkg does not have installed.
fn missing(wanted: &[&str]) -> Result<Vec<String>> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(wanted)
        .output()
        .context("running dpkg-query: this needs Debian 12")?;
    if output.status.code().is_none_or(|code| code > 1) {
        bail!("dpkg-query: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(not_installed(wanted, &String::from_utf8_lossy(&output.stdout)))
}

fn not_installed(wanted: &[&str], dpkg: &str) -> Vec<String> {
    let installed: BTreeSet<&str> =
        dpkg.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    let missing: BTreeSet<&str> =
        wanted.iter().copied().filter(|package| !installed.contains(package)).collect();
    missing.into_iter().map(str::to_owned).collect()
}

/// While it lives, installing a package starts no service: the demo wants the programs of
/// openssh-server and samba, not an SSH and a file server on somebody's machine.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn start() -> Result<Self> {
        // Whoever wrote one already decides better than we do.
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")
            .context("writing policy-rc.d (are you root?)")?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_packages_are_installed() {
        let dpkg = "curl installed\nsamba config-files\nxz-utils installed\n";
        assert_eq!(not_installed(&["xz-utils", "samba", "curl", "cpio"], dpkg), ["cpio", "samba"]);
        assert!(not_installed(&["curl"], dpkg).is_empty());
    }
}
