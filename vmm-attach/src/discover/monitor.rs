//! Virtual machine monitors by their command lines: whose guest, and what its NICs are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    os::fd::RawFd,
    path::Path,
};

use serde_json::Value;

use super::options::{self, Options};

/// A program that runs guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Monitor {
    /// QEMU, also as Xen's device model.
    Qemu,
    /// Firecracker.
    Firecracker,
    /// cloud-hypervisor.
    CloudHypervisor,
    /// crosvm.
    Crosvm,
    /// VirtualBox.
    VirtualBox,
    /// VMware Workstation.
    VMware,
    /// Something else that holds a tap.
    Other {
        /// Its file's name.
        program: String,
    },
}

impl fmt::Display for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qemu => "QEMU",
            Self::Firecracker => "Firecracker",
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::Crosvm => "crosvm",
            Self::VirtualBox => "VirtualBox",
            Self::VMware => "VMware",
            Self::Other { program } => program,
        })
    }
}

/// A guest that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its monitor's process.
    pub pid: u32,
    /// Its monitor.
    pub monitor: Monitor,
    /// What the monitor calls it.
    pub name: Option<String>,
    /// Number of its domain, where it is a guest of Xen.
    pub xen: Option<u32>,
    /// Its NICs.
    pub nics: Vec<Nic>,
}

/// A NIC of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its MAC, in lower case, where the command line says it.
    pub mac: Option<String>,
    /// What it is plugged into.
    pub backend: Backend,
}

/// What a NIC is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A tap.
    Tap(String),
    /// An inherited descriptor, of a tap in most cases.
    Descriptor(RawFd),
    /// Something that a helper has passed on.
    Helper,
    /// A vhost-user socket.
    VhostUser(String),
    /// Something else, by its word.
    Other(String),
}

impl Monitor {
    /// Which one, by the name of its file.
    pub fn of(program: &str) -> Option<Self> {
        match program {
            "qemu-kvm" | "kvm" => Some(Self::Qemu),
            "firecracker" => Some(Self::Firecracker),
            "cloud-hypervisor" => Some(Self::CloudHypervisor),
            "crosvm" => Some(Self::Crosvm),
            "VBoxHeadless" | "VirtualBoxVM" => Some(Self::VirtualBox),
            "vmware-vmx" => Some(Self::VMware),
            _ => program.starts_with("qemu-system-").then_some(Self::Qemu),
        }
    }

    /// What a command line says. `file` reads a file that it names.
    pub fn read(self, arguments: &[String], file: &dyn Fn(&Path) -> Option<String>) -> Machine {
        match self {
            Self::Qemu => qemu(arguments),
            Self::Firecracker => firecracker(arguments, file),
            Self::CloudHypervisor => cloud_hypervisor(arguments),
            other => Machine::of(other),
        }
    }
}

impl Machine {
    /// One about which nothing else is known.
    pub fn of(monitor: Monitor) -> Self {
        Self { pid: 0, monitor, name: None, xen: None, nics: Vec::new() }
    }

    /// Fills in which taps its process holds: by descriptor, or because only one is left. Others are
    /// NICs about which nothing else is known.
    pub(super) fn settle(&mut self, held: &[(RawFd, String)]) {
        for nic in &mut self.nics {
            if let Backend::Descriptor(number) = nic.backend
                && let Some((_, tap)) = held.iter().find(|(fd, _)| *fd == number)
            {
                nic.backend = Backend::Tap(tap.clone());
            }
        }
        let known: BTreeSet<&str> = self.nics.iter().filter_map(|nic| nic.tap()).collect();
        let mut left: BTreeSet<&str> = held.iter().map(|(_, tap)| tap.as_str()).collect();
        left.retain(|tap| !known.contains(tap));
        let left: Vec<String> = left.into_iter().map(str::to_owned).collect();
        let mut helped = self.nics.iter_mut().filter(|nic| nic.backend == Backend::Helper);
        match (left.as_slice(), helped.next(), helped.next()) {
            ([tap], Some(nic), None) => nic.backend = Backend::Tap(tap.clone()),
            _ => {
                let more =
                    left.into_iter().map(|tap| Nic { mac: None, backend: Backend::Tap(tap) });
                self.nics.extend(more);
            }
        }
    }
}

