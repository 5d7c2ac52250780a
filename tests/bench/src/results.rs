//! What a run found out about forwarding.

use serde::Serialize;

use crate::{
    measure::{Metric, Value},
    stats::Spread,
};

/// One reading, with the readings taken just before it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// What was measured.
    pub metric: Metric,
    /// In which round, from 0.
    pub round: u32,
    /// What it was.
    pub value: Value,
    /// The bare bridge, just before.
    pub bridge: f64,
    /// The bare redirect, just before; for ours only.
    pub redirect: Option<f64>,
}

/// A reading that could not be taken.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// What was to be measured.
    pub metric: Metric,
    /// Why it was not.
    pub reason: String,
}

/// Everything about one peer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PeerResult {
    /// Its name.
    pub name: String,
    /// How many rules it carried.
    pub rules: u32,
    /// Is it the project itself?
    pub ours: bool,
    /// Its readings.
    pub samples: Vec<Sample>,
    /// Readings that could not be taken.
    pub failures: Vec<Failure>,
    /// How long it took to set up in each round, rules included, ms.
    pub setup_ms: Vec<f64>,
}

impl PeerResult {
    fn of(&self, metric: Metric) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |s| s.metric == metric)
    }

    /// The readings.
    pub fn values(&self, metric: Metric) -> Option<Spread> {
        Spread::of(self.of(metric).map(|s| s.value.value))
    }

    /// Each reading divided by the bridge's.
    pub fn against_bridge(&self, metric: Metric) -> Option<Spread> {
        Spread::of(self.of(metric).map(|s| s.value.value / s.bridge))
    }

    /// Each reading divided by the redirect's.
    pub fn against_redirect(&self, metric: Metric) -> Option<Spread> {
        Spread::of(self.of(metric).filter_map(|s| Some(s.value.value / s.redirect?)))
    }

    /// CPU time per packet, ns.
    pub fn cpu_ns(&self, metric: Metric) -> Option<Spread> {
        Spread::of(self.of(metric).filter_map(|s| s.value.cpu_ns))
    }

    /// Did super-packets arrive whole?
    pub fn keeps_super_packets(&self) -> Option<bool> {
        self.of(Metric::Super).filter_map(|s| s.value.longest).map(|longest| longest > 1514).min()
    }
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A result with one reading for each ratio to a bridge of 100 and a redirect of 120.
    pub fn result(name: &str, rules: u32, metric: Metric, ratios: &[f64]) -> PeerResult {
        let samples = ratios.iter().enumerate().map(|(round, ratio)| Sample {
            metric,
            round: round as u32,
            value: Value {
                value: ratio * 100.0,
                wall_rate: None,
                cpu_ns: Some(1000.0),
                longest: Some(64_294),
            },
            bridge: 100.0,
            redirect: Some(120.0),
        });
        PeerResult {
            name: name.to_owned(),
            rules,
            ours: name.starts_with("portcullis"),
            samples: samples.collect(),
            ..PeerResult::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_formed_against_the_reading_just_before() {
        let mut result = testing::result("x", 0, Metric::OneFlow, &[1.0, 2.0, 4.0]);
        result.samples[1].bridge = 400.0;
        assert_eq!(result.against_bridge(Metric::OneFlow).unwrap().median, 1.0);
        assert_eq!(result.values(Metric::OneFlow).unwrap().median, 200.0);
        assert!(result.against_bridge(Metric::ManyFlows).is_none());
    }

    #[test]
    fn one_cut_super_packet_is_enough() {
        let mut result = testing::result("x", 0, Metric::Super, &[1.0, 1.0]);
        assert_eq!(result.keeps_super_packets(), Some(true));
        result.samples[0].value.longest = Some(1514);
        assert_eq!(result.keeps_super_packets(), Some(false));
    }
}
