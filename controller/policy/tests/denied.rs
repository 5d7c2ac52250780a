//! Denied sets: what they mean, what is said about them, and where they are read from.

use std::net::IpAddr;

use portcullis_image::Denied;
use portcullis_pipeline::addr::Addr;
use portcullis_policy::{
    Compiled, Sources, compile, compile_unproved, compile_unproved_at, diff, explain,
    generate::{Connections, Size, moment, policy},
    oracle,
};

const SITE: &str = "\
networks:
  lan: { vlan: 10, subnets: [10.10.0.0/24, \"fd00:10::/64\"], gateway: true }
  wan: { vlan: 30, subnets: [203.0.113.0/24], kind: external, gateway: 203.0.113.1 }
guests:
  web: { network: lan, ip: 10.10.0.5 }
  mail: { network: wan, ip: 203.0.113.9 }
host: { addresses: [192.0.2.1] }
rules:
  - { name: public, allow: { from: world, to: web, for: https } }
";

fn sources(more: &str, lists: &[(&str, &str)]) -> Sources {
    let site = ("site.yaml".to_owned(), format!("{SITE}{more}"));
    let lists = lists.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Sources::new(std::iter::once(site).chain(lists))
}

fn compiled(more: &str, lists: &[(&str, &str)]) -> Compiled {
    compile(&sources(more, lists)).unwrap_or_else(|d| panic!("{d}"))
}

fn refused(more: &str, lists: &[(&str, &str)]) -> Vec<String> {
    let Err(diags) = compile(&sources(more, lists)) else { panic!("it is taken") };
    let said = diags.to_json();
    said.iter().map(|d| format!("{}:{} {}", d.position.file, d.position.line, d.code)).collect()
}

fn denies(image: &Denied, addr: &str) -> bool {
    image.contains(addr.parse::<IpAddr>().expect("an address").into())
}

const BOGONS: &str = "\
# what nobody outside has
10.0.0.0/8
192.0.2.0/24 ; documentation
203.0.113.0/24

2001:db8::/32
198.51.100.7   # one address
fe80::/10
::/8
";

#[test]
fn what_is_not_outside_is_left_out() {
    let denied = "denied:\n  bogons: { file: bogons.txt, addresses: [224.0.0.0/4, 8.8.8.8] }\n";
    let image = compiled(denied, &[("bogons.txt", BOGONS)]).image.denied;
    for addr in ["10.9.255.255", "10.10.1.0", "192.0.2.2", "203.0.113.7", "198.51.100.7", "8.8.8.8"]
    {
        assert!(denies(&image, addr), "{addr}");
    }
    assert!(denies(&image, "2001:db8::7") && denies(&image, "::7"));
    // Of networks, of guests, of the host; link-local, multicast; and what no list names.
    for addr in ["10.10.0.0", "10.10.0.77", "203.0.113.1", "203.0.113.9", "192.0.2.1", "224.0.0.5"]
    {
        assert!(!denies(&image, addr), "{addr}");
    }
    assert!(!denies(&image, "fe80::7") && !denies(&image, "8.8.4.4"));
    assert!(!denies(&image, "198.51.100.6") && !denies(&image, "198.51.100.8"));
}

#[test]
fn the_image_denies_what_the_oracle_does() {
    let mut denied = 0;
    for seed in 0..300 {
        let text = policy(seed, Size { networks: 3, guests: 6, rules: 6 });
        let moment = moment(seed, &text);
        let compiled = compile_unproved_at(&Sources::new([("random.yaml", text)]), &moment);
        let compiled = compiled.unwrap_or_else(|d| panic!("{d}"));
        for addr in Connections::new(&compiled.model, seed).addresses() {
            let expected = oracle::is_denied(&compiled.model, addr);
            denied += usize::from(expected);
            let got = compiled.image.denied.contains(Addr::from(addr));
            assert_eq!(got, expected, "{addr} with seed {seed}");
        }
    }
    assert!(denied > 500, "{denied}");
}

#[test]
fn every_bad_line_is_told_with_its_place() {
    let denied = "denied:\n  feed: { file: feed.list }\n";
    let text = "10.0.0.0/8\n10.0.0.1/8\n  198.51.100.300 # no\n1.2.3.0-1.2.3.9\n::ffff:1.2.3.4\n";
    let expected = [2, 3, 4, 5].map(|line| format!("feed.list:{line} PC1402"));
    assert_eq!(refused(denied, &[("feed.list", text)]), expected);
    let noise = "noise\n".repeat(500);
    let said = refused(denied, &[("feed.list", &noise)]);
    assert_eq!((said.len(), said[10].as_str()), (11, "feed.list:11 PC1403"));
}

#[test]
fn a_list_is_among_the_files_or_the_policy_is_refused() {
    let denied = "denied:\n  feed: { file: feed.list }\n  other: { file: other.csv }\n";
    assert_eq!(refused(denied, &[]), ["site.yaml:11 PC1401", "site.yaml:12 PC1401"]);
    assert_eq!(refused("", &[("feed.list", "10.0.0.0/8\n")]), ["feed.list:1 PC1401"]);
}

#[test]
fn an_always_that_a_set_cuts_does_not_hold() {
    let denied = "denied: { scanners: { addresses: [198.51.100.128/25] } }\n";
    let always =
        |from: &str| format!("{denied}always: [{{ from: {from}, to: web, for: https }}]\n");
    for held in ["world", "198.51.100.0/25", "198.51.100.7", "{ not: mail }"] {
        let done = compile(&sources(&always(held), &[]));
        let cut = done.err().map(|d| d.to_string()).unwrap_or_default();
        assert!(!cut.contains("denied set"), "{held}: {cut}");
    }
    let cut = ["198.51.100.0/24", "198.51.100.200", "{ all of: [world, 198.51.0.0/16] }"];
    for from in cut {
        assert_eq!(refused(&always(from), &[]), ["site.yaml:11 PC1405"], "{from}");
    }
    // What the set names is taken out of the invariant again.
    let except = "sets: { office: { members: [198.51.100.0/24], except: [198.51.100.128/25] } }\n";
    compiled(&format!("{except}{}", always("office")), &[]);
}

#[test]
fn explain_names_list_and_line() {
    let denied = "denied: { bogons: { file: lists/bogons.txt } }\n";
    let compiled = compiled(denied, &[("lists/bogons.txt", BOGONS)]);
    let said = |from: &str| explain(&compiled, from, "web", "https").unwrap().render();
    let denied = said("198.51.100.7");
    assert!(denied.contains("tcp/443: denied") || denied.contains("https: denied"), "{denied}");
    let place =
        "by the denied set bogons (198.51.100.7/32) at lists/bogons.txt:7:1, before any rule";
    assert!(denied.contains(place) && denied.contains("also about it: public"), "{denied}");
    let allowed = said("198.51.100.8");
    assert!(allowed.contains("allowed") && !allowed.contains("denied set"), "{allowed}");
    let world = said("world");
    assert!(
        world.contains("note: denied before any rule: ") && world.contains("(bogons)"),
        "{world}"
    );
}

#[test]
fn diff_says_what_comes_and_goes() {
    let denied = "denied: { bogons: { file: bogons.txt } }\n";
    let unproved = |more: &str, list: &str| {
        compile_unproved(&sources(more, &[("bogons.txt", list)])).unwrap_or_else(|d| panic!("{d}"))
    };
    let (old, new) =
        (unproved(denied, BOGONS), unproved(denied, "10.0.0.0/8\n8.8.8.0/24\n9.9.9.9\n"));
    let said = diff(&old, &new).render();
    let expected =
        ["now denied: 8.8.8.0/24 and 1 more", "no longer denied: 192.0.2.0/24 and 5 more"];
    assert!(expected.iter().all(|e| said.contains(e)), "{said}");
    assert!(diff(&old, &old).is_empty());
    let gone = diff(&old, &compiled("", &[])).render();
    assert!(gone.contains("denied set") && gone.contains("bogons"), "{gone}");
}

#[test]
fn a_set_that_names_nothing_is_worth_a_word() {
    let compiled = compiled("denied: { feed: { file: feed.txt } }\n", &[("feed.txt", "# none\n")]);
    let codes: Vec<&str> = compiled.warnings.items().iter().map(|d| d.code()).collect();
    assert!(codes.contains(&"PC1491"), "{codes:?}");
    assert!(compiled.image.denied.is_empty());
}

#[test]
fn more_than_the_tables_hold_is_refused() {
    use std::fmt::Write;
    let mut list = String::new();
    for number in (0..6_000_002_u32).step_by(2) {
        let addr = std::net::Ipv4Addr::from(0x1000_0000 + number);
        // Writing to a string cannot fail.
        let _ = writeln!(list, "{addr}");
    }
    let denied = "denied: { feed: { file: feed.txt } }\n";
    assert_eq!(refused(denied, &[("feed.txt", &list)]), ["site.yaml:10 PC1404"]);
}
