//! Names of containers' ports: made of the network's name and the attachment, so that nothing has to
//! be remembered to find a port again.

use super::call::Attachment;
use crate::paths::fnv1a;

/// What they begin with.
const PREFIX: char = 'k';
/// Digits for the network, and for the attachment: 15 bytes with the prefix.
const NETWORK_DIGITS: usize = 6;
const ATTACHMENT_DIGITS: usize = 8;
const BASE: u64 = 36;

/// The port of an attachment to a network.
pub fn name(network: &str, attachment: &Attachment) -> String {
    // No part can hold a slash.
    let attachment = format!("{}/{}", attachment.container, attachment.interface);
    head(network) + &digits(&attachment, ATTACHMENT_DIGITS)
}

/// Is it a port of this network?
pub fn is_of(port: &str, network: &str) -> bool {
    port.len() == 1 + NETWORK_DIGITS + ATTACHMENT_DIGITS && port.starts_with(&head(network))
}

fn head(network: &str) -> String {
    format!("{PREFIX}{}", digits(network, NETWORK_DIGITS))
}

/// That many digits of a hash, in base 36.
fn digits(text: &str, count: usize) -> String {
    let mut hash = fnv1a(text.as_bytes());
    let digit = |_| {
        let digit = char::from_digit((hash % BASE) as u32, BASE as u32);
        hash /= BASE;
        digit.unwrap_or('0')
    };
    (0..count).map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::is_interface;

    #[test]
    fn every_attachment_has_a_name_of_its_own() {
        let one = |container: &str, interface: &str| Attachment {
            container: container.into(),
            interface: interface.into(),
        };
        let a = name("pods", &one("abc", "eth0"));
        assert!(is_interface(&a) && is_of(&a, "pods") && !is_of(&a, "other"), "{a}");
        assert_eq!(a, name("pods", &one("abc", "eth0")));
        for other in [
            name("pods", &one("abc", "eth1")),
            name("pods", &one("abd", "eth0")),
            name("other", &one("abc", "eth0")),
        ] {
            assert_ne!(a, other);
        }
    }
}
