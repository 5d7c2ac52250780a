//! The CNI plugin, called as a runtime calls it: environment variables, JSON in, JSON out.

use std::{net::IpAddr, path::Path, process::Command};

use portcullis_lab::{Space, process::Output, small::Small, world::Nic};
use serde_json::{Value, json};

const CONTAINER: &str = "0123abcd";

/// A runtime.
struct Runtime<'s> {
    small: &'s Small,
    /// What every call says, unless another value is given.
    config: Value,
}

impl<'s> Runtime<'s> {
    fn new(small: &'s Small, guest: &str) -> Self {
        let config = json!({ "cniVersion": "1.1.0", "name": "pods", "type": "portcullis-cni", "guest": guest });
        Self { small, config }
    }

    fn with(&self, key: &str, value: Value) -> Value {
        let mut config = self.config.clone();
        config[key] = value;
        config
    }

    fn call(&self, command: &str, config: &Value, container: &str, netns: Option<&Path>) -> Output {
        let file = self.small.lab.file("net.json", &config.to_string()).unwrap();
        let link = self.small.lab.dir().join("portcullis-cni");
        let _ = std::os::unix::fs::symlink(self.small.host.program(), &link);
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$@\" < \"$0\""]).arg(&file).arg(link);
        shell.envs(self.small.host.environment()).env("CNI_COMMAND", command);
        shell.env("CNI_CONTAINERID", container).env("CNI_IFNAME", "eth0").env("CNI_PATH", "/x");
        if let Some(netns) = netns {
            shell.env("CNI_NETNS", netns);
        }
        self.small.host.space().run(shell, 20).unwrap()
    }

    fn add(&self, space: &Space) -> Value {
        let output = self.call("ADD", &self.config, CONTAINER, Some(&space.path()));
        assert_eq!(output.code(), 0, "{}{}", output.stdout, output.stderr);
        serde_json::from_str(&output.stdout).unwrap()
    }
}

/// The error that a call has printed, after SPEC.md, "Error".
fn error(output: &Output) -> (u64, String) {
    assert_ne!(output.code(), 0, "{}", output.stdout);
    let value: Value = serde_json::from_str(&output.stdout).unwrap();
    assert!(value["cniVersion"].is_string(), "{value}");
    (value["code"].as_u64().unwrap(), value["msg"].as_str().unwrap().to_owned())
}

