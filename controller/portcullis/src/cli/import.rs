//! `portcullis import ...`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Output;

/// Source formats.
#[derive(Debug, Subcommand)]
pub enum Import {
    /// Take over a Proxmox VE: cluster, node and guest firewalls, and where guests are plugged in
    #[command(after_help = "Example:\n  portcullis import proxmox /etc/pve --host 192.0.2.11 \
                            --out policies/pve.yaml\n  portcullis import proxmox /etc/pve --node \
                            pve1 --network lan=20,10.20.0.0/24,vmbr0.20")]
    Proxmox {
        /// /etc/pve, or a copy of it
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// The node that is `host`, where there are several
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
        /// What the files do not say.
        #[command(flatten)]
        site: SiteArgs,
        /// Where it goes.
        #[command(flatten)]
        into: IntoArgs,
    },
    /// Take over libvirt's domains: guests, their networks, and the filters that they use
    #[command(
        after_help = "Give the domains (virsh dumpxml GUEST), the networks that they are in (virsh \
                      net-dumpxml NAME), and every filter that is referred to (virsh \
                      nwfilter-dumpxml NAME). Networks without subnets there, like bridges, are \
                      said by --network; a VLAN tag by its VLAN id, and by the bridge behind \
                      it.\n\nExample:\n  portcullis import libvirt default.xml web.xml \
                      web-filter.xml --out policies/libvirt.yaml\n  portcullis import libvirt \
                      build.xml --network dev=42,10.42.0.0/24,gateway,br0"
    )]
    Libvirt {
        /// XML of domains, networks and filters
        #[arg(required = true, value_name = "XML")]
        files: Vec<PathBuf>,
        /// A variable's value in filters; again for a list
        #[arg(long = "variable", value_name = "NAME=VALUE")]
        variables: Vec<String>,
        /// What the files do not say.
        #[command(flatten)]
        site: SiteArgs,
        /// Where it goes.
        #[command(flatten)]
        into: IntoArgs,
    },
    /// Take over libvirt's network filters
    #[command(
        after_help = "Give every filter that is referred to (virsh nwfilter-dumpxml NAME), and \
                            the domains that use them (virsh dumpxml GUEST). Without a domain, \
                            the first file's filter is for every --guest.\n\nExample:\n  \
                            portcullis import nwfilter shop.xml clean-traffic.xml shop1.xml \
                            --network lan=10,10.0.0.0/24,gateway,br0"
    )]
    Nwfilter {
        /// XML of filters and domains
        #[arg(required = true, value_name = "XML")]
        files: Vec<PathBuf>,
        /// A variable's value; again for a list
        #[arg(long = "variable", value_name = "NAME=VALUE")]
        variables: Vec<String>,
        /// What the files do not say.
        #[command(flatten)]
        site: SiteArgs,
        /// Where it goes.
        #[command(flatten)]
        into: IntoArgs,
    },
    /// Take over the table `filter` of a host or router
    #[command(
        after_help = "Save both tables first (iptables-save > v4, ip6tables-save > v6), and say \
                            what is behind each interface: a network, or the world.\n\n\
                            Example:\n  portcullis import iptables-save v4 v6 --network lan=10,10.0.1.0/24,gateway,eth1 \
                            --world eth0 --out policies/router.yaml"
    )]
    IptablesSave {
        /// Output of iptables-save, ip6tables-save, or both
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// What the files do not say.
        #[command(flatten)]
        site: SiteArgs,
        /// Where it goes.
        #[command(flatten)]
        into: IntoArgs,
    },
}

/// Networks, guests and the host, as far as the source does not know them.
#[derive(Clone, Debug, Default, Args)]
pub struct SiteArgs {
    /// A network: VLAN id, subnets, `gateway` (or its address), `external`, interfaces
    #[arg(long = "network", value_name = "NAME=VLAN,SUBNET,...")]
    pub networks: Vec<String>,
    /// A guest: its network, addresses, MAC
    #[arg(long = "guest", value_name = "NAME=NETWORK,ADDRESS,...")]
    pub guests: Vec<String>,
    /// An address of the host, besides gateways
    #[arg(long = "host", value_name = "ADDRESS")]
    pub host: Vec<String>,
    /// An interface behind which the world is
    #[arg(long = "world", value_name = "INTERFACE")]
    pub world: Vec<String>,
}

/// Where the policy goes.
#[derive(Clone, Debug, Args)]
pub struct IntoArgs {
    /// Write the policy here, not to standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write nothing if something has no equal here
    #[arg(long)]
    pub strict: bool,
    /// How it is printed.
    #[command(flatten)]
    pub output: Output,
}

impl Import {
    /// Where the policy goes.
    pub fn into_args(&self) -> &IntoArgs {
        match self {
            Self::Proxmox { into, .. }
            | Self::Libvirt { into, .. }
            | Self::Nwfilter { into, .. }
            | Self::IptablesSave { into, .. } => into,
        }
    }
}
