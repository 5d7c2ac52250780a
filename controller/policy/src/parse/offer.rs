//! What the switch tells the guests of a network: `dhcp`, `dns`, `domain` and `lease`.

use portcullis_image::{DNS_MAX, DOMAIN_MAX};

use super::{
    Builder,
    reader::{self, Table},
};
use crate::{
    diagnostic::Diagnostic,
    model::Network,
    problem::Problem,
    until::{self, End},
    yaml::Node,
};

/// Two minutes: who asks more often than that is a burden to its own port.
const LEASE_MIN_S: u64 = 120;
/// Thirty days: a change reaches every guest within half of it.
const LEASE_MAX_S: u64 = 30 * 86_400;
/// Longest label of a domain (RFC 1035, section 2.3.4).
const LABEL_MAX: usize = 63;

impl Builder<'_> {
    /// Reads the keys of a network that its guests are told.
    pub fn offer(&mut self, table: &Table<'_>, network: &mut Network) {
        if let Some(node) = table.get("dhcp") {
            network.offer.dhcp = reader::truth(node, "`dhcp`", self.diags).unwrap_or(true);
        }
        if let Some(node) = table.get("dns") {
            self.dns(node, network);
        }
        if let Some(node) = table.get("domain") {
            self.domain(node, network);
        }
        if let Some(node) = table.get("lease") {
            self.lease(node, network);
        }
    }

    fn dns(&mut self, node: &Node, network: &mut Network) {
        for item in reader::list(node, "`dns`", self.diags) {
            let Some(text) = reader::text(item, "a name server", self.diags) else { continue };
            let Some(addr) = reader::address(text, item.span, self.diags) else { continue };
            let dns = &mut network.offer.dns;
            if dns.contains(&addr) {
                self.diags.report(Problem::DuplicateKey { key: text.to_owned() }, item.span);
            } else if dns.iter().filter(|a| a.is_ipv4() == addr.is_ipv4()).count() == DNS_MAX {
                self.diags.report(Problem::TooManyNameServers { limit: DNS_MAX }, item.span);
            } else {
                dns.push(addr);
            }
        }
    }

    fn domain(&mut self, node: &Node, network: &mut Network) {
        let Some(text) = reader::text(node, "`domain`", self.diags) else { return };
        match bad_domain(text) {
            None => network.offer.domain = Some(text.to_owned()),
            Some(why) => {
                let problem = Problem::BadDomain { got: text.to_owned(), why };
                self.diags.report(problem, node.span);
            }
        }
    }

    fn lease(&mut self, node: &Node, network: &mut Network) {
        let Some(text) = reader::text(node, "`lease`", self.diags) else { return };
        match until::read(text) {
            Ok(End::After(seconds)) if (LEASE_MIN_S..=LEASE_MAX_S).contains(&seconds) => {
                network.offer.lease_s = seconds as u32;
            }
            _ => {
                let problem = Problem::BadLease { got: text.to_owned() };
                let help = "write a number and one letter, as in `lease: 12h`";
                self.diags.push(Diagnostic::new(problem, node.span).help(help));
            }
        }
    }
}

/// Why a text is no domain (RFC 1123, section 2.1), if so.
fn bad_domain(text: &str) -> Option<&'static str> {
    let fits = |label: &str| {
        let ends = label.starts_with('-') || label.ends_with('-');
        let known = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (1..=LABEL_MAX).contains(&label.len()) && known && !ends
    };
    if text.len() > DOMAIN_MAX {
        Some("it is longer than 120 characters")
    } else if text.ends_with('.') {
        Some("it is written without the dot at the end")
    } else if !text.split('.').all(fits) {
        Some("it is made of letters, digits and hyphens, with dots between them")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        for good in ["lan", "lan.example", "a-b.c1", &"a".repeat(63)] {
            assert_eq!(bad_domain(good), None, "{good}");
        }
        for bad in ["", "lan.", ".lan", "a..b", "-a", "a-", "a b", "ä", &"a".repeat(64)] {
            assert!(bad_domain(bad).is_some(), "{bad}");
        }
        assert!(bad_domain(&["a"; 61].join(".")).is_some());
    }
}
