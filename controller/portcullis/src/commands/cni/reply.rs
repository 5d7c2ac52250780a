//! What `ADD` answers (SPEC.md, "ADD Success").

use std::{net::IpAddr, path::PathBuf};

use serde::Serialize;
use serde_json::Value;

/// All of it.
#[derive(Debug, Serialize)]
pub struct Reply {
    /// As in the configuration.
    #[serde(rename = "cniVersion")]
    pub cni_version: String,
    /// The host's end, then the container's.
    pub interfaces: Vec<Interface>,
    /// Addresses of the container's end.
    pub ips: Vec<Ip>,
    /// Its routes.
    pub routes: Vec<Route>,
    /// Name servers: nothing is said of them.
    pub dns: Value,
}

/// An interface.
#[derive(Debug, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MAC, where it means something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Largest L3 packet, bytes; from version 1.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Its namespace; none: the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<PathBuf>,
}

/// An address.
#[derive(Debug, Serialize)]
pub struct Ip {
    /// With the length of its prefix.
    pub address: String,
    /// The gateway of its network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Index of its interface.
    pub interface: usize,
    /// `4` or `6`; before version 1.0 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'static str>,
}

/// A route.
#[derive(Debug, Serialize)]
pub struct Route {
    /// Where to.
    pub dst: &'static str,
    /// By whom.
    pub gw: IpAddr,
}
