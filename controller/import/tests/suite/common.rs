//! Sources of the tests.

use std::{fs, path::Path};

use portcullis_import::{ImportError, Imported, Options, SourceText, iptables, libvirt, proxmox};

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `iptables-save`.
    Iptables,
    /// `/etc/pve`.
    Proxmox,
    /// libvirt.
    Nwfilter,
}

/// A committed example: its name, format, files (named below `tests/sources`), and options.
pub struct Example {
    /// Name of its policy in `tests/policies`.
    pub name: &'static str,
    /// Its format.
    pub format: Format,
    /// Folder below `tests/sources`; its files are named relative to it.
    pub folder: &'static str,
    /// Its files, in order.
    pub files: &'static [&'static str],
    /// What the user says.
    pub options: Options,
}

/// Strings.
pub fn list(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&t| t.to_owned()).collect()
}

/// All of them.
pub fn examples() -> Vec<Example> {
    vec![
        Example {
            name: "pve",
            format: Format::Proxmox,
            folder: "pve",
            files: &[
                "firewall/101.fw",
                "firewall/102.fw",
                "firewall/110.fw",
                "firewall/cluster.fw",
                "nodes/pve1/host.fw",
                "nodes/pve1/lxc/110.conf",
                "nodes/pve1/lxc/120.conf",
                "nodes/pve1/qemu-server/101.conf",
                "nodes/pve1/qemu-server/102.conf",
            ],
            options: Options { host: list(&["192.168.10.11"]), ..Options::default() },
        },
        Example {
            name: "nwfilter",
            format: Format::Nwfilter,
            folder: "nwfilter",
            files: &[
                "shop.xml",
                "guest-basics.xml",
                "own-mac.xml",
                "own-address.xml",
                "own-arp.xml",
                "shop1.xml",
                "database.xml",
            ],
            options: Options {
                networks: list(&["lan=10,10.0.0.0/24,gateway,br0"]),
                ..Options::default()
            },
        },
        Example {
            name: "libvirt",
            format: Format::Nwfilter,
            folder: "libvirt",
            files: &[
                "default.xml",
                "isolated.xml",
                "switch.xml",
                "web.xml",
                "db.xml",
                "build.xml",
                "web-only.xml",
                "no-way-out.xml",
            ],
            options: Options {
                networks: list(&["engineering=42,10.42.0.0/24,gateway,ovs"]),
                ..Options::default()
            },
        },
        Example {
            name: "server",
            format: Format::Iptables,
            folder: "iptables",
            files: &["server.rules"],
            options: Options {
                networks: list(&["docker=30,172.17.0.0/16,gateway,docker0"]),
                host: list(&["192.168.10.5"]),
                world: list(&["eth0"]),
                ..Options::default()
            },
        },
        Example {
            name: "router",
            format: Format::Iptables,
            folder: "iptables",
            files: &["router.rules", "router6.rules"],
            options: Options {
                networks: list(&[
                    "lan=10,10.0.1.0/24,fd00:1::/64,gateway,eth1",
                    "dmz=20,10.0.2.0/24,fd00:2::/64,gateway,eth2",
                ]),
                world: list(&["eth0"]),
                ..Options::default()
            },
        },
    ]
}

/// The files of an example.
pub fn files(example: &Example) -> Vec<SourceText> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources").join(example.folder);
    let read = |name: &&str| SourceText {
        name: (*name).to_owned(),
        text: fs::read_to_string(folder.join(name)).unwrap(),
    };
    example.files.iter().map(read).collect()
}

/// Imports by format.
pub fn import(
    format: Format,
    files: &[SourceText],
    options: &Options,
) -> Result<Imported, ImportError> {
    match format {
        Format::Iptables => iptables(files, options),
        Format::Proxmox => proxmox(files, options),
        Format::Nwfilter => libvirt(files, options),
    }
}

/// One file.
pub fn file(name: &str, text: &str) -> SourceText {
    SourceText { name: name.to_owned(), text: text.to_owned() }
}
