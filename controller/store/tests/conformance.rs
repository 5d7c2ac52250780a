//! What every store must do, run against each of them.

use std::collections::BTreeMap;

use portcullis_store::{
    Condition, Embedded, Error, Flaky, KEY_MAX, Memory, Store, TRANSACTION_MAX, Transaction,
};
use proptest::prelude::*;

/// Runs a check against a fresh store of each kind.
fn each(check: impl Fn(&mut dyn Store)) {
    check(&mut Memory::new());
    let folder = tempfile::tempdir().unwrap();
    check(&mut Embedded::open(folder.path().join("state.redb")).unwrap());
    check(&mut Flaky::new(Memory::new(), 1, 0));
}

fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.list(prefix).unwrap().entries.into_iter().map(|e| e.key).collect()
}

#[test]
fn an_empty_store_is_at_revision_0() {
    each(|store| {
        let listing = store.list("").unwrap();
        assert_eq!((listing.revision, listing.entries.len()), (0, 0));
        assert_eq!(store.get("a").unwrap(), None);
    });
}

#[test]
fn what_is_put_is_there_until_it_is_deleted() {
    each(|store| {
        assert_eq!(store.put("a", b"1").unwrap(), 1);
        assert_eq!(store.put("b", b"").unwrap(), 2);
        let a = store.get("a").unwrap().unwrap();
        assert_eq!((a.key.as_str(), a.value.as_slice(), a.revision), ("a", &b"1"[..], 1));
        assert_eq!(store.get("b").unwrap().unwrap().value, b"");
        assert_eq!(store.delete("a").unwrap(), 3);
        assert_eq!(store.get("a").unwrap(), None);
        assert_eq!(store.delete("never").unwrap(), 4);
        assert_eq!(store.list("").unwrap().revision, 4);
    });
}

#[test]
fn a_list_is_sorted_and_keeps_to_its_prefix() {
    each(|store| {
        for key in ["ports/b", "ports/a", "port", "ports", "portt", "ports/ä", "q"] {
            store.put(key, key.as_bytes()).unwrap();
        }
        assert_eq!(keys(store, "ports/"), ["ports/a", "ports/b", "ports/ä"]);
        assert_eq!(keys(store, "").len(), 7);
        assert_eq!(keys(store, "z"), Vec::<String>::new());
    });
}

#[test]
fn a_transaction_is_all_or_nothing() {
    each(|store| {
        let first = store.put("a", b"1").unwrap();
        let both = Transaction::new().put("a", "2").put("b", "2").delete("c");
        let conflicted = both.clone().when(Condition::At("a".into(), first + 1));
        let error = store.commit(&conflicted).unwrap_err();
        assert!(
            matches!(&error, Error::Conflict { key, found: Some(1), .. } if key == "a"),
            "{error}"
        );
        assert_eq!(store.get("a").unwrap().unwrap().value, b"1");
        assert_eq!(store.get("b").unwrap(), None);
        assert_eq!(store.list("").unwrap().revision, first);

        let good = both.when(Condition::At("a".into(), first)).when(Condition::Absent("b".into()));
        let second = store.commit(&good).unwrap();
        let entries = store.list("").unwrap().entries;
        assert!(entries.iter().all(|e| e.revision == second && e.value == b"2"));
        assert_eq!(entries.len(), 2);
        assert!(matches!(store.commit(&good), Err(Error::Conflict { .. })));
    });
}

#[test]
fn absent_means_absent_again_after_a_delete() {
    each(|store| {
        let create = Transaction::new().when(Condition::Absent("a".into())).put("a", "x");
        store.commit(&create).unwrap();
        assert!(store.commit(&create).is_err());
        store.delete("a").unwrap();
        store.commit(&create).unwrap();
    });
}

#[test]
fn a_transaction_without_writes_only_asks() {
    each(|store| {
        let at = store.put("a", b"1").unwrap();
        let ask = |revision| Transaction::new().when(Condition::At("a".into(), revision));
        assert_eq!(store.commit(&ask(at)).unwrap(), at);
        assert!(matches!(store.commit(&ask(at + 1)), Err(Error::Conflict { .. })));
        assert_eq!(store.list("").unwrap().revision, at);
    });
}

#[test]
fn limits_are_refused_before_anything_is_written() {
    each(|store| {
        let long = "k".repeat(KEY_MAX + 1);
        for key in ["", long.as_str()] {
            assert!(matches!(store.put(key, b""), Err(Error::Key { .. })));
            assert!(matches!(store.get(key), Err(Error::Key { .. })));
        }
        store.put(&long[1..], b"").unwrap();
        let twice = Transaction::new().put("a", "1").delete("a");
        assert!(matches!(store.commit(&twice), Err(Error::TwoWrites { .. })));
        let many =
            (0..=TRANSACTION_MAX).fold(Transaction::new(), |t, i| t.put(format!("k{i}"), "v"));
        assert!(matches!(store.commit(&many), Err(Error::TransactionTooLarge { .. })));
        assert_eq!(store.list("").unwrap().entries.len(), 1);
    });
}

