//! libvirt's hook, called as libvirt calls it.

use std::process::Command;

use portcullis_lab::{process::Output, small::Small, sys};

/// A domain like `virsh dumpxml` shows it, with these interfaces.
fn domain(name: &str, interfaces: &str) -> String {
    format!(
        "<domain type='kvm' id='3'>\n  <name>{name}</name>\n  <memory unit='KiB'>524288</memory>\n  \
         <devices>\n    <emulator>/usr/bin/qemu-system-x86_64</emulator>\n{interfaces}    \
         <serial type='pty'><target port='0'/></serial>\n  </devices>\n</domain>\n"
    )
}

fn ethernet(mac: &str, target: &str) -> String {
    format!(
        "    <interface type='ethernet'>\n      <mac address='{mac}'/>\n      <target dev='{target}' \
         managed='no'/>\n      <model type='virtio'/>\n    </interface>\n"
    )
}

fn hook(small: &Small, name: &str, operation: &[&str], xml: &str) -> Output {
    let file = small.lab.file("domain.xml", xml).unwrap();
    // libvirt's hooks know no path but their own.
    let link = small.lab.dir().join("portcullis-libvirt-hook");
    let _ = std::os::unix::fs::symlink(small.host.program(), &link);
    // A shell opens the file, since nothing is typed into what a lab runs.
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" < \"$0\""]).arg(&file).arg(link).arg(name).args(operation);
    shell.envs(small.host.environment()).env("NO_COLOR", "1");
    let output = small.host.space().run(shell, 20).unwrap();
    assert_eq!(output.stdout, "", "libvirt would take it for the domain's XML");
    output
}

fn mac(small: &Small, guest: &str) -> String {
    let status = small.host.status().unwrap();
    let nics = status.0["guests"].as_array().unwrap();
    nics.iter().find(|nic| nic["guest"] == guest).unwrap()["mac"].as_str().unwrap().to_owned()
}

#[test]
fn a_domain_has_its_ports_from_before_its_start_to_after_its_end() {
    let small = Small::with("pdh", &[], &[]).unwrap();
    let xml = domain("r1", &ethernet(&mac(&small, "r1"), "vm-r1"));
    for operation in [["prepare", "begin", "-"], ["start", "begin", "-"], ["started", "begin", "-"]]
    {
        assert_eq!(hook(&small, "r1", &operation, &xml).code(), 0, "{operation:?}");
    }
    assert!(small.host.status().unwrap().is_open("vm-r1"));
    // The monitor opens the device that is there.
    let held = small.host.space().enter(|| sys::open_tap("vm-r1")).unwrap();
    // libvirt starts anew, and the domain runs on; then it crashes.
    assert_eq!(hook(&small, "r1", &["reconnect", "begin", "-"], &xml).code(), 0);
    assert!(small.host.status().unwrap().is_open("vm-r1"));
    drop(held);
    for operation in [["stopped", "end", "crashed"], ["release", "end", "crashed"]] {
        assert_eq!(hook(&small, "r1", &operation, &xml).code(), 0, "{operation:?}");
    }
    assert!(small.host.status().unwrap().port("vm-r1").is_none());
    // Again, as after any end.
    assert_eq!(hook(&small, "r1", &["prepare", "begin", "-"], &xml).code(), 0);
    assert!(small.host.status().unwrap().is_open("vm-r1"));
}

#[test]
fn a_domain_with_a_mac_that_is_not_its_own_does_not_start() {
    let small = Small::with("pdm", &[], &[]).unwrap();
    let (own, other) = (mac(&small, "r1"), mac(&small, "r2"));
    let refused = |name: &str, interfaces: &str, expected: &str| {
        let xml = domain(name, interfaces);
        for operation in [["prepare", "begin", "-"], ["migrate", "begin", "-"]] {
            let output = hook(&small, name, &operation, &xml);
            assert_ne!(output.code(), 0, "{expected}");
            assert!(output.stderr.contains(expected), "{}", output.stderr);
        }
        let status = small.host.status().unwrap();
        assert!(status.port("a").is_none() && status.port("b").is_none());
    };
    refused("r1", &ethernet(&other, "a"), &format!("its MAC {other} is r2's"));
    refused("r1", &ethernet("52:54:00:00:00:99", "a"), &format!("the policy gives it {own}"));
    refused("r11", &ethernet("52:54:00:00:00:99", "a"), "did you mean r1");
    // The first would be fine: nothing is left of it.
    refused("r1", &(ethernet(&own, "a") + &ethernet(&other, "b")), "r2's");
    // Also where it would not come by our ports at all.
    let elsewhere = format!(
        "<interface type='network'><mac address='{other}'/><source network='default'/></interface>"
    );
    refused("r1", &elsewhere, "r2's");
    let stranger = elsewhere.replace(&other, "52:54:00:00:00:99");
    assert_eq!(hook(&small, "x", &["prepare", "begin", "-"], &domain("x", &stranger)).code(), 0);
}

#[test]
fn without_a_switch_only_its_own_domains_do_not_start() {
    let small = Small::with("pdi", &[], &[]).unwrap();
    let xml = domain("r1", &ethernet(&mac(&small, "r1"), "a"));
    let elsewhere = domain("x", "<interface type='network'><source network='n'/></interface>");
    small.host.kill_daemon().unwrap();
    let refused = hook(&small, "r1", &["prepare", "begin", "-"], &xml);
    assert!(refused.code() != 0 && refused.stderr.contains("portcullis up"), "{refused:?}");
    assert_eq!(hook(&small, "x", &["prepare", "begin", "-"], &elsewhere).code(), 0);
    // A domain that runs is not ended for that.
    assert_eq!(hook(&small, "r1", &["reconnect", "begin", "-"], &xml).code(), 0);
    small.host.up().unwrap();
    let bad = hook(&small, "r1", &["prepare", "begin", "-"], "<network/>");
    assert!(bad.code() != 0 && bad.stderr.contains("<network>"), "{}", bad.stderr);
}
