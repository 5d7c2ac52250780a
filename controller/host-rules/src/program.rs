//! Programs of the host: `nft` and `conntrack`.

use std::{
    io::{self, Write},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nftables::schema::Nftables;
use serde_json::Value;

use crate::error::{Error, Result};

/// How long a program may take. A change of a small table takes milliseconds; a machine with a
/// large ruleset of its own may need a while to list it.
const TIME: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(1);

const NFT: Tool = Tool { program: "nft", package: "nftables" };
const CONNTRACK: Tool = Tool { program: "conntrack", package: "conntrack" };

/// Carries out one transaction: all of it, or nothing.
///
/// # Errors
/// The tables are as they were.
pub fn transact(batch: &Nftables<'_>) -> Result<()> {
    let text = serde_json::to_vec(batch).map_err(|source| Error::Listing { source })?;
    // Not by the crate's own helper, which leaves the program's complaint to our log.
    let answer = NFT.run("change its table", &["-j", "-f", "-"], text)?;
    answer.success(&NFT, "change its table").map(drop)
}

/// Every table of the host as libnftables tells it.
///
/// # Errors
/// The program is missing, or refused.
pub fn ruleset() -> Result<Value> {
    list(&["-j", "list", "ruleset"])
}

/// Names of all tables of family inet.
///
/// # Errors
/// The program is missing, or refused.
pub fn tables() -> Result<Vec<String>> {
    let listed = list(&["-j", "list", "tables", "inet"])?;
    let objects = listed["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |object: &Value| object["table"]["name"].as_str().map(str::to_owned);
    Ok(objects.iter().filter_map(name).collect())
}

fn list(arguments: &[&str]) -> Result<Value> {
    let action = "list the tables";
    let text = NFT.run(action, arguments, Vec::new())?.success(&NFT, action)?;
    serde_json::from_slice(&text).map_err(|source| Error::Listing { source })
}

/// Is the program there that ends translated connections?
///
/// # Errors
/// It is not.
pub fn need_conntrack() -> Result<()> {
    CONNTRACK.run("tell its version", &["--version"], Vec::new()).map(drop)
}

/// Forgets the tracked connections that match.
///
/// # Errors
/// Some may be left.
pub fn forget(selection: &[&str]) -> Result<()> {
    let action = "end the connections of a published service";
    let arguments = [&["--delete", "--family", "ipv4"], selection].concat();
    let answer = CONNTRACK.run(action, &arguments, Vec::new())?;
    // It calls it a failure when there was none.
    if answer.complaint.contains(" 0 flow entries") {
        return Ok(());
    }
    answer.success(&CONNTRACK, action).map(drop)
}

struct Tool {
    program: &'static str,
    package: &'static str,
}

/// What a program said.
struct Answer {
    status: ExitStatus,
    text: Vec<u8>,
    complaint: String,
}

impl Answer {
    fn success(self, tool: &Tool, action: &'static str) -> Result<Vec<u8>> {
        if self.status.success() {
            return Ok(self.text);
        }
        let said = self.complaint.lines().find(|line| !line.trim().is_empty());
        let said = said.map_or_else(|| self.status.to_string(), str::to_owned);
        Err(Error::Refused { program: tool.program, action, said })
    }
}

impl Tool {
    fn run(&self, action: &'static str, arguments: &[&str], input: Vec<u8>) -> Result<Answer> {
        let start =
            |source| Error::Program { program: self.program, package: self.package, source };
        let mut command = Command::new(self.program);
        command.args(arguments).env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(start)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (out, err) = (reader(stdout), reader(stderr));
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ended early says why by itself.
            let _ = stdin.write_all(&input);
        }
        let status = self.wait(child, action)?;
        let text = |thread: thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
        let complaint = String::from_utf8_lossy(&text(err)).into_owned();
        Ok(Answer { status, text: text(out), complaint })
    }

    fn wait(&self, mut child: Child, action: &'static str) -> Result<ExitStatus> {
        let end = Instant::now() + TIME;
        let Self { program, package } = *self;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if Instant::now() < end => thread::sleep(STEP),
                Ok(None) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(Error::Slow { program, action, seconds: TIME.as_secs() });
                }
                Err(source) => return Err(Error::Program { program, package, source }),
            }
        }
    }
}

/// Reads aside, so that nobody waits for a pipe that is full.
fn reader(pipe: Option<impl io::Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut text);
        }
        text
    })
}
