//! Random rule lists of every format: each is translated, compiled, and compared with a direct
//! walk over the list, everywhere. The commands themselves make this comparison, so a
//! translation that differs is an error here.

use crate::common::{Format, import};
use portcullis_import::ImportError;

/// Lists of each format.
const CASES: u64 = 2_000;

fn all_are_equal(format: Format) {
    let (mut rules, mut compared, mut closed) = (0, 0, 0);
    for seed in 0..CASES {
        let (files, options) = crate::random::source(format, seed);
        match import(format, &files, &options) {
            Ok(imported) => {
                rules += imported.rules;
                compared += imported.compared;
                closed += usize::from(imported.closed() > 0);
            }
            Err(error) => {
                let source: Vec<String> =
                    files.iter().map(|f| format!("--- {}\n{}", f.name, f.text)).collect();
                let more = match &error {
                    ImportError::Refused { findings } => {
                        findings.iter().map(|f| f.render()).collect::<String>()
                    }
                    ImportError::NotAccepted { yaml, .. } | ImportError::NotEqual { yaml, .. } => {
                        yaml.clone()
                    }
                };
                panic!("seed {seed}: {error}\n{more}\n{}", source.join("\n"));
            }
        }
    }
    println!(
        "{CASES} lists, {rules} rules, {compared} connections, {closed} lists with closed lines"
    );
    // The lists are not all empty, all open or all closed.
    assert!(rules as u64 > CASES * 3, "{rules}");
    assert!(compared > CASES * 300, "{compared}");
}

#[test]
fn iptables_lists_and_their_policies_are_equal() {
    all_are_equal(Format::Iptables);
}

#[test]
fn proxmox_lists_and_their_policies_are_equal() {
    all_are_equal(Format::Proxmox);
}

#[test]
fn nwfilter_lists_and_their_policies_are_equal() {
    all_are_equal(Format::Nwfilter);
}
