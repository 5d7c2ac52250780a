//! The examples in `policies/` hold together, and mean what their comments say.

use portcullis_policy::{Compiled, Explanation, Sources, Verdict, compile, explain};

fn load(name: &str) -> Compiled {
    let path = format!("{}/../../policies/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("an example");
    let compiled = compile(&Sources::new([(name, text)])).unwrap_or_else(|d| panic!("{d}"));
    assert!(compiled.warnings.is_empty(), "{}", compiled.warnings);
    compiled
}

fn ask(compiled: &Compiled, from: &str, to: &str, service: &str) -> Explanation {
    explain(compiled, from, to, service).unwrap_or_else(|e| panic!("{e}"))
}

/// `from -> to, service: verdict by RULE` for each row.
fn table(compiled: &Compiled, rows: &[(&str, &str, &str, Verdict, &str)]) {
    for &(from, to, service, verdict, rule) in rows {
        let e = ask(compiled, from, to, service);
        let by = e.answers[0].rule.as_ref().map_or("", |r| r.name.as_str());
        assert_eq!((e.verdict, by), (verdict, rule), "{}", e.render());
    }
}

const YES: Verdict = Verdict::Allowed;
const NO: Verdict = Verdict::Denied;

#[test]
fn dmz() {
    let c = load("dmz.yaml");
    table(
        &c,
        &[
            ("world", "web1", "https", YES, "public-web"),
            ("203.0.113.9", "web1", "http", YES, "public-web"),
            ("203.0.113.9", "web1", "ssh", NO, ""),
            ("world", "app1", "http", NO, ""),
            ("world", "files", "smb", NO, ""),
            ("pc2", "web1", "http", YES, "lan-web"),
            ("pc1", "dmz", "ssh", YES, "admin-ssh"),
            ("pc2", "dmz", "ssh", NO, ""),
            ("pc1", "files", "smb", YES, "kind:lan:lan"),
            ("pc1", "files", "telnet", NO, "no-telnet"),
            ("host", "files", "smb", YES, "host-shares"),
            ("host", "files", "nfs", YES, "host-shares"),
            ("host", "pc1", "smb", NO, ""),
            ("web1", "app1", "tcp/8000", YES, "web-app"),
            ("app1", "app2", "ping", NO, ""),
            ("app1", "web1", "http", NO, ""),
            ("web1", "pc1", "any", NO, ""),
            ("web1", "host", "ssh", NO, ""),
            ("web1", "world", "https", NO, ""),
            ("pc1", "world", "dns", YES, "lan-names"),
            ("192.0.2.7", "web1", "ssh", YES, "office-ssh"),
            ("files", "world", "https", NO, ""),
            ("pc1", "host", "ping", YES, "ping-gateway"),
            ("host", "web1", "ping", YES, "ping-dmz"),
        ],
    );
}

#[test]
fn home() {
    let c = load("home.yaml");
    table(
        &c,
        &[
            ("host", "nas", "smb", YES, "shares"),
            ("desktop", "nas", "smb", YES, "kind:lan:lan"),
            ("desktop", "host", "dns", YES, "gateway"),
            ("desktop", "host", "ssh", NO, ""),
            ("host", "desktop", "ssh", NO, ""),
        ],
    );
}

#[test]
fn sandbox() {
    let c = load("sandbox.yaml");
    table(
        &c,
        &[
            ("malware1", "world", "https", YES, "fetch"),
            ("malware1", "world", "smtp", NO, ""),
            ("malware1", "malware2", "any", NO, ""),
            ("malware1", "analyst", "any", NO, ""),
            ("analyst", "malware1", "ssh", YES, "watch"),
            ("analyst", "world", "smtp", YES, "out"),
        ],
    );
}

#[test]
fn tiers() {
    let c = load("tiers.yaml");
    table(
        &c,
        &[
            ("monitor", "red-db", "ping", YES, "monitoring"),
            ("red-db", "blue-db", "mysql", NO, "no-databases"),
            ("198.51.100.7", "red-app", "https", YES, "office-app"),
            ("198.51.100.66", "red-app", "https", NO, ""),
            ("world", "red-db", "postgresql", NO, "db-closed"),
            ("red-db", "blue-db", "postgresql", NO, "no-replica"),
            ("red-db", "blue-db", "ssh", YES, "db-peers"),
            ("red-app", "red-db", "postgresql", YES, "app-db"),
        ],
    );
}
