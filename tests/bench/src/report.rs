//! A run as tables for a person and as JSON for a program.

use std::fmt::Write;

use serde::Serialize;

use crate::{
    aims::{Aim, Side},
    machine::Machine,
    measure::{Metric, Times},
    results::PeerResult,
    stats::Spread,
    table::Table,
    testrun::{CaseResult, Counts, FlowTable},
};

/// How a run was taken.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Rounds.
    pub rounds: u32,
    /// Was it a short run, good for nothing but to see that everything works?
    pub quick: bool,
    /// How long readings took.
    pub times: Times,
    /// Readings by TEST_RUN.
    pub testrun: Counts,
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// How.
    pub settings: Settings,
    /// How long it took.
    pub seconds: f64,
    /// Cores that other programs kept busy meanwhile.
    pub cores_taken_by_others: Option<Spread>,
    /// ns per packet by BPF_PROG_TEST_RUN.
    pub testrun: Vec<CaseResult>,
    /// The flow table that those packets met.
    pub flow_table: Option<FlowTable>,
    /// Peers side by side.
    pub forwarding: Vec<PeerResult>,
    /// Promises.
    pub aims: Vec<Aim>,
}

impl Report {
    /// All tables.
    pub fn text(&self) -> String {
        [self.head(), self.testrun(), self.rates(), self.cpu(), self.failures(), self.verdicts()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn head(&self) -> String {
        let Machine { kernel, processor, cores, memory_mib } = &self.machine;
        let others = self.cores_taken_by_others.map_or("unknown".to_owned(), |s| {
            format!("median {:.2}, at most {:.2}", s.median, s.max)
        });
        let mut text = format!(
            "Linux {kernel}, {cores} cores ({processor}), {memory_mib} MiB; {} rounds in {:.0} s\n\
             cores taken by other programs: {others}\n",
            self.settings.rounds, self.seconds
        );
        if self.settings.quick {
            text += "quick run: the numbers show that everything works, and no more\n";
        }
        text
    }

    fn testrun(&self) -> String {
        if self.testrun.is_empty() {
            return String::new();
        }
        let mut table = Table::new([
            "BPF_PROG_TEST_RUN",
            "rules",
            "flows",
            "ns median",
            "min",
            "max",
            "against fewest rules",
        ]);
        for result in &self.testrun {
            if let Some(s) = result.spread() {
                let numbers = [s.median, s.min, s.max].map(|n| format!("{n:.0}"));
                let head = [
                    result.case.title().to_owned(),
                    grouped(result.rules.into()),
                    grouped(result.flows.into()),
                ];
                let growth = result.growth().map_or(String::new(), |g| {
                    format!("{:.2} [{:.2}-{:.2}]", g.median, g.min, g.max)
                });
                table.row(head.into_iter().chain(numbers).chain([growth]));
            }
        }
        let memory = self.flow_table.map_or(String::new(), |FlowTable { flows, bytes }| {
            format!("flow table: {} MiB for {} flows\n", bytes >> 20, grouped(flows))
        });
        format!("ns per packet above an empty program\n{table}{memory}")
    }

    fn rates(&self) -> String {
        if self.forwarding.is_empty() {
            return String::new();
        }
        let titles = Metric::ALL.map(Metric::title);
        let mut table = Table::new(["peer", "rules"].into_iter().chain(titles));
        for result in &self.forwarding {
            let cells = Metric::ALL.map(|metric| rate_cell(result, metric));
            table.row([result.name.clone(), rules(result)].into_iter().chain(cells));
        }
        format!(
            "medians; (ratio to the bare bridge read just before) [smallest-largest ratio]\n\
             taps: per CPU second of the generator's thread, inside which the kernel forwards\n{table}"
        )
    }

    fn cpu(&self) -> String {
        if self.forwarding.is_empty() {
            return String::new();
        }
        let metrics = Metric::ALL.into_iter().filter(|&m| m != Metric::Tcp);
        let head = metrics.clone().map(|m| m.title().trim_end_matches(" kpps"));
        let mut table = Table::new(
            ["peer", "rules"].into_iter().chain(head).chain(["super-packets", "set up ms"]),
        );
        for result in &self.forwarding {
            let cells = metrics
                .clone()
                .map(|m| result.cpu_ns(m).map_or("-".to_owned(), |s| format!("{:.0}", s.median)));
            let kept = match result.keeps_super_packets() {
                Some(true) => "kept",
                Some(false) => "CUT",
                None => "-",
            };
            let setup = Spread::of(result.setup_ms.iter().copied());
            let setup = setup.map_or("-".to_owned(), |s| format!("{:.0}", s.median));
            let row = [result.name.clone(), rules(result)].into_iter().chain(cells);
            table.row(row.chain([kept.to_owned(), setup]));
        }
        format!("CPU ns per packet, generator and forwarding together\n{table}")
    }

    fn failures(&self) -> String {
        let mut text = String::new();
        for result in &self.forwarding {
            for failure in &result.failures {
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "NOT MEASURED: {} with {} rules, {}: {}",
                    result.name,
                    result.rules,
                    failure.metric.title(),
                    failure.reason
                );
            }
        }
        text
    }

    fn verdicts(&self) -> String {
        let mut table = Table::new(["aim", "limit", "median", "readings", "worst row", "verdict"]);
        for aim in &self.aims {
            let sign = if aim.side == Side::AtLeast { ">=" } else { "<=" };
            table.row([
                aim.text.clone(),
                format!("{sign} {}", aim.limit),
                aim.measured.map_or("-".to_owned(), significant),
                aim.range.map_or("-".to_owned(), |(min, max)| {
                    format!("{}-{}", significant(min), significant(max))
                }),
                aim.at.clone(),
                verdict(aim),
            ]);
        }
        table.to_string()
    }
}

/// Median and ratio to the bridge.
fn rate_cell(result: &PeerResult, metric: Metric) -> String {
    let (Some(value), Some(ratio)) = (result.values(metric), result.against_bridge(metric)) else {
        return "-".to_owned();
    };
    let value = match metric {
        Metric::Super | Metric::Tcp => format!("{:.1}", value.median),
        _ => format!("{:.0}", value.median / 1e3),
    };
    let range = match ratio.count {
        1 => String::new(),
        _ => format!(" [{:.2}-{:.2}]", ratio.min, ratio.max),
    };
    format!("{value} ({:.2}){range}", ratio.median)
}

fn verdict(aim: &Aim) -> String {
    let close = if aim.is_close() { " (undecided: readings on both sides)" } else { "" };
    match (aim.is_met(), aim.missed_by_percent()) {
        (Some(true), _) => format!("met{close}"),
        (Some(false), Some(percent)) => format!("MISSED by {percent:.1} %{close}"),
        _ => "not measured".to_owned(),
    }
}

fn rules(result: &PeerResult) -> String {
    if result.rules == 0 { "-".to_owned() } else { grouped(result.rules.into()) }
}

/// Two digits after the point below ten, none above.
fn significant(number: f64) -> String {
    if number.abs() < 10.0 { format!("{number:.2}") } else { format!("{number:.0}") }
}

/// A number with a comma after every three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aims,
        results::{Failure, testing::result},
        testrun::Case,
    };

    fn report() -> Report {
        let mut lossy = result("bridge-nft-set", 1000, Metric::OneFlow, &[0.9]);
        lossy.failures.push(Failure { metric: Metric::Tcp, reason: "no stream".into() });
        let forwarding =
            vec![result("portcullis", 100_000, Metric::OneFlow, &[1.2, 1.0, 1.1]), lossy];
        let testrun = vec![CaseResult {
            case: Case::Established,
            rules: 100_000,
            flows: 1_000_000,
            ns: vec![101.0, 99.0, 103.4],
            against_few: vec![1.0, 1.02, 1.01],
        }];
        let aims = aims::check(&forwarding, &testrun);
        Report {
            machine: Machine {
                kernel: "6.18".into(),
                processor: "x".into(),
                cores: 2,
                memory_mib: 1,
            },
            settings: Settings {
                rounds: 3,
                quick: false,
                times: Times { reading_ms: 1, readings: 1, new_readings: 1, tcp_s: 1 },
                testrun: Counts { repeat: 1, fresh: 1, readings: 1 },
            },
            seconds: 12.0,
            cores_taken_by_others: Spread::of([0.1, 0.3]),
            testrun,
            flow_table: Some(FlowTable { flows: 1 << 21, bytes: 400 << 20 }),
            forwarding,
            aims,
        }
    }

    #[test]
    fn the_tables_show_every_row_and_every_failure() {
        let text = report().text();
        for part in [
            "established TCP/IPv4",
            "1,000,000",
            "0 (1.10) [1.00-1.20]",
            "NOT MEASURED: bridge-nft-set with 1000 rules, TCP Gbit/s: no stream",
            "cores taken by other programs: median 0.20, at most 0.30",
            "flow table: 400 MiB for 2,097,152 flows",
            "met",
            "not measured",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("quick run"));
    }

    #[test]
    fn json_says_whether_an_aim_is_met() {
        let json = serde_json::to_value(report()).unwrap();
        let aim = &json["aims"][1];
        assert_eq!(aim["met"], true);
        assert_eq!(aim["missed_by_percent"], 0.0);
        assert_eq!(json["aims"][9]["met"], serde_json::Value::Null);
        assert_eq!(json["testrun"][0]["case"], "established");
        assert_eq!(json["forwarding"][0]["samples"][0]["metric"], "one-flow");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.98765, 12.34].map(significant), ["0.99", "12"]);
    }
}
