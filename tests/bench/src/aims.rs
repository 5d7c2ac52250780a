//! What the project promises about its speed, and whether this run kept it.

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::{
    measure::Metric,
    peers::{Portcullis, Router},
    results::PeerResult,
    stats::Spread,
    testrun::{Case, CaseResult},
};

/// Which side of its limit a number must stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// At least the limit.
    AtLeast,
    /// At most the limit.
    AtMost,
}

/// One promise and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Aim {
    /// What is promised.
    pub text: String,
    /// Which side of `limit` is right.
    pub side: Side,
    /// The limit.
    pub limit: f64,
    /// What was measured; `None` where a reading is missing.
    pub measured: Option<f64>,
    /// The readings on both sides of the median, where they are of one kind.
    pub range: Option<(f64, f64)>,
    /// The row it was measured at.
    pub at: String,
}

impl Serialize for Aim {
    /// The fields, and what follows from them.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Aim", 8)?;
        fields.serialize_field("text", &self.text)?;
        fields.serialize_field("side", &self.side)?;
        fields.serialize_field("limit", &self.limit)?;
        fields.serialize_field("measured", &self.measured)?;
        fields.serialize_field("range", &self.range)?;
        fields.serialize_field("at", &self.at)?;
        fields.serialize_field("met", &self.is_met())?;
        fields.serialize_field("missed_by_percent", &self.missed_by_percent())?;
        fields.end()
    }
}

impl Aim {
    fn new(text: impl Into<String>, side: Side, limit: f64, worst: Option<Worst>) -> Self {
        let (measured, range, at) = match worst {
            Some(w) => (Some(w.value), w.range, w.at),
            None => (None, None, String::new()),
        };
        Self { text: text.into(), side, limit, measured, range, at }
    }

    /// Was it met? `None` when it was not measured.
    pub fn is_met(&self) -> Option<bool> {
        self.measured.map(|m| match self.side {
            Side::AtLeast => m >= self.limit,
            Side::AtMost => m <= self.limit,
        })
    }

    /// By how many percent of the limit it was missed; 0 when it was met.
    pub fn missed_by_percent(&self) -> Option<f64> {
        let distance = self.measured.map(|m| match self.side {
            Side::AtLeast => self.limit - m,
            Side::AtMost => m - self.limit,
        });
        distance.map(|d| d.max(0.0) / self.limit * 100.0)
    }

    /// Does the limit lie inside the range of the readings, so that this run decides nothing?
    pub fn is_close(&self) -> bool {
        self.range.is_some_and(|(min, max)| min < self.limit && self.limit < max)
    }
}

/// A number with the row that it comes from.
#[derive(Clone, Debug)]
struct Worst {
    value: f64,
    range: Option<(f64, f64)>,
    at: String,
}

impl Worst {
    fn of(spread: Spread, at: String) -> Self {
        Self { value: spread.median, range: Some((spread.min, spread.max)), at }
    }
}

/// The number that is furthest on the wrong side.
fn worst(side: Side, numbers: impl Iterator<Item = Worst>) -> Option<Worst> {
    numbers.min_by(|a, b| match side {
        Side::AtLeast => a.value.total_cmp(&b.value),
        Side::AtMost => b.value.total_cmp(&a.value),
    })
}

/// Every promise, in the order of the list that it was made in.
pub fn check(forwarding: &[PeerResult], testrun: &[CaseResult]) -> Vec<Aim> {
    let mut aims = small_frames(forwarding);
    aims.extend(same_at_any_size(testrun));
    aims.extend(program_cost(testrun));
    aims.push(inserts(testrun));
    aims.extend(new_connections(forwarding));
    aims.extend(bulk(forwarding));
    aims
}

fn row(result: &PeerResult) -> String {
    format!("{}, {} rules", result.name, result.rules)
}

/// The worst row of a peer for a ratio.
fn worst_ratio(
    results: &[PeerResult],
    name: &str,
    ratio: impl Fn(&PeerResult) -> Option<Spread>,
) -> Option<Worst> {
    let rows = results.iter().filter(|r| r.name == name);
    worst(Side::AtLeast, rows.filter_map(|r| Some(Worst::of(ratio(r)?, row(r)))))
}

