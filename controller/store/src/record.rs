//! Versioned values: JSON in an envelope that names its kind and version, so that a store
//! written by another version of the program is noticed instead of misread.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Error, Revision, Store};

/// A type that can be stored.
pub trait Record: Serialize + DeserializeOwned {
    /// What the envelope calls it.
    const KIND: &'static str;
    /// Changes whenever an older program would misread the value.
    const VERSION: u32;
}

#[derive(Serialize)]
struct Sealed<'a, T> {
    kind: &'static str,
    version: u32,
    body: &'a T,
}

#[derive(Deserialize)]
struct Outside {
    kind: String,
    version: u32,
}

#[derive(Deserialize)]
struct Inside<T> {
    body: T,
}

/// The stored form of a value.
///
/// # Errors
/// [`Error::RecordSyntax`] if the value has no JSON form (a map with keys that are no strings).
pub fn seal<T: Record>(key: &str, value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(&Sealed { kind: T::KIND, version: T::VERSION, body: value })
        .map_err(|source| syntax::<T>(key, source))
}

/// The value of a stored form; `key` is for the error only.
///
/// # Errors
/// [`Error::RecordSyntax`] or [`Error::RecordVersion`].
pub fn open<T: Record>(key: &str, bytes: &[u8]) -> Result<T, Error> {
    let outside: Outside =
        serde_json::from_slice(bytes).map_err(|source| syntax::<T>(key, source))?;
    if outside.kind != T::KIND || outside.version != T::VERSION {
        return Err(Error::RecordVersion {
            key: key.to_owned(),
            kind: T::KIND,
            version: T::VERSION,
            found_kind: outside.kind,
            found_version: outside.version,
        });
    }
    let inside: Inside<T> =
        serde_json::from_slice(bytes).map_err(|source| syntax::<T>(key, source))?;
    Ok(inside.body)
}

/// Reads the record with this key.
///
/// # Errors
/// Those of [`Store::get`] and [`open`].
pub fn get<T: Record>(store: &impl Store, key: &str) -> Result<Option<(T, Revision)>, Error> {
    let Some(entry) = store.get(key)? else { return Ok(None) };
    Ok(Some((open(key, &entry.value)?, entry.revision)))
}

/// Reads all records of a prefix, sorted by key.
///
/// # Errors
/// Those of [`Store::list`] and [`open`].
pub fn list<T: Record>(store: &impl Store, prefix: &str) -> Result<Vec<(String, T)>, Error> {
    let listing = store.list(prefix)?;
    listing
        .entries
        .into_iter()
        .map(|e| open(&e.key, &e.value).map(|value| (e.key, value)))
        .collect()
}

fn syntax<T: Record>(key: &str, source: serde_json::Error) -> Error {
    Error::RecordSyntax { key: key.to_owned(), kind: T::KIND, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        text: String,
    }

    impl Record for Note {
        const KIND: &'static str = "note";
        const VERSION: u32 = 2;
    }

    fn stored(bytes: &[u8]) -> Result<Option<(Note, Revision)>, Error> {
        let mut store = Memory::new();
        store.put("k", bytes).unwrap();
        get(&store, "k")
    }

    #[test]
    fn a_record_comes_back() {
        let note = Note { text: "ä\n\"".into() };
        let bytes = seal("k", &note).unwrap();
        assert_eq!(stored(&bytes).unwrap(), Some((note, 1)));
        assert_eq!(get::<Note>(&Memory::new(), "k").unwrap(), None);
    }

    #[test]
    fn another_kind_or_version_is_named() {
        let error = stored(br#"{"kind":"note","version":3,"body":{"words":[]}}"#).unwrap_err();
        assert!(
            matches!(error, Error::RecordVersion { found_version: 3, version: 2, .. }),
            "{error}"
        );
        let error = stored(br#"{"kind":"port","version":2,"body":{"text":""}}"#).unwrap_err();
        assert!(error.to_string().contains(r#""port""#), "{error}");
    }

    #[test]
    fn garbage_is_an_error_with_its_key() {
        for bytes in [&b""[..], b"{", b"[]", b"\xff\xff", br#"{"kind":"note","version":2}"#] {
            let error = stored(bytes).unwrap_err();
            assert!(matches!(&error, Error::RecordSyntax { key, .. } if key == "k"), "{error}");
        }
    }

    #[test]
    fn a_list_holds_one_bad_record_against_all() {
        let mut store = Memory::new();
        store.put("n/1", &seal("n/1", &Note { text: "a".into() }).unwrap()).unwrap();
        assert_eq!(list::<Note>(&store, "n/").unwrap().len(), 1);
        store.put("n/2", b"no").unwrap();
        assert!(list::<Note>(&store, "n/").is_err());
    }
}
