//! How messages stand on the socket: four bytes of length, big-endian, then JSON
//! `{"protocol":1,"message":...}`. The sender ends nothing: a connection carries one request
//! and its answer after the other.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::api::PROTOCOL;

/// Bytes of the length in front of a message.
pub const HEADER: usize = 4;
/// Largest message, bytes. Half of the store's largest value, so what arrives can be stored.
pub const MESSAGE_MAX: usize = portcullis_store::VALUE_MAX / 2;

/// Why a message is none.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Longer than any message may be.
    #[error("a message of {got} bytes, at most {max} are possible")]
    TooLong {
        /// Its length, bytes.
        got: usize,
        /// The longest.
        max: usize,
    },
    /// Not JSON, or not the JSON of a message.
    #[error("not a message: {source}")]
    Syntax {
        /// What the parser said.
        #[from]
        source: serde_json::Error,
    },
    /// The other side is of another version.
    #[error("the other side speaks protocol {found}, this one {PROTOCOL}")]
    Protocol {
        /// What it speaks.
        found: u32,
    },
}

#[derive(Serialize)]
struct Outgoing<'a, T> {
    protocol: u32,
    message: &'a T,
}

#[derive(Deserialize)]
struct Outside {
    protocol: u32,
}

#[derive(Deserialize)]
struct Incoming<T> {
    message: T,
}

/// The bytes of a message, its length in front.
///
/// # Errors
/// [`WireError::TooLong`]
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![0; HEADER];
    serde_json::to_writer(&mut bytes, &Outgoing { protocol: PROTOCOL, message })?;
    let length = bytes.len() - HEADER;
    if length > MESSAGE_MAX {
        return Err(WireError::TooLong { got: length, max: MESSAGE_MAX });
    }
    bytes[..HEADER].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

/// The length that a header announces, bytes.
///
/// # Errors
/// [`WireError::TooLong`]
pub fn length(header: [u8; HEADER]) -> Result<usize, WireError> {
    let length = u32::from_be_bytes(header) as usize;
    if length > MESSAGE_MAX {
        return Err(WireError::TooLong { got: length, max: MESSAGE_MAX });
    }
    Ok(length)
}

/// The message in these bytes (without the length).
///
/// # Errors
/// [`WireError::Syntax`] or [`WireError::Protocol`]; the version is looked at first, so that
/// another version's message is not called malformed.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let outside: Outside = serde_json::from_slice(bytes)?;
    if outside.protocol != PROTOCOL {
        return Err(WireError::Protocol { found: outside.protocol });
    }
    let incoming: Incoming<T> = serde_json::from_slice(bytes)?;
    Ok(incoming.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Request, SourceFile};

    #[test]
    fn a_message_comes_back() {
        let source = SourceFile { name: "a.yaml".into(), text: "ä: \"1\"\n".into() };
        let apply = Request::Apply { sources: vec![source], color: true, confirm_s: Some(60) };
        for request in [Request::Info, apply] {
            let bytes = encode(&request).unwrap();
            let header = bytes[..HEADER].try_into().unwrap();
            assert_eq!(length(header).unwrap(), bytes.len() - HEADER);
            assert_eq!(decode::<Request>(&bytes[HEADER..]).unwrap(), request);
        }
    }

    #[test]
    fn another_version_is_told_from_garbage() {
        let other = br#"{"protocol":99,"message":{"do":"something-new"}}"#;
        assert!(matches!(decode::<Request>(other), Err(WireError::Protocol { found: 99 })));
        let unknown = format!(r#"{{"protocol":{PROTOCOL},"message":{{"do":"fly"}}}}"#);
        for bytes in [&b""[..], b"null", b"{}", unknown.as_bytes(), b"\xff"] {
            assert!(matches!(decode::<Request>(bytes), Err(WireError::Syntax { .. })));
        }
    }

    #[test]
    fn a_giant_is_refused_by_its_length() {
        assert!(matches!(length([0xff; 4]), Err(WireError::TooLong { .. })));
        assert_eq!(length((MESSAGE_MAX as u32).to_be_bytes()).unwrap(), MESSAGE_MAX);
    }

    /// Every prefix and every flipped byte of a message: an error or a message, never a panic.
    #[test]
    fn damage_never_panics() {
        let bytes = encode(&Request::Detach { name: "vm1".into() }).unwrap();
        for end in HEADER..bytes.len() {
            assert!(decode::<Request>(&bytes[HEADER..end]).is_err());
        }
        for at in HEADER..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes[HEADER..].to_vec();
                damaged[at - HEADER] ^= 1 << bit;
                let _ = decode::<Request>(&damaged).map(drop);
            }
        }
    }
}