fn small_frames(results: &[PeerResult]) -> Vec<Aim> {
    let mut aims = Vec::new();
    for (metric, what) in [(Metric::OneFlow, "1 flow"), (Metric::ManyFlows, "10,000 flows")] {
        let redirect = worst_ratio(results, Portcullis::SWITCHED, |r| r.against_redirect(metric));
        let bridge = worst_ratio(results, Portcullis::SWITCHED, |r| r.against_bridge(metric));
        let text = format!("64-byte frames, {what}: against the bare redirect");
        aims.push(Aim::new(text, Side::AtLeast, 0.9, redirect));
        let text = format!("64-byte frames, {what}: against the bare bridge");
        aims.push(Aim::new(text, Side::AtLeast, 1.0, bridge));
        let lane = worst_ratio(results, Portcullis::LANE, |r| r.against_redirect(metric));
        let text = format!("64-byte frames, {what}, fast lane: against the bare XDP redirect");
        aims.push(Aim::new(text, Side::AtLeast, 0.9, lane));
    }
    aims
}

/// Rules of the policy whose cost is set against the smallest one's.
const MANY_RULES: u32 = 100_000;

fn same_at_any_size(results: &[CaseResult]) -> Vec<Aim> {
    let growth = |case, text, limit| {
        let many = results.iter().filter(|r| (r.case, r.rules) == (case, MANY_RULES));
        let ratios =
            many.filter_map(|r| Some(Worst::of(r.growth()?, format!("{} flows", r.flows))));
        Aim::new(text, Side::AtMost, limit, worst(Side::AtMost, ratios))
    };
    vec![
        growth(Case::Established, "established: cost at 100,000 rules against 10", 1.03),
        growth(Case::First, "first packet: cost at 100,000 rules against 10", 2.5),
    ]
}

fn program_cost(results: &[CaseResult]) -> Vec<Aim> {
    [
        (Case::Established, "established TCP/IPv4 above an empty program, 1 flow, ns", 105.0),
        (Case::EstablishedV6, "established TCP/IPv6 above an empty program, 1 flow, ns", 105.0),
        (Case::Spoofed, "spoofed above an empty program, ns", 30.0),
    ]
    .into_iter()
    .map(|(case, text, limit)| {
        let costs = results.iter().filter(|r| r.case == case && r.flows == 1);
        let costs =
            costs.filter_map(|r| Some(Worst::of(r.spread()?, format!("{} rules", r.rules))));
        Aim::new(text, Side::AtMost, limit, worst(Side::AtMost, costs))
    })
    .collect()
}

/// A first packet is one look-up of everything and one entry made.
fn inserts(results: &[CaseResult]) -> Aim {
    const NS: f64 = 1e9;
    let firsts = results.iter().filter(|r| r.case == Case::First);
    let rates = firsts.filter_map(|r| {
        let Spread { median, min, max, .. } = r.spread()?;
        let at = format!("{} rules, {} flows", r.rules, r.flows);
        Some(Worst { value: NS / median, range: Some((NS / max, NS / min)), at })
    });
    let text = "new connections per second and core, program alone";
    Aim::new(text, Side::AtLeast, 1e6, worst(Side::AtLeast, rates))
}

/// Both are set against the bridge reading just before them, so that a slow minute hurts neither.
/// A router does more than a switch: our own routing is set against it as well.
fn new_connections(results: &[PeerResult]) -> Vec<Aim> {
    let metric = Metric::NewConnections;
    let routers = results.iter().filter(|r| r.name == Router::NAME);
    let router =
        routers.filter_map(|r| r.against_bridge(metric)).map(|s| s.median).max_by(f64::total_cmp);
    let against_router = |name| {
        let (router, ratio) = (router?, worst_ratio(results, name, |r| r.against_bridge(metric))?);
        let range = ratio.range.map(|(min, max)| (min / router, max / router));
        Some(Worst { value: ratio.value / router, range, at: ratio.at })
    };
    [(Portcullis::SWITCHED, "new connections"), (Portcullis::ROUTED, "new connections, routed")]
        .into_iter()
        .map(|(name, what)| {
            let text = format!("{what}: against routed nftables with sets");
            Aim::new(text, Side::AtLeast, 2.0, against_router(name))
        })
        .collect()
}