impl Nic {
    /// Its tap.
    pub fn tap(&self) -> Option<&str> {
        if let Backend::Tap(name) = &self.backend { Some(name) } else { None }
    }
}

fn qemu(arguments: &[String]) -> Machine {
    let mut machine = Machine::of(Monitor::Qemu);
    let mut backends: Vec<(String, Backend)> = Vec::new();
    let mut sockets: BTreeMap<String, String> = BTreeMap::new();
    let mut devices: Vec<Options> = Vec::new();
    for pair in arguments.windows(2) {
        let [option, value] = pair else { continue };
        let read = |first| options::read(value, first);
        match option.strip_prefix("--").or_else(|| option.strip_prefix('-')) {
            Some("name") => machine.name = read("guest").remove("guest"),
            Some("xen-domid") => machine.xen = value.parse().ok(),
            Some("chardev") => {
                let mut chardev = read("backend");
                sockets.extend(chardev.remove("id").zip(chardev.remove("path")));
            }
            Some("netdev") => {
                let mut netdev = read("type");
                let id = netdev.remove("id").unwrap_or_default();
                backends.push((id, backend(&netdev)));
            }
            Some("nic") => {
                let nic = read("type");
                machine.nics.push(Nic { mac: mac(nic.get("mac")), backend: backend(&nic) });
            }
            Some("device") => devices.push(read("driver")),
            _ => {}
        }
    }
    for (id, backend) in backends {
        let device = devices.iter().find(|device| device.get("netdev") == Some(&id));
        let mac = mac(device.and_then(|device| device.get("mac")));
        machine.nics.push(Nic { mac, backend });
    }
    for nic in &mut machine.nics {
        if let Backend::VhostUser(chardev) = &mut nic.backend
            && let Some(path) = sockets.get(chardev)
        {
            chardev.clone_from(path);
        }
    }
    machine
}

/// The back end of QEMU's `-netdev` or `-nic`; of vhost-user with the character device's name.
fn backend(options: &Options) -> Backend {
    let get = |key: &str| options.get(key).cloned();
    let number = |key: &str| options.get(key)?.split(':').next()?.parse().ok();
    let word = get("type").unwrap_or_default();
    match word.as_str() {
        "tap" => match (get("ifname"), number("fd").or_else(|| number("fds"))) {
            (Some(name), _) => Backend::Tap(name),
            (None, Some(descriptor)) => Backend::Descriptor(descriptor),
            (None, None) => Backend::Helper,
        },
        "bridge" => Backend::Helper,
        "vhost-user" => Backend::VhostUser(get("chardev").unwrap_or_default()),
        _ => Backend::Other(word),
    }
}

fn cloud_hypervisor(arguments: &[String]) -> Machine {
    let mut machine = Machine::of(Monitor::CloudHypervisor);
    let mut at_net = false;
    for argument in arguments {
        if argument.starts_with("--") {
            at_net = argument == "--net";
        } else if at_net {
            let net = options::read(argument, "tap");
            let descriptor =
                || net.get("fd")?.trim_matches(['[', ']']).split(',').next()?.parse().ok();
            let backend = match (net.get("socket"), net.get("tap"), descriptor()) {
                (Some(socket), ..) => Backend::VhostUser(socket.clone()),
                (None, Some(tap), _) => Backend::Tap(tap.clone()),
                (None, None, Some(number)) => Backend::Descriptor(number),
                (None, None, None) => Backend::Helper,
            };
            machine.nics.push(Nic { mac: mac(net.get("mac")), backend });
        }
    }
    machine
}

fn firecracker(arguments: &[String], file: &dyn Fn(&Path) -> Option<String>) -> Machine {
    let mut machine = Machine::of(Monitor::Firecracker);
    let value = |option: &str| {
        let at = arguments.iter().position(|argument| argument == option)?;
        arguments.get(at + 1)
    };
    machine.name = value("--id").cloned();
    let config = value("--config-file").and_then(|path| file(Path::new(path)));
    let config: Option<Value> = config.and_then(|text| serde_json::from_str(&text).ok());
    let nics = config.as_ref().and_then(|config| config["network-interfaces"].as_array());
    for nic in nics.into_iter().flatten() {
        let text = |key: &str| nic[key].as_str().map(str::to_owned);
        if let Some(tap) = text("host_dev_name") {
            let backend = Backend::Tap(tap);
            machine.nics.push(Nic { mac: mac(text("guest_mac").as_ref()), backend });
        }
    }
    machine
}

