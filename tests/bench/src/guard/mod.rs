//! What guarding costs those who are guarded: a neighbour's throughput while a guest attacks, and
//! connections that are logged.

mod attacks;
mod events;
mod volley;

use crate::{
    command,
    interrupt::Interrupt,
    machine::Others,
    rows::{Options, Report},
    scratch,
};

/// Measures and prints; false where an aim was missed.
pub fn bench(options: &Options) -> anyhow::Result<bool> {
    scratch::enter()?;
    command::require_all()?;
    let interrupt = Interrupt::listen()?;
    let mut others = Others::watch()?;
    let mut rows = events::rows(options.rounds, &interrupt)?;
    rows.extend(attacks::rows(options.rounds, &interrupt)?);
    others.mark()?;
    Report::new(rows, others.cores())?.show(options.json.as_deref())
}
