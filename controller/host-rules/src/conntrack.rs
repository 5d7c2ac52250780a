//! Connections that the host's stack translates: those of a published service that is withdrawn
//! are ended, because a translation outlives the rule that began it.

use crate::{
    error::Result,
    plan::{Plan, Publish},
    program,
};

/// What `now` does not publish any more as `before` did.
pub fn withdrawn<'a>(before: &'a Plan, now: &'a Plan) -> impl Iterator<Item = &'a Publish> {
    let same =
        |old: &Publish, new: &Publish| Publish { name: old.name.clone(), ..new.clone() } == *old;
    before.publish.iter().filter(move |old| !now.publish.iter().any(|new| same(old, new)))
}

/// Ends its connections.
pub fn end(publish: &Publish) -> Result<()> {
    selections(publish).iter().try_for_each(|selection| {
        let selection: Vec<&str> = selection.iter().map(String::as_str).collect();
        program::forget(&selection)
    })
}

/// Ranges that are ended port by port; of longer ones everything is ended that reached the guest
/// by a translated address. Too much is cut then, never too little.
const EACH_MAX: u16 = 256;

/// What `conntrack --delete` is told: the address where it was published, and the guest's, with
/// their ports.
fn selections(publish: &Publish) -> Vec<Vec<String>> {
    let guest = publish.to.to_string();
    let mut base = ["--proto", publish.protocol.name(), "--reply-src", &guest, "--dst-nat"]
        .map(str::to_owned)
        .to_vec();
    base.extend(publish.at.into_iter().flat_map(|at| ["--orig-dst".to_owned(), at.to_string()]));
    if publish.last - publish.first >= EACH_MAX {
        return vec![base];
    }
    let each = |port: u16| {
        let reply = publish.port.unwrap_or(port).to_string();
        let (port, mut words) = (port.to_string(), base.clone());
        words.extend(["--orig-port-dst", &port, "--reply-port-src", &reply].map(str::to_owned));
        words
    };
    (publish.first..=publish.last).map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Protocol;

    fn published(name: &str, first: u16, last: u16, port: Option<u16>) -> Publish {
        let (at, to) = ("192.0.2.1".parse().ok(), [10, 20, 0, 5].into());
        let (name, protocol) = (name.to_owned(), Protocol::Tcp);
        Publish { name, at, protocol, first, last, to, port }
    }

    fn plan(publish: &[Publish]) -> Plan {
        Plan { networks: Vec::new(), publish: publish.to_vec() }
    }

    #[test]
    fn a_new_name_withdraws_nothing() {
        let before = plan(&[published("a", 443, 443, Some(8443)), published("b", 22, 22, None)]);
        let now = plan(&[published("c", 443, 443, Some(8443)), published("b", 22, 22, Some(23))]);
        let names: Vec<&str> = withdrawn(&before, &now).map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["b"]);
    }

    #[test]
    fn ports_are_told_one_by_one() {
        let told = selections(&published("a", 443, 443, Some(8443)));
        let words = "--proto tcp --reply-src 10.20.0.5 --dst-nat --orig-dst 192.0.2.1 \
                     --orig-port-dst 443 --reply-port-src 8443";
        assert_eq!(told.iter().map(|w| w.join(" ")).collect::<Vec<_>>(), [words]);
        assert_eq!(selections(&published("a", 5000, 5009, None)).len(), 10);
        assert_eq!(selections(&published("a", 1, 60_000, None)).len(), 1);
    }
}
