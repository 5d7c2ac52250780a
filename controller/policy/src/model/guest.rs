//! Guests, and addresses of the hypervisor.

use std::net::IpAddr;

use portcullis_image::{Limits, Trunk};
use portcullis_pipeline::addr::Mac;

use crate::source::Span;

/// A machine that the policy knows.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Where it is named.
    pub span: Span,
    /// Its labels.
    pub labels: Vec<String>,
    /// Its NICs, at least one, at most one on each network.
    pub nics: Vec<Nic>,
    /// Might it pass on what reaches it on one NIC through another? Only a guest with several
    /// NICs can; it counts as doing so unless `forwards: false` says otherwise.
    pub forwards: bool,
    /// Who may have its addresses, where it is no machine but a shared address: then it has one NIC.
    pub sharing: Option<Sharing>,
}

/// Guests that may have the same addresses, one of them at a time. To rules these are an endpoint
/// of their own; proofs count what they may as what each of the guests may.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// Indexes of the guests, ascending; each has a NIC on the network.
    pub by: Vec<usize>,
    /// Number of their virtual router (VRRP, RFC 9568), which its MAC follows from.
    pub router: Option<u8>,
}

/// A guest's NIC.
#[derive(Clone, Debug)]
pub struct Nic {
    /// Index of its network.
    pub network: usize,
    /// Its MAC.
    pub mac: Mac,
    /// Its addresses, at least one. Its link-local address follows from the MAC and counts as
    /// the first of these wherever a rule names addresses.
    pub addrs: Vec<IpAddr>,
    /// What its port may take.
    pub limits: Limits,
    /// The interface that it shares with others of its guest.
    pub trunk: Option<Trunk>,
}

/// An address of the hypervisor.
#[derive(Clone, Copy, Debug)]
pub struct HostAddress {
    /// The address.
    pub addr: IpAddr,
    /// Where it is written.
    pub span: Span,
}
