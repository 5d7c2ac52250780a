//! What options say that is different here.

use super::draft::Lower;
use crate::finding::{Finding, Remark};

impl Lower<'_> {
    /// Reports it, option by option.
    pub fn options(&mut self) {
        let files = self.source.cluster.iter().chain(&self.source.node).chain(&self.source.guests);
        for config in files {
            for setting in &config.options {
                if let Some(remark) = about_option(&setting.key, &setting.value) {
                    self.findings.push(Finding::new(remark, &setting.place, &setting.text));
                }
            }
        }
        if let Some(cluster) = &self.source.cluster {
            if !cluster.is_on("enable", false) {
                let what = "the firewall of the cluster is off (enable: 1 is missing): its rules \
                            are taken as if it were on";
                let remark = Remark::Chosen { what: what.into() };
                self.findings.push(Finding::new(remark, &cluster.place, ""));
            }
            if self.realm.host.is_empty() {
                let what =
                    "which addresses the node has is not said, so its own rules: they".into();
                let help = "say it by `--host ADDRESS`";
                let finding = Finding::new(Remark::LeftOut { what }, &cluster.place, "");
                self.findings.push(finding.help(help));
            }
        }
    }
}

fn about_option(key: &str, value: &str) -> Option<Remark> {
    let by_itself = |what: &str| Some(Remark::ByItself { what: what.to_owned() });
    let left_out = |what: &str| Some(Remark::LeftOut { what: what.to_owned() });
    match (key, value) {
        ("policy_forward", v) if !v.eq_ignore_ascii_case("ACCEPT") => {
            let what = format!("`policy_forward: {v}`");
            Some(Remark::DeniesElsewhere { what })
        }
        ("dhcp", "1") => by_itself("the switch answers DHCP"),
        ("dhcp", _) => left_out("DHCP without the switch (`dhcp: 0`)"),
        ("ndp", "1") => by_itself("neighbour discovery for declared addresses"),
        ("ndp", _) => left_out("a network without neighbour discovery (`ndp: 0`)"),
        ("radv", "1") => left_out("router advertisements from a guest (`radv: 1`)"),
        ("macfilter" | "ipfilter", "1") => by_itself("a guest sends from its own addresses only"),
        ("macfilter", _) => left_out("a guest that sends from foreign MACs (`macfilter: 0`)"),
        ("enable" | "policy_in" | "policy_out" | "policy_forward" | "radv" | "ipfilter", _) => None,
        ("log_level_in" | "log_level_out" | "log_level_forward", "nolog") => None,
        ("log_level_in" | "log_level_out" | "log_level_forward", _) => {
            let what =
                "what is denied by default is counted by `portcullis status`, and not logged";
            Some(Remark::Differs { what: what.into() })
        }
        _ => {
            let what = format!("the option `{key}` is about the node's kernel or its log");
            Some(Remark::Differs { what })
        }
    }
}