/// A key, what its value must be, and whether it must be there.
type Key = (&'static str, fn(&Value) -> bool, bool);

/// SPEC.md 1.1.0, "ADD Success": which keys there may be, and of which type.
fn conforms(result: &Value) {
    let keys = |value: &Value, known: &[Key]| {
        let object = value.as_object().unwrap();
        for (key, value) in object {
            let (_, good, _) = known.iter().find(|(name, ..)| name == key).expect(key);
            assert!(good(value), "{key}: {value}");
        }
        for (key, ..) in known.iter().filter(|(.., needed)| *needed) {
            assert!(object.contains_key(*key), "{key} is missing in {value}");
        }
    };
    let is_address = |v: &Value| v.as_str().is_some_and(|t| t.parse::<IpAddr>().is_ok());
    let is_cidr = |v: &Value| {
        let parts = v.as_str().and_then(|text| text.split_once('/'));
        parts.is_some_and(|(ip, n)| ip.parse::<IpAddr>().is_ok() && n.parse::<u8>().is_ok())
    };
    keys(
        result,
        &[
            ("cniVersion", |v| v == "1.1.0", true),
            ("interfaces", Value::is_array, true),
            ("ips", Value::is_array, true),
            ("routes", Value::is_array, false),
            ("dns", Value::is_object, false),
        ],
    );
    let interfaces = result["interfaces"].as_array().unwrap();
    for interface in interfaces {
        keys(
            interface,
            &[
                ("name", Value::is_string, true),
                ("mac", Value::is_string, false),
                ("mtu", Value::is_u64, false),
                ("sandbox", Value::is_string, false),
            ],
        );
    }
    for ip in result["ips"].as_array().unwrap() {
        keys(
            ip,
            &[
                ("address", is_cidr, true),
                ("gateway", is_address, false),
                ("interface", Value::is_u64, false),
            ],
        );
        let index = ip["interface"].as_u64().unwrap() as usize;
        assert!(interfaces[index]["sandbox"].is_string(), "an address of a container's interface");
    }
    for route in result["routes"].as_array().unwrap() {
        keys(route, &[("dst", is_cidr, true), ("gw", is_address, false)]);
    }
}

#[test]
fn a_container_has_its_interface_from_add_to_del() {
    let rules = ["{ name: ping, allow: { from: r1, to: r2, for: ping } }"];
    let small = Small::with("pdc", &rules, &[("r2", Nic::Veth)]).unwrap();
    let space = small.lab.space("pod").unwrap();
    let runtime = Runtime::new(&small, "r1");
    let result = runtime.add(&space);
    conforms(&result);
    assert_eq!(result["interfaces"][1]["name"], "eth0");
    assert_eq!(result["interfaces"][1]["sandbox"], space.path().to_str().unwrap());
    let addresses: Vec<_> = result["ips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ip| ip["address"].as_str().unwrap())
        .collect();
    assert_eq!(addresses, ["10.1.0.11/24", "fd01::11/64"]);
    assert_eq!(result["ips"][0]["gateway"], "10.1.0.1");
    assert_eq!(result["routes"][0], json!({ "dst": "0.0.0.0/0", "gw": "10.1.0.1" }));
    space.sh("ping -c1 -W3 10.1.0.12").unwrap();

    let told = runtime.with("prevResult", result.clone());
    let check = || runtime.call("CHECK", &told, CONTAINER, Some(&space.path()));
    assert_eq!((check().code(), check().stdout.as_str()), (0, ""));
    space.ip("addr del 10.1.0.11/24 dev eth0").unwrap();
    assert!(error(&check()).1.contains("10.1.0.11/24"));
    // Twice, and without the namespace, which may be gone.
    for _ in 0..2 {
        let deleted = runtime.call("DEL", &told, CONTAINER, None);
        assert_eq!((deleted.code(), deleted.stdout.as_str()), (0, ""), "{}", deleted.stderr);
    }
    assert!(space.interfaces().unwrap().is_empty());
    assert!(error(&check()).1.contains("not there any more"));
}

#[test]
fn what_belongs_to_no_container_is_collected() {
    let small = Small::with("pdj", &[], &[]).unwrap();
    let (a, b) = (small.lab.space("a").unwrap(), small.lab.space("b").unwrap());
    let add = |guest: &str, space: &Space, container: &str| {
        let runtime = Runtime::new(&small, guest);
        let added = runtime.call("ADD", &runtime.config, container, Some(&space.path()));
        assert_eq!(added.code(), 0, "{}", added.stdout);
    };
    add("r1", &a, "one");
    add("r2", &b, "two");
    let other =
        Runtime { config: Runtime::new(&small, "r3").with("name", "other".into()), small: &small };
    let c = small.lab.space("c").unwrap();
    other.add(&c);
    let runtime = Runtime::new(&small, "r1");
    let valid = json!([{ "containerID": "two", "ifname": "eth0" }]);
    let gc = runtime.with("cni.dev/valid-attachments", valid);
    let collected = runtime.call("GC", &gc, "", None);
    assert_eq!((collected.code(), collected.stdout.as_str()), (0, ""), "{}", collected.stderr);
    assert!(a.interfaces().unwrap().is_empty());
    assert_eq!(b.interfaces().unwrap(), ["eth0"]);
    assert_eq!(c.interfaces().unwrap(), ["eth0"], "another network's");
    let without = runtime.call("GC", &runtime.config, "", None);
    assert_eq!(error(&without).0, 7);
}

#[test]
fn mistakes_have_the_codes_of_the_specification() {
    let small = Small::with("pde", &[], &[]).unwrap();
    let space = small.lab.space("pod").unwrap();
    let runtime = Runtime::new(&small, "r1");
    let path = space.path();
    let add = |config: &Value, netns: Option<&Path>| {
        error(&runtime.call("ADD", config, CONTAINER, netns))
    };
    assert_eq!(add(&runtime.with("cniVersion", "0.2.0".into()), Some(&path)).0, 1);
    assert_eq!(add(&runtime.with("ipam", json!({ "type": "dhcp" })), Some(&path)).0, 2);
    assert_eq!(add(&runtime.config, Some(Path::new("/run/netns/no-such"))).0, 3);
    let (code, message) = add(&runtime.config, None);
    assert!(code == 4 && message.contains("CNI_NETNS"), "{message}");
    assert_eq!(add(&json!("text"), Some(&path)).0, 6);
    assert_eq!(add(&runtime.with("prevResult", json!({})), Some(&path)).0, 7);
    let (code, message) = add(&runtime.with("guest", "r11".into()), Some(&path));
    assert!(code == 100 && message.contains("r11"), "{message}");
    let plug = runtime.call("PLUG", &runtime.config, CONTAINER, Some(&path));
    assert_eq!(error(&plug).0, 4);
    assert!(space.interfaces().unwrap().is_empty(), "nothing is left of any of them");

    let version: Value =
        serde_json::from_str(&runtime.call("VERSION", &runtime.config, "", None).stdout).unwrap();
    let expected =
        json!({ "cniVersion": "1.1.0", "supportedVersions": ["0.4.0", "1.0.0", "1.1.0"] });
    assert_eq!(version, expected);
    let status = || runtime.call("STATUS", &runtime.config, "", None);
    assert_eq!((status().code(), status().stdout.as_str()), (0, ""));
    small.host.kill_daemon().unwrap();
    assert_eq!(error(&status()).0, 50);
    assert_eq!(add(&runtime.config, Some(&path)).0, 11);
}

#[test]
fn older_runtimes_are_answered_in_their_words() {
    let small = Small::new("pdo").unwrap();
    let space = small.lab.space("pod").unwrap();
    let old = Runtime {
        config: Runtime::new(&small, "r1").with("cniVersion", "0.4.0".into()),
        small: &small,
    };
    // Without a policy a container would have no address.
    let closed = old.call("ADD", &old.config, CONTAINER, Some(&space.path()));
    assert_eq!(error(&closed).0, 11);
    assert!(space.interfaces().unwrap().is_empty());
    small.apply(&[]).unwrap();
    let result = old.add(&space);
    assert_eq!(
        (&result["cniVersion"], &result["ips"][1]["version"]),
        (&"0.4.0".into(), &"6".into())
    );
    assert!(result["interfaces"][0].get("mtu").is_none());
}
