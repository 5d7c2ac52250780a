//! The demo's table, as a test: `policies/dmz.yaml` on real ports, with real clients and servers.

use portcullis_lab::{Lab, demo, world::Dmz};

#[test]
fn everybody_reaches_whom_the_policy_says() {
    let mut dmz = Dmz::build(Lab::new("pld").unwrap()).unwrap();
    dmz.serve().unwrap();
    println!("{}", demo::head());
    let rows = demo::perform(&dmz, |row| println!("{}", demo::line(row))).unwrap();
    let wrong: Vec<String> = rows.iter().filter(|row| !row.is_fine()).map(demo::line).collect();
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
    assert!(rows.len() >= 20);
}
