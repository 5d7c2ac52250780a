//! Ports whose other end stays on the host, for monitors and container managers that bring their own
//! interfaces or take one away: `vmm-attach/doors` tells which.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use portcullis_lab::{Space, process::Output, small::Small, world::Nic};

const PING: &str = "{ name: ping, allow: { from: r1, to: r2, for: ping } }";
/// The address of r1.
const OWN: &str = "10.1.0.11/24";

fn mac(small: &Small, guest: &str) -> String {
    let status = small.host.status().unwrap();
    let nics = status.0["guests"].as_array().unwrap();
    nics.iter().find(|nic| nic["guest"] == guest).unwrap()["mac"].as_str().unwrap().to_owned()
}

/// Makes an interface of this namespace the guest r1's, which has to configure itself.
fn configure(small: &Small, space: &Space, interface: &str) {
    let mac = mac(small, "r1");
    for line in [
        format!("link set {interface} address {mac} up"),
        format!("addr add {OWN} dev {interface}"),
    ] {
        space.ip(&line).unwrap();
    }
}

#[test]
fn the_other_end_of_a_port_goes_into_a_container_and_comes_back() {
    let small = Small::with("pdl", &[PING], &[("r2", Nic::Veth)]).unwrap();
    let (host, pod) = (small.host.space(), small.lab.space("pod").unwrap());
    let here = ["--netns", "/proc/self/ns/net", "--peer", "lxc-r1", "--no-configure"];
    let attach = [&["attach", "veth", "r1", "--guest", "r1"][..], &here].concat();
    small.host.portcullis(&attach).unwrap();
    host.ip(&format!("link set lxc-r1 netns {}", pod.name())).unwrap();
    pod.ip("link set lxc-r1 name eth0").unwrap();
    configure(&small, &pod, "eth0");
    pod.sh("ping -c1 -W3 10.1.0.12").unwrap();
    // As LXC and nspawn give it back; the port stays, and the next start finds it.
    pod.sh("ip link set eth0 down").unwrap();
    let init = Path::new("/run/netns").join(host.name());
    pod.ip(&format!("link set eth0 name lxc-r1 netns {}", init.display())).unwrap();
    assert!(host.interfaces().unwrap().contains(&"lxc-r1".to_owned()));
    assert!(small.host.status().unwrap().is_open("r1"));
}

/// What the script expects of Xen: its own functions, and its store.
const COMMON: &str = "\
command=$1
type_if=${type_if:-vif}
dev=$vif
xenstore_read() { [ \"$1\" = \"$XENBUS_PATH/bridge\" ] && echo \"$FAKE_BRIDGE\"; }
fatal() { echo \"$*\" >&2; exit 1; }
success() { echo connected; }
";

fn vif_script(small: &Small) -> PathBuf {
    let own =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vmm-attach/doors/xen/vif-portcullis");
    let script = small.lab.dir().join("vif-portcullis");
    symlink(fs::canonicalize(own).unwrap(), &script).unwrap();
    small.lab.file("vif-common.sh", COMMON).unwrap();
    script
}

fn xen(small: &Small, script: &Path, command: &str, guest: &str) -> Output {
    let mut run = Command::new(script);
    run.arg(command).envs(small.host.environment()).env("PORTCULLIS", small.host.program());
    run.env("vif", "vif3.0").env("XENBUS_PATH", "backend/vif/3/0").env("FAKE_BRIDGE", guest);
    small.host.space().run(run, 20).unwrap()
}

#[test]
fn xens_script_joins_a_vif_to_a_port() {
    let small = Small::with("pdx", &[PING], &[("r2", Nic::Veth)]).unwrap();
    let (host, guest) = (small.host.space(), small.lab.space("domu").unwrap());
    host.ip(&format!("link add vif3.0 type veth peer name eth0 netns {}", guest.name())).unwrap();
    let script = vif_script(&small);

    let unknown = xen(&small, &script, "online", "r11");
    assert!(unknown.code() != 0 && unknown.stderr.contains("did you mean r1"), "{unknown:?}");
    assert!(!host.interfaces().unwrap().contains(&"pb3.0".to_owned()), "nothing half made");
    let online = xen(&small, &script, "online", "r1/red");
    assert_eq!((online.code(), online.stdout.ends_with("connected\n")), (0, true), "{online:?}");
    assert!(small.host.status().unwrap().is_open("pc3.0"));
    configure(&small, &guest, "eth0");
    guest.sh("ping -c1 -W3 10.1.0.12").unwrap();
    assert!(guest.sh("ping -c1 -W1 10.1.0.1").is_err(), "the policy allows nothing else");

    assert_eq!(xen(&small, &script, "offline", "r1/red").code(), 0);
    assert!(small.host.status().unwrap().port("pc3.0").is_none());
    assert!(!host.interfaces().unwrap().contains(&"pb3.0".to_owned()));
}
