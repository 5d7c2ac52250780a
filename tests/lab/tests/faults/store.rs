//! A store that is full or damaged.

use nix::mount::{MsFlags, mount};
use portcullis_lab::small::Small;

use crate::siege::{OTHER, RUNNING, Siege};

#[test]
fn a_full_store_refuses_and_works_again_when_it_has_room() {
    let small = Small::new("pls").unwrap();
    small.host.down().unwrap();
    let state = small.host.state_dir();
    std::fs::create_dir_all(state).unwrap();
    // Removed with the lab, as every mount below its directory is.
    mount(Some("tmpfs"), state, Some("tmpfs"), MsFlags::empty(), Some("size=4m")).unwrap();
    small.host.up().unwrap();
    small.apply(&[RUNNING]).unwrap();
    let filler = state.join("filler");
    let room = std::iter::repeat_n(0_u8, 8 << 20).collect::<Vec<_>>();
    assert!(std::fs::write(&filler, room).is_err(), "there is still room");
    let long: Vec<String> =
        (0..4000).map(|n| OTHER.replacen("other", &format!("other{n}"), 1)).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let before = small.host.status().unwrap().0["policy"].clone();
    let refused = small.apply(&long).unwrap_err().to_string();
    assert!(
        refused.contains("could not be stored") && refused.contains("in force again"),
        "{refused}"
    );
    let after = small.host.status().unwrap().0["policy"].clone();
    assert_eq!(after["size"], before["size"], "{after}");
    std::fs::remove_file(&filler).unwrap();
    small.apply(&[RUNNING, OTHER]).unwrap();
    assert_eq!(small.host.status().unwrap().0["problems"], serde_json::json!([]));
    small.host.kill_daemon().unwrap();
    small.host.up().unwrap();
    assert_eq!(small.host.status().unwrap().0["policy"]["size"]["rules"], 2);
}

#[test]
fn a_damaged_store_is_named_and_opens_nothing() {
    let mut siege = Siege::new("plx");
    siege.host().kill_daemon().unwrap();
    let store = std::fs::read_dir(siege.host().state_dir()).unwrap();
    let store = store.map(|entry| entry.unwrap().path()).find(|p| p.is_file()).unwrap();
    let whole = std::fs::read(&store).unwrap();
    let mut damaged = whole.clone();
    damaged.iter_mut().skip(64).step_by(97).for_each(|byte| *byte ^= 0x5a);
    std::fs::write(&store, damaged).unwrap();
    let output = siege.host().run(&["up"]).unwrap();
    assert_eq!(output.code(), 2, "{output:?}");
    assert!(output.stderr.contains(&store.display().to_string()), "{output:?}");
    std::fs::write(&store, whole).unwrap();
    siege.host().up().unwrap();
    siege.is_whole();
    siege.reached += 4;
    siege.end();
}