fn mac(text: Option<&String>) -> Option<String> {
    text.map(|mac| mac.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(monitor: Monitor, line: &str) -> Machine {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let config = r#"{"network-interfaces":[{"iface_id":"eth0","host_dev_name":"fc0",
                         "guest_mac":"06:00:AC:10:00:02"}]}"#;
        monitor.read(&arguments, &|path| (path == Path::new("fc.json")).then(|| config.to_owned()))
    }

    fn nics(machine: &Machine) -> Vec<(Option<&str>, Backend)> {
        machine.nics.iter().map(|nic| (nic.mac.as_deref(), nic.backend.clone())).collect()
    }

    #[test]
    fn qemu_is_read_in_both_forms() {
        let machine = read(
            Monitor::Qemu,
            "-name guest=web1,debug-threads=on -netdev \
             {\"type\":\"tap\",\"fd\":\"33\",\"vhost\":true,\"id\":\"hostnet0\"} -device \
             {\"driver\":\"virtio-net-pci\",\"netdev\":\"hostnet0\",\"mac\":\"52:54:00:AA:00:01\"} \
             -chardev socket,id=c1,path=/run/v.sock,server=on -netdev \
             vhost-user,id=n1,chardev=c1 -device virtio-net-pci,netdev=n1 -nic \
             tap,ifname=t7,mac=52:54:00:00:00:07,script=no -netdev user,id=u",
        );
        assert_eq!(machine.name.as_deref(), Some("web1"));
        let expected = [
            (Some("52:54:00:00:00:07"), Backend::Tap("t7".into())),
            (Some("52:54:00:aa:00:01"), Backend::Descriptor(33)),
            (None, Backend::VhostUser("/run/v.sock".into())),
            (None, Backend::Other("user".into())),
        ];
        assert_eq!(nics(&machine), expected);
    }

    #[test]
    fn others_are_read_too() {
        let machine = read(
            Monitor::CloudHypervisor,
            "--cpus boot=1 --net tap=ch0,mac=2E:89:A8:E4:B0:39 \
             vhost_user=true,socket=/run/ch.sock --disk path=x",
        );
        let expected = [
            (Some("2e:89:a8:e4:b0:39"), Backend::Tap("ch0".into())),
            (None, Backend::VhostUser("/run/ch.sock".into())),
        ];
        assert_eq!(nics(&machine), expected);
        let machine = read(Monitor::Firecracker, "--id fc1 --config-file fc.json");
        assert_eq!(machine.name.as_deref(), Some("fc1"));
        assert_eq!(nics(&machine), [(Some("06:00:ac:10:00:02"), Backend::Tap("fc0".into()))]);
        let xen = read(Monitor::Qemu, "-xen-domid 3 -name hvm");
        assert_eq!((xen.xen, xen.name.as_deref()), (Some(3), Some("hvm")));
    }

    #[test]
    fn what_a_process_holds_fills_the_gaps() {
        let mut machine =
            read(Monitor::Qemu, "-netdev tap,id=a,fd=5 -netdev tap,id=b,helper=h,br=x");
        machine.settle(&[(5, "t5".into()), (9, "t9".into())]);
        let taps: Vec<_> = machine.nics.iter().filter_map(Nic::tap).collect();
        assert_eq!(taps, ["t5", "t9"]);
        let mut other = Machine::of(Monitor::Other { program: "pump".into() });
        other.settle(&[(3, "t1".into()), (4, "t1".into()), (5, "t2".into())]);
        assert_eq!(other.nics.len(), 2);
    }

    #[test]
    fn monitors_are_known_by_their_files() {
        assert_eq!(Monitor::of("qemu-system-x86_64"), Some(Monitor::Qemu));
        assert_eq!(Monitor::of("bash"), None);
    }
}
