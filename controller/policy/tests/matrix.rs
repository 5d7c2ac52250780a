//! The matrix against the oracle, and as people see it.

use std::net::IpAddr;

use portcullis_policy::{
    Compiled, Sources, compile, compile_unproved,
    generate::{self, Connections, Size},
    matrix::{Access, By, Cell, Matrix, matrix},
    model::Purpose,
    oracle,
};
use proptest::prelude::*;

fn read(text: &str) -> Compiled {
    compile_unproved(&Sources::new([("p.yaml", text)])).unwrap_or_else(|d| panic!("{d}\n{text}"))
}

/// Which guest has an address.
fn guest(compiled: &Compiled, addr: IpAddr) -> Option<usize> {
    let has = |g: &portcullis_policy::model::Guest| g.nics.iter().any(|n| n.addrs.contains(&addr));
    compiled.model.guests.iter().position(has)
}

/// The rows that a guest's address is in.
fn rows(compiled: &Compiled, matrix: &Matrix, addr: IpAddr) -> Vec<usize> {
    let Some(g) = guest(compiled, addr) else { return Vec::new() };
    let model = &compiled.model;
    let network = |n: usize| model.networks[n].subnets.iter().any(|s| s.contains(&addr));
    let is = |name: &str| {
        model.guests[g].name == name
            || model.labels.iter().any(|l| l.name == name && l.guests.contains(&g))
            || model.networks.iter().enumerate().any(|(i, n)| n.name == name && network(i))
    };
    (0..matrix.subjects.len()).filter(|&i| is(&matrix.subjects[i].name)).collect()
}

fn agrees(cell: &Cell, allowed: bool, purpose: Purpose) -> bool {
    let every = cell.services.iter().any(|s| s.cover(purpose));
    let some = every || cell.partly.iter().any(|s| s.cover(purpose));
    match cell.access {
        Access::All => allowed,
        Access::None => !allowed,
        // A service that every connection of the cell is allowed, one that none is, or between.
        Access::Some => (!every || allowed) && (!allowed || some),
        Access::Impossible => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn cells_say_what_the_oracle_says(
        seed: u64, networks in 1usize..4, guests in 1usize..9, rules in 0usize..14, by in 0usize..4
    ) {
        let by = [By::All, By::Network, By::Label, By::Guest][by];
        let compiled = read(&generate::policy(seed, Size { networks, guests, rules }));
        let found = matrix(&compiled, by).expect("few rows");
        let mut ask = Connections::new(&compiled.model, seed ^ 3);
        for _ in 0..400 {
            let c = ask.next_connection();
            let purpose = Purpose::from(c.service);
            let told = oracle::evaluate(&compiled.model, c.src, c.dst, purpose);
            let possible = guest(&compiled, c.src) != guest(&compiled, c.dst)
                && (purpose.protocol.name() != "icmp" || c.src.is_ipv4())
                && (purpose.protocol.name() != "icmpv6" || c.src.is_ipv6())
                && (purpose.protocol.name() != "proto" || purpose.number < 256);
            let (from, to) = (rows(&compiled, &found, c.src), rows(&compiled, &found, c.dst));
            for (row, column) in from.iter().flat_map(|&f| to.iter().map(move |&t| (f, t))) {
                let cell = &found.cells[row][column];
                prop_assert!(
                    !possible || agrees(cell, told.allowed, purpose),
                    "{} -> {}: {} but {c:?} is {}", found.subjects[row], found.subjects[column],
                    cell.words(), told.allowed
                );
            }
        }
    }
}

const OFFICE: &str = "\
networks:
  lan: { vlan: 10, subnets: [10.10.0.0/24], gateway: true, kind: lan }
  dmz: { vlan: 20, subnets: [10.20.0.0/24], gateway: true, kind: dmz }
guests:
  pc1: { network: lan, ip: 10.10.0.11, labels: [admin] }
  pc2: { network: lan, ip: 10.10.0.12 }
  web1: { network: dmz, ip: 10.20.0.5, labels: [web] }
rules:
  - { name: web, allow: { from: lan, to: web, for: http } }
  - { name: public, allow: { from: world, to: web, for: [http, https] } }
  - { name: ssh, allow: { from: admin, to: web, for: ssh } }
  - { name: no-pc2, deny: { from: pc2, to: web, for: ssh } }
";

fn office(by: By) -> Matrix {
    let compiled = compile(&Sources::new([("p.yaml", OFFICE)])).unwrap_or_else(|d| panic!("{d}"));
    matrix(&compiled, by).expect("few rows")
}

#[test]
fn a_terminal_shows_letters() {
    assert_eq!(
        office(By::All).render(80),
        "\
from \\ to 1 2 3 4 5 6 7
 1 lan    # a # b # . .
 2 dmz    . . . . . . .
 3 admin  # a - c # . .
 4 web    . . . - . . .
 5 pc2    # d # e - . .
 6 host   . . . . . - .
 7 world  . f . g . . .

# everything  . nothing  - no such connection
a partly http, ssh
b http; partly ssh
c http, ssh
d partly http
e http
f partly http, https
g http, https
"
    );
}

#[test]
fn what_does_not_fit_is_a_list() {
    let text = office(By::Label).render(10);
    assert!(
        text.contains("admin -> web: http, ssh\n") && text.contains("pc2 -> web: http\n"),
        "{text}"
    );
    assert!(!text.contains("host"), "{text}");
}

#[test]
fn spreadsheets_and_programs_get_the_same() {
    let matrix = office(By::Label);
    let csv = matrix.to_csv();
    assert!(csv.starts_with("from \\ to,admin,web,pc2,host,world\r\n"), "{csv}");
    assert!(csv.contains("\r\nadmin,-,\"http, ssh\",all,none,none\r\n"), "{csv}");
    let json = serde_json::to_value(&matrix).expect("JSON");
    assert_eq!(json["subjects"][0], serde_json::json!({ "kind": "label", "name": "admin" }));
    let cell = &json["cells"][0][1];
    assert_eq!((&cell["access"], &cell["services"][0]["name"]), (&"some".into(), &"http".into()));
    assert_eq!(cell["allowed_by"][1]["name"], "ssh");
}

#[test]
fn a_page_is_whole_and_loads_nothing() {
    let page = office(By::All).to_html("<office> & \"home\"");
    assert!(page.contains("&lt;office&gt; &amp; &quot;home&quot;") && !page.contains("<office>"));
    for outside in ["http-equiv", "src=", "href=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let hover = "<title>admin → web: http, ssh\nallowed by web (p.yaml:9:5)\nallowed by ssh (p.yaml:11:5)</title>";
    assert!(page.contains(hover), "{page}");
    // Every element that is opened is closed.
    for tag in
        ["svg", "rect", "text", "title", "table", "tr", "td", "p", "div", "style", "body", "html"]
    {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn too_many_rows_are_refused_before_they_are_computed() {
    let guests: String = (0..500).map(|i| format!("  g{i}: {{ network: lan }}\n")).collect();
    let text =
        format!("networks:\n  lan: {{ vlan: 1, subnets: [10.0.0.0/16] }}\nguests:\n{guests}");
    let error = matrix(&read(&text), By::Guest).unwrap_err();
    assert_eq!((error.got, error.to_string().contains("502 rows")), (502, true));
    assert!(matrix(&read(&text), By::Network).is_ok());
}
