//! An uplink with a million denied prefixes: what a frame costs that they drop and one that they
//! do not, by the gate, by the filter, and by an nftables set of the same prefixes.

mod alone;
mod flood;
mod prefixes;
mod straight;

use anyhow::Context;

use crate::{
    command,
    frame::End,
    interrupt::Interrupt,
    machine::Others,
    peers::Policy,
    rows::{Options, Report, Row},
    scratch,
    stats::Spread,
    workload::{self, SERVER},
    world::{Ends, Topology},
};

/// Measures and prints; false where an aim was missed.
pub fn bench(options: &Options) -> anyhow::Result<bool> {
    scratch::enter()?;
    command::require_all()?;
    let interrupt = Interrupt::listen()?;
    let mut others = Others::watch()?;
    let policy = policy("limits: none")?;
    let mut rows = alone::rows(&policy, options.rounds, &interrupt)?;
    rows.extend(flood::rows(&policy, options.rounds, &interrupt)?);
    let limited = self::policy("uplink-limits: { new: 100/s }")?;
    rows.extend(flood::limited(&limited, options.rounds, &interrupt)?);
    rows.extend(straight::rows(&policy, options.rounds, &interrupt)?);
    others.mark()?;
    Report::new(rows, others.cores())?.show(options.json.as_deref())
}

fn row(what: impl Into<String>, unit: &'static str, readings: Vec<f64>) -> anyhow::Result<Row> {
    let spread = Spread::of(readings).context("no readings")?;
    Ok(Row { what: what.into(), unit, spread, aim: None })
}

/// Somebody outside, and the guest that everybody outside may speak to.
fn ends() -> Ends {
    let Ends { client, server } = Ends::switched();
    let outside = [9, 9, 9, 9].into();
    let client = End { ip: outside, ip6: [0x2001, 0xdb9, 0, 0, 0, 0, 0, 9].into(), ..client };
    Ends { client, server }
}

/// One guest in a network of the outside with these limits, and the denied prefixes.
fn policy(limits: &str) -> anyhow::Result<Policy> {
    let text = format!(
        "networks:\n  front: {{ vlan: 77, subnets: [10.77.0.0/24, \"fd00:77::/64\"], \
         kind: external, {limits} }}\nguests:\n{}rules:\n{}",
        workload::guest(SERVER, "front", ends().server),
        workload::allow("measured", "", "world", SERVER),
    );
    let mut policy = Policy::of(text, 1, Topology::Switched)?;
    let mut image = (*policy.image).clone();
    image.denied = prefixes::denied().into();
    policy.image = image.into();
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use portcullis_pipeline::addr::Addr;

    use super::*;

    #[test]
    fn only_the_denied_are_denied() {
        let denied = policy("limits: none").unwrap().image.denied.clone();
        assert_eq!(denied.ranges(), prefixes::PREFIXES as usize);
        for end in [ends().client, ends().server] {
            assert!(!denied.contains(Addr::from(std::net::IpAddr::from(end.ip))));
            assert!(!denied.contains(Addr::from(std::net::IpAddr::from(end.ip6))));
        }
        for n in 0..1_000 {
            let address = prefixes::address(n * 7_919);
            assert!(denied.contains(Addr::from(std::net::IpAddr::from(address))), "{address}");
            let other = prefixes::other_address(n * 7_919);
            assert!(!denied.contains(Addr::from(std::net::IpAddr::from(other))), "{other}");
        }
    }
}
