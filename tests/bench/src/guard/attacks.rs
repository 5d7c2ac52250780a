//! A victim's throughput while a neighbour on the other core attacks.
//!
//! Two cores of one processor share more than a switch. So a reading under attack is set against
//! one taken just before, while the same frames are thrown at a tap where nobody listens.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::volley::{Attack, Cast, Volley};
use crate::{
    error::Error,
    frame::{Direction, End, Template},
    generator::{Connections, Limit, Reading, WINDOW},
    interrupt::Interrupt,
    netns::{Namespace, on_cpu, pin_this_thread},
    peers::{Policy, Running},
    rows::{Aim, Row},
    stats::Spread,
    tap::Tap,
    wire::Wire,
    workload::{self, CLIENT, SERVER},
    world::{Ends, Topology},
};

const VICTIM_CPU: usize = 0;
const ATTACKER_CPU: usize = 1;
const READING: Duration = Duration::from_millis(100);
/// Readings of each attack in each round.
const READINGS: u32 = 3;
/// How long an attack runs before it is measured: what is spent once is spent then.
const BEFORE: Duration = Duration::from_millis(50);
/// Throughput that a victim may lose, percent.
const LOST_MAX: f64 = 10.0;
const ATTACKER: &str = "attacker";
const TARGET: &str = "target";

/// Who takes part.
struct Scene<'a> {
    /// The victim's.
    wire: Wire<'a>,
    cast: Cast,
    attacker: &'a Tap,
    /// Of no switch, read by nobody.
    nowhere: &'a Tap,
}

/// Readings of one attack.
#[derive(Default)]
struct Readings {
    /// Percent of the throughput.
    lost: Vec<f64>,
    /// Thousands of frames per second.
    thrown: Vec<f64>,
}

/// Throughput lost under each attack, and how many frames the attack was.
pub fn rows(rounds: u32, interrupt: &Interrupt) -> anyhow::Result<Vec<Row>> {
    let ends = Ends::switched();
    let cast = Cast { attacker: neighbour(4), target: neighbour(5), victim: ends.server };
    let policy = Policy::of(text(&ends, cast), 2, Topology::Switched)?;
    let namespace = Namespace::new()?;
    let guests = [CLIENT, SERVER, ATTACKER, TARGET];
    let (_running, taps) = Running::on_taps(&namespace, &policy, &guests)?;
    let [client, server, attacker, _target] = &taps[..] else {
        anyhow::bail!("{} taps for {} guests", taps.len(), guests.len());
    };
    let elsewhere = Namespace::without_ipv6()?;
    let nowhere = &Tap::open(&elsewhere, "nowhere")?;
    elsewhere.ip("link set nowhere up\n")?;
    let wire = Wire { client, server, ends, interrupt };
    let scene = Scene { wire, cast, attacker, nowhere };
    scene.prime()?;
    let mut all = Attack::ALL.map(|attack| (attack, Readings::default()));
    for round in 0..rounds {
        for (attack, readings) in &mut all {
            eprintln!("round {}/{rounds}: {}", round + 1, attack.title());
            for _ in 0..READINGS {
                scene.read(*attack, readings)?;
            }
        }
    }
    let mut rows = Vec::new();
    for (attack, readings) in all {
        rows.extend(readings.rows(attack)?);
    }
    Ok(rows)
}

impl Readings {
    fn rows(self, attack: Attack) -> anyhow::Result<[Row; 2]> {
        let spread = |values| Spread::of(values).context("no readings");
        Ok([
            Row {
                what: format!("throughput lost under {}", attack.title()),
                unit: "%",
                spread: spread(self.lost)?,
                aim: Some(Aim::Under(LOST_MAX)),
            },
            Row {
                what: "  frames of the attack".to_owned(),
                unit: "k/s",
                spread: spread(self.thrown)?,
                aim: None,
            },
        ])
    }
}

impl Scene<'_> {
    /// Opens the victim's connection.
    fn prime(&self) -> Result<(), Error> {
        let Ends { client, server } = self.wire.ends;
        let there = Template::udp(client, server, Direction::Forward);
        let back = Template::udp(server, client, Direction::Reply);
        self.send(there, Limit::Frames(1))?.checked("a first datagram")?;
        self.send(back, Limit::Frames(1))?.checked("an answer")?;
        Ok(())
    }

    fn read(&self, attack: Attack, readings: &mut Readings) -> Result<(), Error> {
        let (alone, _) = self.under(attack, self.nowhere)?;
        let (attacked, thrown) = self.under(attack, self.attacker)?;
        readings.lost.push((1.0 - attacked / alone) * 100.0);
        readings.thrown.push(thrown / 1e3);
        Ok(())
    }

    /// Frames per CPU second of the victim and frames per second of the attacker, while it throws at `tap`.
    fn under(&self, attack: Attack, tap: &Tap) -> Result<(f64, f64), Error> {
        let done = AtomicBool::new(false);
        let mut volley = Volley::new(attack, self.cast);
        thread::scope(|scope| {
            let thrower = scope.spawn(|| throw(&mut volley, tap, &done));
            thread::sleep(BEFORE);
            let rate = on_cpu(VICTIM_CPU, || self.rate());
            done.store(true, Ordering::Relaxed);
            let thrown = thrower.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((rate?, thrown?))
        })
    }

    /// The victim's frames per CPU second.
    fn rate(&self) -> Result<f64, Error> {
        let Ends { client, server } = self.wire.ends;
        let template = Template::udp(client, server, Direction::Forward);
        let reading = self.send(template, Limit::Time(READING))?;
        Ok(reading.checked("the victim's datagrams")?.rate())
    }

    fn send(&self, template: Template, limit: Limit) -> Result<Reading, Error> {
        self.wire.send(template, Connections { first: 0, count: 1 }, WINDOW, limit)
    }
}

/// Writes as fast as the tap takes it; frames per second.
fn throw(volley: &mut Volley, tap: &Tap, done: &AtomicBool) -> Result<f64, Error> {
    pin_this_thread(ATTACKER_CPU)?;
    let start = Instant::now();
    let mut thrown = 0u64;
    while !done.load(Ordering::Relaxed) {
        thrown += u64::from(tap.write(volley.frame())?);
    }
    Ok(thrown as f64 / start.elapsed().as_secs_f64())
}

/// A guest of the victim's network with this last octet.
fn neighbour(host: u8) -> End {
    let mut end = Ends::switched().client;
    let [a, b, c, _] = end.ip.octets();
    end.ip = [a, b, c, host].into();
    end.mac[5] = host;
    let mut groups = end.ip6.segments();
    groups[7] = host.into();
    end.ip6 = groups.into();
    end
}

/// Client and server, and two neighbours with the limits that every guest has.
fn text(ends: &Ends, cast: Cast) -> String {
    let guest = |name, end| workload::guest(name, "front", end);
    let guests = [
        guest(CLIENT, ends.client),
        guest(SERVER, ends.server),
        guest(ATTACKER, cast.attacker),
        guest(TARGET, cast.target),
    ];
    format!(
        "networks:\n  front: {{ vlan: 77, subnets: [10.77.0.0/24, \"fd00:77::/64\"] }}\n\
         guests:\n{}rules:\n{}{}",
        guests.concat(),
        workload::allow("measured", "", CLIENT, SERVER),
        workload::allow("bait", "", ATTACKER, TARGET),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_compiles() {
        let ends = Ends::switched();
        let cast = Cast { attacker: neighbour(4), target: neighbour(5), victim: ends.server };
        let policy = Policy::of(text(&ends, cast), 2, Topology::Switched).unwrap();
        assert_eq!(policy.image.rules.len(), 2);
    }
}
