//! What other programs start: `qemu-helper`, `libvirt-hook`.

use std::{os::fd::RawFd, str::FromStr};

use clap::Args;

/// A NIC of the policy: `GUEST`, or `GUEST/NETWORK` where the guest has several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicName {
    /// The guest, as the policy calls it.
    pub guest: String,
    /// The NIC's network.
    pub network: Option<String>,
}

impl FromStr for NicName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (guest, network) = match text.split_once('/') {
            Some((guest, network)) => (guest, Some(network.to_owned())),
            None => (text, None),
        };
        if guest.is_empty() || network.as_deref() == Some("") {
            return Err("write GUEST, or GUEST/NETWORK");
        }
        Ok(Self { guest: guest.to_owned(), network })
    }
}

/// As QEMU calls its bridge helper.
#[derive(Clone, Debug, Args)]
pub struct QemuHelperArgs {
    /// The guest whose tap QEMU gets, with its network where it has NICs in several
    #[arg(long, value_name = "GUEST[/NETWORK]")]
    pub br: NicName,
    /// Number of the socket over which the tap is passed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(RawFd).range(0..))]
    pub fd: RawFd,
    /// QEMU says so where it wants offloads; the tap has them in any case
    #[arg(long)]
    pub use_vnet: bool,
}

/// As libvirt calls its hooks.
#[derive(Clone, Debug, Args)]
pub struct HookArgs {
    /// The domain
    #[arg(value_name = "DOMAIN")]
    pub domain: String,
    /// What happens to it
    #[arg(value_name = "OPERATION")]
    pub operation: String,
    /// When: `begin`, `end` or `-`; and what libvirt says besides
    #[arg(value_name = "WORD", allow_hyphen_values = true)]
    pub more: Vec<String>,
}

/// What happens to a domain, as far as it concerns its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is about to start.
    Prepare,
    /// It is about to come from another host.
    Migrate,
    /// It is about to come from a file.
    Restore,
    /// libvirt has started anew, and finds it running.
    Reconnect,
    /// libvirt takes over a QEMU that it has not started.
    Attach,
    /// It has ended.
    Stopped,
    /// All that it had is given up.
    Release,
}

impl HookArgs {
    /// What happens, if it matters: libvirt tells more, and later versions yet more.
    pub fn operation(&self) -> Option<Operation> {
        match self.operation.as_str() {
            "prepare" => Some(Operation::Prepare),
            "migrate" => Some(Operation::Migrate),
            "restore" => Some(Operation::Restore),
            "reconnect" => Some(Operation::Reconnect),
            "attach" => Some(Operation::Attach),
            "stopped" => Some(Operation::Stopped),
            "release" => Some(Operation::Release),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nic_is_named_by_guest_and_network() {
        let name = |text: &str| text.parse::<NicName>();
        let nic = |guest: &str, network: Option<&str>| {
            Ok(NicName { guest: guest.into(), network: network.map(Into::into) })
        };
        assert_eq!(name("web1"), nic("web1", None));
        assert_eq!(name("web1/lan"), nic("web1", Some("lan")));
        for bad in ["", "/", "web1/", "/lan"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
