//! Loads every program into the running kernel and says how much the verifier worked.

use anyhow::{Context, Result};
use aya::{EbpfLoader, VerifierLogLevel, programs::SchedClassifier};

fn main() -> Result<()> {
    let mut failed = false;
    let mut ebpf = EbpfLoader::new()
        .verifier_log_level(VerifierLogLevel::STATS)
        .load(portcullis_programs::OBJECT)
        .context("the object does not load")?;
    let names: Vec<String> = ebpf.programs().map(|(n, _)| n.to_owned()).collect();
    for name in names {
        let program: &mut SchedClassifier = ebpf.program_mut(&name).unwrap().try_into()?;
        match program.load() {
            Ok(()) => println!("{name} {}", program.info()?.verified_instruction_count().unwrap_or(0)),
            Err(e) => {
                failed = true;
                println!("{name}: {e:#?}");
            }
        }
    }
    if failed { anyhow::bail!("refused") } else { Ok(()) }
}
