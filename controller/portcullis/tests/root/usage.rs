//! What guests have used, over everything that ends.

use serde_json::Value;

use crate::host::{Host, POLICY, eventually, pings, port};

/// (sent, received) of a guest.
fn used(host: &Host, guest: &str) -> (u64, u64) {
    let all = host.json(&["usage"]);
    let one = all.as_array().unwrap().iter().find(|u| u["guest"] == guest).cloned();
    let n = |key: &str| one.as_ref().and_then(|u| u[key].as_u64()).unwrap_or(0);
    (n("sent_packets"), n("received_packets"))
}

fn counted(host: &Host, name: &str) -> (u64, u64) {
    let status = host.json(&["status"]);
    let n = |key: &str| port(&status, name)["traffic"][key].as_u64().unwrap();
    (n("in_packets"), n("out_packets"))
}

#[test]
fn usage_outlives_daemons_and_ports() {
    let (host, pc1, _) = Host::pair(POLICY);
    assert!(pings(&pc1, "10.20.0.5"));
    // What passes between the two questions is in one answer only.
    let agrees = |host: &Host| {
        eventually("the same sum", || used(host, "pc1") == counted(host, "v1"));
    };
    agrees(&host);
    // All of it went to another network here, but for what the switch answered itself.
    let all = host.json(&["usage"]);
    let one = all.as_array().unwrap().iter().find(|u| u["guest"] == "pc1").unwrap();
    assert!(one["routed"]["sent"]["packets"].as_u64().unwrap() > 0, "{one}");
    assert!(one["routed"]["received"]["bytes"].as_u64().unwrap() > 0, "{one}");
    assert_eq!(one["outside"]["sent"]["packets"], 0, "{one}");
    // Whatever the daemon had not stored yet is in the kernel's counters.
    host.kill();
    assert!(pings(&pc1, "10.20.0.5"));
    host.ok(&["up"]);
    agrees(&host);
    // Another port of the same guest goes on with its sums, and so does another switch.
    let before = used(&host, "pc1");
    assert!(before.0 >= 2 && before.1 >= 2, "{before:?}");
    host.ok(&["detach", "v1"]);
    assert!(used(&host, "pc1") >= before);
    host.ok(&["down"]);
    host.ok(&["up"]);
    let after = used(&host, "pc1");
    assert!(after >= before, "{before:?} {after:?}");
    let human = host.ok(&["usage"]);
    assert!(human.contains("pc1") && human.contains("lan"), "{human}");
    assert!(
        host.json(&["usage"]).as_array().unwrap().iter().all(|u| u["sent_bytes"] != Value::Null)
    );
}
