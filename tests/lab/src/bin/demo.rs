//! The demo as a program; `cargo xtask demo` builds and starts it.

use std::{
    env,
    io::{BufRead, BufReader, Write, stdout},
    os::unix::process::CommandExt,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use nix::{
    sys::signal::{SigSet, Signal, kill},
    unistd::Pid,
};
use portcullis_lab::{
    Lab, demo, lab,
    process::{lives, start_time, wait_for},
    vm,
    world::{self, Dmz},
};

/// Name of the demo's lab: there is one at a time.
const NAME: &str = "pcdemo";
/// What the keeper prints when the table is complete and all is left running.
const KEPT: &str = "-- kept --";

/// A DMZ on this machine, and the traffic that a person cares about.
#[derive(Parser)]
#[command(name = "portcullis-demo")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Clone, Copy, Subcommand)]
enum Action {
    /// Build it, play, clean up
    Play {
        /// With virtual machines of our own monitor as guests
        #[arg(long)]
        vm: bool,
    },
    /// Build it, play, leave it running
    Keep,
    /// End one that was left running
    Down,
    /// What `keep` leaves running
    #[command(hide = true)]
    Keeper,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Action::Play { vm } => play(vm),
        Action::Keep => keep(),
        Action::Down => down().map(|()| true),
        Action::Keeper => keeper(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Builds, plays, cleans up; false when a row differs. Ctrl-C ends it as an error would.
fn play(vm: bool) -> Result<bool> {
    let signals = block_signals()?;
    std::thread::spawn(move || {
        let _ = signals.wait();
        lab::remove(NAME);
        std::process::exit(130);
    });
    let mut dmz = build(vm)?;
    let fine = perform(&dmz)?;
    // Virtual machines take their ports with them.
    dmz.machines.clear();
    dmz.host.down().context("portcullis down")?;
    let left = dmz.host.space().interfaces()?;
    if left != [world::UPLINK] {
        bail!("`portcullis down` left interfaces behind: {left:?}");
    }
    drop(dmz);
    println!("cleaned up; `cargo xtask demo --keep` leaves it running");
    Ok(fine)
}

fn block_signals() -> Result<SigSet> {
    let mut signals = SigSet::empty();
    signals.extend([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().context("blocking signals")?;
    Ok(signals)
}

fn build(vm: bool) -> Result<Dmz> {
    if vm && !vm::possible() {
        bail!("there is no /dev/kvm: switch virtualisation on, or leave --vm away for namespaces");
    }
    if let Some(pid) = lab::owner(NAME) {
        bail!("a demo is running already (process {pid}): end it with `cargo xtask demo --down`");
    }
    let started = Instant::now();
    let guests = if vm { "virtual machines" } else { "namespaces" };
    println!("bringing up a lan, a dmz, a host and a world, guests are {guests} ...");
    let lab = Lab::named(NAME)?;
    let mut dmz = if vm { Dmz::build_of_machines(lab)? } else { Dmz::build(lab)? };
    println!("starting web, ssh, smb and udp servers ...");
    dmz.serve()?;
    println!("ready after {:.1} s\n", started.elapsed().as_secs_f64());
    Ok(dmz)
}

fn perform(dmz: &Dmz) -> Result<bool> {
    let started = Instant::now();
    println!("{}", demo::head());
    let rows = demo::perform(dmz, |row| {
        println!("{}", demo::line(row));
        let _ = stdout().flush();
    })?;
    println!("\n{}", demo::summary(&rows, started.elapsed()));
    Ok(rows.iter().all(demo::Row::is_fine))
}

/// Starts a keeper in a session of its own and shows what it prints until all is up.
fn keep() -> Result<bool> {
    let (reader, writer) = std::io::pipe().context("making a pipe")?;
    let mut command = Command::new(env::current_exe()?);
    command.arg("keeper").process_group(0);
    // Nothing of ours may stay open in what goes on running: somebody may wait for its end.
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().context("starting the keeper")?;
    drop(command);
    for line in BufReader::new(reader).lines() {
        let line = line?;
        match line.strip_prefix(KEPT) {
            Some(fine) => return Ok(fine.trim() == "fine"),
            None => println!("{line}"),
        }
    }
    bail!("the keeper ended: {}", child.wait()?)
}

/// Builds, plays, and holds everything until it is told to end.
fn keeper() -> Result<bool> {
    let signals = block_signals()?;
    let dmz = build(false)?;
    let fine = perform(&dmz)?;
    println!("\n{}", how_to_play(&dmz));
    println!("{KEPT} {}", if fine { "fine" } else { "differs" });
    let _ = stdout().flush();
    signals.wait().context("waiting for the end")?;
    dmz.host.down().context("portcullis down")?;
    Ok(fine)
}

fn how_to_play(dmz: &Dmz) -> String {
    let space = |name: &str| {
        dmz.space(name).map(|space| space.path().display().to_string()).unwrap_or_default()
    };
    let [(run, run_dir), (state, state_dir)] = dmz.host.environment();
    let address =
        |name: &str| dmz.address("pc1", name, false).map(|a| a.to_string()).unwrap_or_default();
    format!(
        "It is running. Try:\n  \
           nsenter --net={pc1} ping {files}\n  \
           nsenter --net={world} curl http://{web1}/hello.txt\n  \
           nsenter --net={app1} ping {files}\n\
         The switch itself:\n  \
           export {run}={} {state}={}\n  \
           nsenter --net={host} {program} status\n\
         End it with:\n  \
           cargo xtask demo --down",
        run_dir.display(),
        state_dir.display(),
        pc1 = space("pc1"),
        world = space("world"),
        app1 = space("app1"),
        host = space("host"),
        files = address("files"),
        web1 = address("web1"),
        program = dmz.host.program().display(),
    )
}

/// Ends a kept demo, or removes what a killed one left.
fn down() -> Result<()> {
    if let Some(pid) = lab::owner(NAME) {
        let started = start_time(pid).unwrap_or(0);
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("ending the keeper")?;
        wait_for("the keeper's end", 20, || !lives(pid, started))?;
    }
    lab::remove_stale();
    println!("no demo is running");
    Ok(())
}