fn bulk(results: &[PeerResult]) -> Vec<Aim> {
    [(Metric::Tcp, "bulk TCP, iperf3 over veth"), (Metric::Super, "64 KB super-packets, taps")]
        .into_iter()
        .map(|(metric, text)| {
            let worst = worst_ratio(results, Portcullis::SWITCHED, |r| r.against_bridge(metric));
            Aim::new(format!("{text}: against the bare bridge"), Side::AtLeast, 1.0, worst)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing::result;

    fn case(case: Case, rules: u32, flows: u32, ns: &[f64]) -> CaseResult {
        let against_few = ns.iter().map(|n| n / 100.0).collect();
        CaseResult { case, rules, flows, ns: ns.to_vec(), against_few }
    }

    #[test]
    fn the_worst_of_our_rows_counts_and_nobody_elses() {
        let results = [
            result("portcullis", 10, Metric::OneFlow, &[1.3]),
            result("portcullis", 1000, Metric::OneFlow, &[1.05, 1.1, 0.9]),
            result("bridge-nft-linear", 1000, Metric::OneFlow, &[0.1]),
        ];
        let aim = &small_frames(&results)[1];
        assert_eq!(aim.measured, Some(1.05));
        assert_eq!(aim.at, "portcullis, 1000 rules");
        assert_eq!(aim.is_met(), Some(true));
        assert!(aim.is_close(), "readings stand on both sides of 1.0");
        // The same readings against a redirect of 120.
        let aim = &small_frames(&results)[0];
        assert!((aim.measured.unwrap() - 0.875).abs() < 1e-9);
        assert_eq!(aim.is_met(), Some(false));
        assert!((aim.missed_by_percent().unwrap() - 2.78).abs() < 0.01);
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        for aim in check(&[], &[]) {
            assert_eq!((aim.is_met(), aim.missed_by_percent()), (None, None), "{}", aim.text);
        }
    }

    #[test]
    fn growth_is_the_worst_over_the_numbers_of_flows() {
        let results = [
            case(Case::Established, 10, 1, &[900.0]),
            case(Case::Established, 100_000, 1, &[101.0]),
            case(Case::Established, 100_000, 500_000, &[102.0, 105.0, 109.0]),
            case(Case::First, 100_000, 1, &[125.0]),
        ];
        let [established, first] = &same_at_any_size(&results)[..] else { panic!("two aims") };
        assert_eq!(established.measured, Some(1.05));
        assert_eq!(established.at, "500000 flows");
        assert_eq!(established.is_met(), Some(false));
        assert_eq!((first.measured, first.is_met()), (Some(1.25), Some(true)));
    }

    #[test]
    fn new_connections_are_held_against_the_best_router() {
        let metric = Metric::NewConnections;
        let results = [
            result("portcullis", 10, metric, &[1.2]),
            result("portcullis", 100_000, metric, &[0.9]),
            result("portcullis-routed", 1000, metric, &[0.7]),
            result("route-nft-ct-set", 100, metric, &[0.5]),
            result("route-nft-ct-set", 1000, metric, &[0.4]),
        ];
        let aims = new_connections(&results);
        assert_eq!(aims[0].measured, Some(1.8));
        assert_eq!(aims[0].at, "portcullis, 100000 rules");
        assert_eq!(aims[1].measured, Some(1.4));
    }

    #[test]
    fn a_first_packet_of_800_ns_is_more_than_a_million_a_second() {
        let results = [
            case(Case::First, 10, 1, &[400.0]),
            case(Case::First, 100_000, 1_000_000, &[790.0, 800.0, 1_100.0]),
        ];
        let aim = inserts(&results);
        assert_eq!((aim.measured, aim.is_met()), (Some(1_250_000.0), Some(true)));
        assert!(aim.is_close());
    }

    #[test]
    fn a_cost_above_its_limit_is_missed() {
        let results = [case(Case::Spoofed, 10, 1, &[33.0, 36.0, 39.0])];
        let aim = &program_cost(&results)[2];
        assert_eq!(aim.is_met(), Some(false));
        assert_eq!(aim.missed_by_percent(), Some(20.0));
        assert!(!aim.is_close());
    }
}
