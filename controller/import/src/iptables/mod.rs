//! `iptables-save` and `ip6tables-save`: the table `filter` of a host or router.
//!
//! INPUT decides what is for the host, OUTPUT what it sends, FORWARD everything else. What is
//! behind an interface is what the user says: a network, or the world.

mod draft;
mod judge;
mod options;
mod parse;
mod rules;

use rules::Ruleset;

use crate::{
    SourceText,
    finding::{Finding, Remark, Weight},
    prove::Judge,
    site::{Options, Realm, Site},
    translate::{Draft, ImportError, Imported, Source, translate},
};

/// Translates files of `iptables-save` and `ip6tables-save`.
///
/// # Errors
/// [`ImportError`].
pub fn import(files: &[SourceText], options: &Options) -> Result<Imported, ImportError> {
    let mut findings = Vec::new();
    let site = options.site(&mut findings);
    let rulesets: Vec<Ruleset> = files.iter().map(|f| parse::parse(f, &mut findings)).collect();
    for v4 in [true, false] {
        if rulesets.iter().filter(|r| r.v4 == v4).count() > 1 {
            let what = format!("a file about {}", if v4 { "IPv4" } else { "IPv6" });
            findings.push(Finding::anywhere(Remark::Twice { what }));
        }
    }
    let readable = findings.iter().all(|f| f.weight() != Weight::Error);
    if readable
        && site.host.is_empty()
        && site.networks.iter().all(|n| n.gateway == Default::default())
    {
        let what = "which addresses the host has".to_owned();
        let help = "say it by `--host ADDRESS`, or give a network its `gateway`";
        findings.push(Finding::anywhere(Remark::NotSaid { what }).help(help));
    }
    let names = files.iter().map(|f| f.name.clone()).collect();
    translate(&Iptables { rulesets, names }, &site, findings)
}

/// What was read.
struct Iptables {
    rulesets: Vec<Ruleset>,
    names: Vec<String>,
}

impl Source for Iptables {
    fn title(&self) -> Vec<String> {
        vec![format!("Imported from {} (iptables-save, table filter).", self.names.join(", "))]
    }

    fn draft(&self, site: &Site, realm: &Realm, findings: &mut Vec<Finding>) -> Draft {
        draft::draft(&self.rulesets, site, realm, findings)
    }

    fn judge<'s>(&'s self, site: &'s Site, realm: &'s Realm) -> Box<dyn Judge + 's> {
        Box::new(judge::Walker::new(&self.rulesets, site, realm))
    }
}
