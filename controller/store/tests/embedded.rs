//! The file: who may read it, what a crash leaves, what damage looks like.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use portcullis_store::{Condition, Embedded, Error, Store, Transaction};

const CHILD: &str = "PORTCULLIS_STORE_TEST_CHILD";

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn file_and_folder_are_the_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lib/portcullis/state.redb");
    let store = Embedded::open(&path).unwrap();
    assert_eq!(mode(store.path()), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[test]
fn a_store_in_use_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let first = Embedded::open(&path).unwrap();
    let error = Embedded::open(&path).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    drop(first);
    Embedded::open(&path).unwrap();
}

#[test]
fn a_folder_in_the_way_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Embedded::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Open { .. }), "{error}");
    std::fs::write(folder.path().join("file"), "").unwrap();
    let error = Embedded::open(folder.path().join("file/state.redb")).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
}

#[test]
fn another_format_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    drop(Embedded::open(&path).unwrap());
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let numbers = redb::TableDefinition::<&str, u64>::new("numbers");
    transaction.open_table(numbers).unwrap().insert("format", 7).unwrap();
    transaction.commit().unwrap();
    drop(database);
    for _ in 0..2 {
        let error = Embedded::open(&path).unwrap_err();
        assert!(matches!(error, Error::Format { found: 7, .. }), "{error}");
    }
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let garbage: Vec<u8> = (0..100_000_u32).map(|i| ((i * 31) >> 2) as u8).collect();
    for content in [&b"# a policy, not a store"[..], &garbage, &[0; 4096]] {
        std::fs::write(&path, content).unwrap();
        let error = Embedded::open(&path).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

/// Whatever is damaged: the store opens with what was committed, or is refused. It is never
/// opened with other content.
#[test]
fn damage_is_repaired_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let mut store = Embedded::open(&path).unwrap();
    for i in 0..50_u32 {
        store.put(&format!("k{i}"), &i.to_le_bytes().repeat(100)).unwrap();
    }
    let good = store.list("").unwrap();
    drop(store);
    let bytes = std::fs::read(&path).unwrap();
    let (mut refused, mut opened) = (0, 0);
    for step in 0..60 {
        let mut damaged = bytes.clone();
        let at = step * bytes.len() / 60;
        if step % 3 == 0 {
            damaged.truncate(at.max(1));
        } else {
            let end = (at + 64).min(damaged.len());
            damaged[at..end].iter_mut().for_each(|b| *b ^= 0x5a);
        }
        std::fs::write(&path, &damaged).unwrap();
        match Embedded::open(&path) {
            Ok(store) => {
                assert_eq!(store.list("").unwrap(), good, "damage at {at}");
                opened += 1;
            }
            Err(Error::Corrupt { .. }) => refused += 1,
            Err(other) => panic!("damage at {at}: {other}"),
        }
    }
    assert!(refused > 0 && opened > 0, "{refused} refused, {opened} opened");
}

/// The child of the next test: counts up in two keys that must always agree.
fn count_until_killed(path: &str) -> ! {
    let mut store = Embedded::open(path).unwrap();
    let (mut n, mut at) = match store.get("left").unwrap() {
        Some(entry) => (number(&entry.value), Condition::At("left".into(), entry.revision)),
        None => (0, Condition::Absent("left".into())),
    };
    loop {
        n += 1;
        let value = format!("{n} {}", "x".repeat(n as usize * 97 % 9000));
        let transaction =
            Transaction::new().when(at).put("left", value.as_str()).put("right", value.as_str());
        at = Condition::At("left".into(), store.commit(&transaction).unwrap());
        println!("done {n}");
    }
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// SIGKILL at 20 moments: nothing that was acknowledged is lost, nothing is half there.
#[test]
fn a_crash_leaves_whole_transactions() {
    if let Ok(path) = std::env::var(CHILD) {
        count_until_killed(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let mut acknowledged = 0;
    for round in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_crash_leaves_whole_transactions", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(40 + round * 13));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let last = String::from_utf8(output.stdout).unwrap();
        // The last line may be cut; it then counts for less, never for more.
        let said = last.lines().filter_map(|l| l.strip_prefix("done ")?.parse::<u64>().ok()).max();
        acknowledged = acknowledged.max(said.unwrap_or(0));
        let store = Embedded::open(&path).unwrap();
        let (left, right) = (store.get("left").unwrap(), store.get("right").unwrap());
        let values = left.map(|e| e.value).zip(right.map(|e| e.value));
        let kept = values.map_or(0, |(left, right)| {
            assert_eq!(left, right);
            number(&left)
        });
        assert!(kept >= acknowledged, "{kept} kept, {acknowledged} acknowledged");
    }
    assert!(acknowledged > 0, "no child got anywhere");
}
