//! Which running connections a policy would cut: each is judged as the kernel would judge it
//! again, from its initiator's side.

use std::net::IpAddr;

use portcullis_image::Image;
use portcullis_policy::{
    lookup::{cell_of, class_of},
    model::{Protocol, Purpose},
};
use portcullis_switch::{Flow, guest_of};

use crate::api::{Cut, RulePlace};

/// Connections that are listed; the rest is counted.
const LISTED: usize = 1000;

/// Judges connections by an image.
#[derive(Clone, Copy)]
pub struct Judge<'a> {
    image: &'a Image,
    /// Addresses that the host owns, whatever the policy says.
    host: &'a [IpAddr],
}

impl<'a> Judge<'a> {
    /// A judge for a host with these addresses.
    pub fn new(image: &'a Image, host: &'a [IpAddr]) -> Self {
        Self { image, host }
    }

    /// Is it allowed, and by which rule's id is that decided?
    fn verdict(&self, flow: &Flow) -> (bool, u32) {
        let scope = flow.network.as_deref().and_then(|name| self.image.network_id(name));
        let class = |ip: IpAddr| self.class(ip, scope.unwrap_or(0));
        let cell = cell_of(self.image, class(flow.src), class(flow.dst), purpose(flow));
        (cell.allows(), cell.rule())
    }

    fn class(&self, ip: IpAddr, scope: u32) -> u32 {
        let known = &self.image.addresses;
        let declared = known.binary_search_by_key(&(ip.into(), 0), |a| (a.addr, a.scope));
        match declared {
            Err(_) if self.host.contains(&ip) => self.image.host,
            _ => class_of(self.image, scope, ip.into()),
        }
    }

    fn rule(&self, id: u32) -> Option<RulePlace> {
        let rule = self.image.rule(id)?;
        Some(RulePlace { rule: rule.name.clone(), file: rule.file.clone(), line: rule.line })
    }
}

/// What a connection is for. Of ICMP only echoes are connections.
fn purpose(flow: &Flow) -> Purpose {
    let protocol = match flow.protocol {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        132 => Protocol::Sctp,
        1 => return Purpose { protocol: Protocol::Icmp, number: 8 << 8, source: 0 },
        58 => return Purpose { protocol: Protocol::Icmpv6, number: 128 << 8, source: 0 },
        other => return Purpose { protocol: Protocol::Proto, number: other.into(), source: 0 },
    };
    Purpose { protocol, number: flow.dport, source: flow.sport }
}

/// The connections that go, as they are found.
#[derive(Debug, Default)]
pub struct Cuts {
    /// The first of them.
    pub listed: Vec<Cut>,
    /// All of them.
    pub total: u64,
}

impl Cuts {
    /// Looks at one: is it allowed now, and not by the next policy?
    pub fn look(&mut self, flow: &Flow, now: Judge<'_>, next: Judge<'_>) {
        let ((true, allowed_by), (false, denied_by)) = (now.verdict(flow), next.verdict(flow))
        else {
            return;
        };
        self.total += 1;
        if self.listed.len() == LISTED {
            return;
        }
        self.listed.push(Cut {
            src: flow.src,
            dst: flow.dst,
            protocol: flow.protocol,
            sport: flow.sport,
            dport: flow.dport,
            from_guest: guest_of(now.image, flow.src),
            to_guest: guest_of(now.image, flow.dst),
            state: flow.state.to_owned(),
            idle_ms: flow.idle_ms,
            allowed_by: now.rule(allowed_by),
            denied_by: next.rule(denied_by),
        });
    }
}

#[cfg(test)]
mod tests {
    use portcullis_policy::{Sources, compile};

    use super::*;

    fn image(rules: &str) -> Image {
        let text = format!(
            "networks: {{ lan: {{ vlan: 1, subnets: [10.0.0.0/24], gateway: true }} }}\nguests: {{ \
             a: {{ network: lan, ip: 10.0.0.5 }}, b: {{ network: lan, ip: 10.0.0.6 }} }}\nrules:\n\
             {rules}"
        );
        compile(&Sources::new([("p.yaml", text)])).unwrap_or_else(|e| panic!("{e}")).image
    }

    fn flow(src: &str, dst: &str, protocol: u8, sport: u16, dport: u16) -> Flow {
        Flow {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            protocol,
            sport,
            dport,
            network: None,
            state: "open",
            idle_ms: 3,
            rule: None,
        }
    }

    #[test]
    fn what_stays_allowed_stays_and_what_goes_is_explained() {
        let host = ["192.0.2.7".parse().unwrap()];
        let old = image(
            "  - { name: web, allow: { from: a, to: b, for: [tcp/80, tcp/2049 from 600-1023, ping] } \
             }\n  - { name: own, allow: { from: host, to: a, for: ssh } }\n",
        );
        let new = image(
            "  - { name: web, allow: { from: a, to: b, for: [tcp/80, tcp/2049, ping] } }\n  - { \
             name: no-low, deny: { from: a, to: b, for: tcp/2049 from 600-700 } }\n",
        );
        let (now, next) = (Judge::new(&old, &host), Judge::new(&new, &host));
        let mut cuts = Cuts::default();
        for kept in [
            flow("10.0.0.5", "10.0.0.6", 6, 40_000, 80),
            flow("10.0.0.5", "10.0.0.6", 6, 800, 2049),
            flow("10.0.0.5", "10.0.0.6", 1, 0, 0),
            // Not allowed as it is: nothing is cut.
            flow("10.0.0.6", "10.0.0.5", 6, 40_000, 80),
        ] {
            cuts.look(&kept, now, next);
            assert_eq!(cuts.total, 0, "{kept:?}");
        }
        cuts.look(&flow("10.0.0.5", "10.0.0.6", 6, 650, 2049), now, next);
        cuts.look(&flow("192.0.2.7", "10.0.0.5", 6, 40_000, 22), now, next);
        let names = |rule: &Option<RulePlace>| rule.as_ref().map(|r| r.rule.clone());
        let said: Vec<_> =
            cuts.listed.iter().map(|c| (names(&c.allowed_by), names(&c.denied_by))).collect();
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(said, [(some("web"), some("no-low")), (some("own"), None)]);
        assert_eq!(cuts.listed[0].to_guest.as_deref(), Some("b"));
        assert_eq!((cuts.listed[1].from_guest.as_deref(), cuts.total), (None, 2));
    }
}
