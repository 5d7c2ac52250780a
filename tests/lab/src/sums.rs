//! Every packet is accounted for: at the end of a lab the switch's counters add up, and agree with
//! those that the kernel keeps of the same interfaces.

use std::{thread, thread::sleep, time::Duration};

use serde_json::Value;

use crate::{
    Error, Result, Space,
    host::{Host, Status},
    patience,
};

/// How often the counters are read until nothing moves between two readings.
const TRIES: usize = 40;
/// Advertisements into an interface that has just come up and whose queue the kernel has not started:
/// its noop queue drops them, returns NET_XMIT_CN, which counts as sent, and counts nothing. Where
/// that start takes a moment, this many may be missing.
const UNSTARTED: u64 = 2;
const PAUSE: Duration = Duration::from_millis(50);

/// Frames that the kernel may forget of a tap: one that is being written while the fast lane is
/// attached is run by its generic XDP, and what that redirects is not counted (`tun_get_user`).
const LANE_OPENED: u64 = 2;

/// For the end of a lab: complains if the counters of its host's switch do not add up. Nothing to
/// ask where the daemon is gone, nothing to add where the test has failed already.
pub fn check_at_end(host: &Host) {
    if thread::panicking() || host.daemon().is_empty() {
        return;
    }
    if let Err(what) = check(host) {
        panic!("the packets do not add up: {what}");
    }
}

/// Compares as soon as nothing moves: what is under way is counted in one place and not yet in
/// another.
fn check(host: &Host) -> std::result::Result<(), String> {
    let mut last = "the counters do not come to rest".to_owned();
    for _ in 0..TRIES {
        let read = || -> Result<_> {
            let before = interfaces(host.space())?;
            let status = host.status()?;
            Ok((before == interfaces(host.space())?).then_some((before, status)))
        };
        match read() {
            Ok(Some((interfaces, status))) => match compare(&interfaces, &status) {
                Ok(()) => return Ok(()),
                Err(what) => last = what,
            },
            Ok(None) => {}
            // It was on its way out.
            Err(_) if host.daemon().is_empty() => return Ok(()),
            Err(error) => last = error.to_string(),
        }
        sleep(PAUSE);
    }
    Err(last)
}

fn interfaces(space: &Space) -> Result<Value> {
    let output = space.ip("-s -j link show")?;
    serde_json::from_str(&output)
        .map_err(|_| Error::Output { command: "ip -s -j link show".into(), output })
}

fn compare(interfaces: &Value, status: &Status) -> std::result::Result<(), String> {
    let ports = status.0["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    for port in ports.iter().filter(|port| port["traffic"].is_object()) {
        adds_up(&port["name"], &port["traffic"])?;
        let all = interfaces.as_array().map(Vec::as_slice).unwrap_or_default();
        let Some(own) = all.iter().find(|link| link["ifindex"] == port["ifindex"]) else {
            continue;
        };
        // An interface that is not ours has a past before it was a port.
        if port["kind"] != "uplink" && port["kind"] != "stranger" {
            agrees(&without_direct(with_subports(port, ports)), &own["stats64"])?;
        }
    }
    adds_up(&Value::from("all ports"), &status.0["traffic"])?;
    let (total, reasons) = (&status.0["traffic"]["reasons"], status.reasons());
    for (reason, packets) in &reasons {
        if total[reason] != *packets {
            return Err(format!("{reason}: {packets} in all, by port {}", total[reason]));
        }
    }
    Ok(())
}

/// In is forwarded, copied, answered and dropped; dropped is what the reasons say.
fn adds_up(name: &Value, traffic: &Value) -> std::result::Result<(), String> {
    let n = |key: &str| traffic[key].as_u64().unwrap_or(0);
    let ends = n("forwarded") + n("flooded") + n("answered") + n("dropped");
    let reasons = traffic["reasons"].as_object().into_iter().flatten();
    let dropped: u64 = reasons.filter_map(|(_, packets)| packets.as_u64()).sum();
    if n("in_packets") != ends || n("dropped") != dropped {
        return Err(format!("{name}: {traffic}"));
    }
    Ok(())
}

/// The port of an interface, with what passed by the subports of it, also by those of networks that it
/// carries no more: the kernel counts all as one.
/// `tagged` are the frames that came in with a tag and were not dropped for it.
fn with_subports(port: &Value, ports: &[Value]) -> Value {
    let head = format!("{}:", port["name"].as_str().unwrap_or_default());
    let is_part = |p: &&Value| p["name"].as_str().is_some_and(|name| name.starts_with(&head));
    let mut whole = port.clone();
    whole["tagged"] = Value::from(0);
    let parts = ports.iter().filter(is_part).map(|part| &part["traffic"]);
    for part in parts.chain([&port["past"]]) {
        let sum = |a: &Value, b: &Value| a.as_u64().unwrap_or(0) + b.as_u64().unwrap_or(0);
        for key in ["in_packets", "in_bytes", "out_packets", "out_bytes"] {
            whole["traffic"][key] = sum(&whole["traffic"][key], &part[key]).into();
        }
        whole["tagged"] = sum(&whole["tagged"], &part["in_packets"]).into();
    }
    whole
}

/// Of a vhost-user port what passed its tap, which is a tap like others.
fn without_direct(mut port: Value) -> Value {
    let Some(direct) = port["vhost"]["direct"].as_object().cloned() else { return port };
    for (key, own) in direct {
        let all = port["traffic"][&key].as_u64().unwrap_or(0);
        port["traffic"][&key] = all.saturating_sub(own.as_u64().unwrap_or(0)).into();
    }
    port["kind"] = "tap".into();
    port
}

/// What came in is what the kernel received (it takes a tag out of the bytes only after it has
/// counted them); what went out it sent, or dropped behind the switch
/// because nobody was there to take it. (Of a tap it counts a frame as sent when it is read.)
fn agrees(port: &Value, kernel: &Value) -> std::result::Result<(), String> {
    let n = |value: &Value| value.as_u64().unwrap_or(0);
    let (ours, rx, tx) = (&port["traffic"], &kernel["rx"], &kernel["tx"]);
    let sent = n(&tx["packets"]) + n(&tx["dropped"]);
    let out = n(&ours["out_packets"]);
    let unstarted = if patience::is_stretched() { UNSTARTED } else { 0 };
    let same_out = out >= sent && (port["kind"] == "tap" || out - sent <= unstarted);
    let reason = |reason: &str| n(&ours["reasons"][reason]);
    let tagged = reason("tagged-frame") + reason("double-tag") + reason("unknown-vlan");
    let tagged = tagged + n(&port["tagged"]);
    let tags = n(&rx["bytes"]).checked_sub(n(&ours["in_bytes"]));
    let same_in = n(&ours["in_packets"]) == n(&rx["packets"])
        && tags.is_some_and(|bytes| bytes % 4 == 0 && bytes <= 8 * tagged);
    let more = n(&ours["in_packets"]).checked_sub(n(&rx["packets"]));
    let same_in = same_in || port["kind"] == "tap" && more.is_some_and(|more| more <= LANE_OPENED);
    if !same_in || !same_out {
        return Err(format!("{}: {ours}, the kernel {kernel}", port["name"]));
    }
    Ok(())
}
