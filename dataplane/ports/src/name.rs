//! Names of interfaces: what the kernel takes, and short names derived from long ones.

use std::fmt;

use crate::error::{Error, Result};

/// Longest name of an interface, bytes (IFNAMSIZ without the final zero).
pub const LONGEST: usize = 15;

/// Hexadecimal digits of the hash that makes a shortened name unique.
const HASH_DIGITS: usize = 5;

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// No byte at all.
    Empty,
    /// More bytes than fit.
    TooLong {
        /// Its length.
        length: usize,
    },
    /// `.` or `..`, which name directories.
    Dots,
    /// A byte that the kernel refuses, or that would change the meaning of a path or a command.
    BadByte {
        /// The byte.
        byte: u8,
        /// Its offset.
        at: usize,
    },
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong { length } => {
                write!(f, "it has {length} bytes, and {LONGEST} is the most")
            }
            Self::Dots => f.write_str("it names a directory"),
            Self::BadByte { byte, at } => {
                write!(f, "the byte {:?} at offset {at} is not allowed", char::from(*byte))
            }
        }
    }
}

/// Is this a name that the kernel takes (`dev_valid_name`), without bytes that only make trouble?
pub fn check(name: &str) -> Result<()> {
    match fault(name) {
        None => Ok(()),
        Some(fault) => Err(Error::BadName { name: name.into(), fault }),
    }
}

fn fault(name: &str) -> Option<NameFault> {
    if name.is_empty() {
        return Some(NameFault::Empty);
    }
    if name.len() > LONGEST {
        return Some(NameFault::TooLong { length: name.len() });
    }
    if name == "." || name == ".." {
        return Some(NameFault::Dots);
    }
    let bad = |b: u8| !b.is_ascii_graphic() || matches!(b, b'/' | b':' | b'%');
    let at = name.bytes().position(bad)?;
    Some(NameFault::BadByte { byte: name.as_bytes()[at], at })
}

/// `prefix` + `name` where that fits and is a good name, else as much of it as fits and a hash of
/// the whole: always a good name, always the same for the same input.
pub fn short(prefix: &str, name: &str) -> String {
    let whole = format!("{prefix}{name}");
    if fault(&whole).is_none() {
        return whole;
    }
    let room = LONGEST - HASH_DIGITS - 1;
    let kept: String =
        whole.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(room).collect();
    format!("{kept}-{:0width$x}", fnv1a(name) & 0xf_ffff, width = HASH_DIGITS)
}

/// FNV-1a, 32 bits folded: small, and fixed for ever, unlike the standard library's hasher.
pub(crate) fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernels_limits() {
        assert!(check("eth0.100").is_ok());
        assert!(check("123456789012345").is_ok());
        assert_eq!(fault("1234567890123456"), Some(NameFault::TooLong { length: 16 }));
        assert_eq!(fault(""), Some(NameFault::Empty));
        assert_eq!(fault(".."), Some(NameFault::Dots));
        assert_eq!(fault("a/b"), Some(NameFault::BadByte { byte: b'/', at: 1 }));
        assert_eq!(fault("a b"), Some(NameFault::BadByte { byte: b' ', at: 1 }));
    }

    #[test]
    fn short_names_stay_as_they_are() {
        assert_eq!(short("pc-", "lan"), "pc-lan");
        assert_eq!(short("pcs-", "12345678901"), "pcs-12345678901");
    }

    #[test]
    fn long_names_differ_in_their_hash() {
        let (a, b) = (short("pc-", "a-very-long-network-1"), short("pc-", "a-very-long-network-2"));
        assert_ne!(a, b);
        assert!(a.starts_with("pc-a-very"), "{a}");
    }

    proptest! {
        #[test]
        fn every_derived_name_is_good(name in ".{0,40}") {
            prop_assert!(fault(&short("pcs-", &name)).is_none());
            prop_assert_eq!(short("pcs-", &name), short("pcs-", &name));
        }
    }
}
