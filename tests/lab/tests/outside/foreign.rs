//! Rules of others stand in the way: the status says which, and its advice helps.

use crate::site::{HOST, Listener, Site, WORLD, datagram};

const POLICY: &str = "rules:
  - { name: out, allow: { from: web, to: world, for: udp/53 } }
  - { name: site, allow: { from: world, to: web, for: tcp/443 } }
publish:
  - { name: site, at: host, for: tcp/8443, to: web, port: 443 }
";

/// Runs what an advice says behind its colon, command by command.
fn follow(site: &Site, advice: &str) {
    let (_, commands) = advice.split_once(": ").expect("commands");
    for command in commands.split("; ") {
        site.host.space().sh(command).unwrap();
    }
}

#[test]
fn a_docker_that_drops_is_named_and_its_own_chain_helps() {
    let docker = |host: &portcullis_lab::Space| {
        for rule in [
            "-P FORWARD DROP",
            "-N DOCKER-USER",
            "-A DOCKER-USER -j RETURN",
            "-A FORWARD -j DOCKER-USER",
            "-A FORWARD -o docker0 -j DROP",
        ] {
            host.sh(&format!("iptables-nft {rule}")).unwrap();
        }
    };
    let site = Site::with("plok", POLICY, docker);
    let web = Listener::new(site.space("web"), 443);
    assert_eq!(datagram(site.space("web"), &site.world, (WORLD, 53)), None);
    assert!(web.connect(&site.world, (HOST, 8443)).is_none());
    let status = site.status();
    let found = status["foreign"].as_array().unwrap();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["table"], "ip filter");
    assert_eq!(
        (&found[0]["chain"], &found[0]["handle"]),
        (&"FORWARD".into(), &serde_json::Value::Null)
    );
    assert_eq!(found[0]["certain"], true);
    let applied = site.host.run(&["apply", &site.lab.dir().join("policy.yaml").to_string_lossy()]);
    let warned = applied.unwrap().stderr;
    assert!(warned.contains("table ip filter, chain FORWARD: its policy drops"), "{warned}");
    follow(&site, found[0]["advice"].as_str().unwrap());
    assert_eq!(datagram(site.space("web"), &site.world, (WORLD, 53)), Some(HOST.into()));
    assert!(web.connect(&site.world, (HOST, 8443)).is_some());
    assert_eq!(site.status()["foreign"], serde_json::json!([]));
}

#[test]
fn a_filter_of_somebodys_own_is_named_by_its_handle() {
    let site = Site::new("ploh", POLICY);
    let host = site.host.space();
    host.sh("nft add table inet mine").unwrap();
    host.sh("nft add chain inet mine f { type filter hook forward priority 10 ; }").unwrap();
    host.sh("nft add rule inet mine f oifname \"pc-*\" tcp dport 443 drop").unwrap();
    let web = Listener::new(site.space("web"), 443);
    assert!(web.connect(&site.world, (HOST, 8443)).is_none());
    let status = site.status();
    let found = &status["foreign"][0];
    let told = (&found["table"], &found["chain"], &found["certain"]);
    assert_eq!(told, (&"inet mine".into(), &"f".into(), &true.into()), "{status:#}");
    assert!(found["handle"].is_u64());
    assert!(found["traffic"].to_string().contains("the outside to front, tcp/443"), "{found:#}");
    follow(&site, found["advice"].as_str().unwrap());
    assert!(web.connect(&site.world, (HOST, 8443)).is_some());
}