#[test]
fn a_big_value_comes_back() {
    each(|store| {
        let value: Vec<u8> = (0..10_000_000_u32).map(|i| ((i * 7) >> 3) as u8).collect();
        store.put("policy", &value).unwrap();
        assert!(store.get("policy").unwrap().unwrap().value == value);
    });
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Commit { conditions: Vec<(u8, u8)>, writes: BTreeMap<u8, Option<u8>> },
    Get(u8),
    List(u8),
}

fn key(n: u8) -> String {
    ["a", "a/b", "a/c", "b", "ba"][usize::from(n) % 5].to_owned()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let writes = prop::collection::btree_map(0..5_u8, any::<Option<u8>>(), 0..4);
    let conditions = prop::collection::vec((0..5_u8, 0..4_u8), 0..3);
    let step = prop_oneof![
        4 => (conditions, writes).prop_map(|(conditions, writes)| Step::Commit { conditions, writes }),
        1 => (0..5_u8).prop_map(Step::Get),
        1 => (0..5_u8).prop_map(Step::List),
    ];
    prop::collection::vec(step, 1..40)
}

/// The specification: a map, and a revision.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    revision: u64,
    entries: BTreeMap<String, (u64, Vec<u8>)>,
}

impl Model {
    fn read(store: &dyn Store) -> Self {
        let listing = store.list("").unwrap();
        let entries = listing.entries.into_iter().map(|e| (e.key, (e.revision, e.value))).collect();
        Self { revision: listing.revision, entries }
    }

    /// Builds a transaction whose conditions are right or nearly right (`skew`).
    fn transaction(
        &self,
        conditions: &[(u8, u8)],
        writes: &BTreeMap<u8, Option<u8>>,
    ) -> Transaction {
        let mut transaction = Transaction::new();
        for &(k, skew) in conditions {
            let found = self.entries.get(&key(k)).map(|(revision, _)| *revision);
            transaction = transaction.when(match (found, skew) {
                (Some(revision), 0..3) => Condition::At(key(k), revision),
                (None, 0..3) | (Some(_), _) => Condition::Absent(key(k)),
                (None, _) => Condition::At(key(k), 1),
            });
        }
        for (k, value) in writes {
            transaction = match value {
                Some(value) => transaction.put(key(*k), [*value]),
                None => transaction.delete(key(*k)),
            };
        }
        transaction
    }

    fn holds(&self, transaction: &Transaction) -> bool {
        transaction.conditions.iter().all(|condition| match condition {
            Condition::Absent(key) => !self.entries.contains_key(key),
            Condition::At(key, revision) => {
                self.entries.get(key).is_some_and(|(found, _)| found == revision)
            }
        })
    }

    fn after(&self, writes: &BTreeMap<u8, Option<u8>>) -> Self {
        let mut next = self.clone();
        next.revision += u64::from(!writes.is_empty());
        for (k, value) in writes {
            match value {
                Some(value) => next.entries.insert(key(*k), (next.revision, vec![*value])),
                None => next.entries.remove(&key(*k)),
            };
        }
        next
    }
}

/// Plays a history; `truth` reads the content without failing.
fn play<S: Store>(store: &mut S, truth: impl Fn(&S) -> Model, steps: &[Step]) {
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Get(k) => match store.get(&key(*k)) {
                Ok(entry) => {
                    let expected = model.entries.get(&key(*k)).cloned();
                    assert_eq!(entry.map(|e| (e.revision, e.value)), expected);
                }
                Err(error) => assert!(matches!(error, Error::Unavailable { .. }), "{error}"),
            },
            Step::List(k) => {
                if let Ok(listing) = store.list(&key(*k)) {
                    let prefix = key(*k);
                    let expected: Vec<_> =
                        model.entries.keys().filter(|k| k.starts_with(&prefix)).collect();
                    assert_eq!(
                        listing.entries.iter().map(|e| &e.key).collect::<Vec<_>>(),
                        expected
                    );
                    assert_eq!(listing.revision, model.revision);
                }
            }
            Step::Commit { conditions, writes } => {
                let transaction = model.transaction(conditions, writes);
                let before = model.clone();
                match store.commit(&transaction) {
                    Ok(revision) => {
                        assert!(before.holds(&transaction));
                        model = before.after(writes);
                        assert_eq!(revision, model.revision);
                    }
                    Err(Error::Conflict { .. }) => assert!(!before.holds(&transaction)),
                    Err(Error::Unavailable { .. }) => {
                        model = truth(store);
                        let done = before.holds(&transaction) && model == before.after(writes);
                        assert!(done || model == before, "a part of {transaction:?} happened");
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
        assert_eq!(truth(store), model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_is_the_model(steps in steps()) {
        play(&mut Memory::new(), |s| Model::read(s), &steps);
    }

    #[test]
    fn a_store_that_fails_never_does_half(seed: u64, steps in steps()) {
        let mut store = Flaky::new(Memory::new(), seed, 40);
        play(&mut store, |s| Model::read(s.inner()), &steps);
    }
}

proptest! {
    // Every commit is a sync to disk.
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_file_is_the_model_also_when_opened_again(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        let mut store = Embedded::open(&path).unwrap();
        play(&mut store, |s| Model::read(s), &steps);
        let before = Model::read(&store);
        drop(store);
        prop_assert_eq!(Model::read(&Embedded::open(&path).unwrap()), before);
    }
}
