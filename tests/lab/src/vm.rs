//! Guests of the built-in test guest, in our own monitor: orders go in by their console, answers
//! come out of it.

use std::{net::IpAddr, path::Path, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    Error, Result,
    console::{ANSWER, Console},
    host::Host,
    patience,
    probe::Probe,
    server::{FILE, GREETING},
};

/// A silence that tells that nothing comes.
const SILENCE: Duration = Duration::from_millis(700);

/// How long an answer that may come or not is waited for.
const TRY: Duration = Duration::from_millis(1500);

/// Is there a KVM for virtual machines?
pub fn possible() -> bool {
    Path::new("/dev/kvm").exists()
}

/// A guest that runs. Dropping it ends it, and its port goes.
#[derive(Debug)]
pub struct Vm {
    console: Console,
}

impl Drop for Vm {
    fn drop(&mut self) {
        // Asked to end, it takes its port away.
        let _ = kill(Pid::from_raw(self.console.pid()), Signal::SIGTERM);
        self.console.reap();
    }
}

impl Vm {
    /// Starts the test guest under this name, with more words for its command line: `tcp=22,445`.
    pub fn start(host: &Host, name: &str, words: &str) -> Result<Self> {
        Self::start_with(host, name, &["--append", words])
    }

    /// The same with these arguments of `guest run`.
    pub fn start_with(host: &Host, name: &str, arguments: &[&str]) -> Result<Self> {
        let mut vm = Self::spawn(host, name, arguments)?;
        vm.wait(patience::limit(ANSWER) / 2)?;
        Ok(vm)
    }

    /// Starts a guest of this name with these arguments of `guest run`, one that takes no orders.
    pub fn spawn(host: &Host, name: &str, arguments: &[&str]) -> Result<Self> {
        let command = host.command(&[&["guest", "run", name], arguments].concat());
        Ok(Self { console: Console::start(host.space(), name, command)? })
    }

    /// How long it waits for others from now on.
    fn wait(&mut self, long: Duration) -> Result<()> {
        self.order(&format!("wait {}", long.as_millis())).map(drop)
    }

    /// Gives an order to call somebody, who must answer; what comes of it.
    pub fn works(&mut self, order: &str) -> Result<Value> {
        self.call(order, true)
    }

    /// Gives an order to call somebody, who must not answer; what comes of it.
    pub fn fails(&mut self, order: &str) -> Result<Value> {
        self.wait(patience::silence(SILENCE))?;
        let answer = self.call(order, false)?;
        self.wait(patience::limit(ANSWER) / 2)?;
        Ok(answer)
    }

    /// Tries to reach an address: did the answer come?
    pub fn tries(&mut self, probe: Probe, to: IpAddr) -> Result<bool> {
        let order = match probe.plain() {
            Probe::Ping => format!("ping {to}"),
            Probe::Http => format!("http {to} /{FILE}"),
            Probe::Udp(port) => format!("udp {to} {port} hello"),
            Probe::Tcp(port) => format!("tcp {to} {port}"),
            // What `plain` has replaced.
            Probe::Ssh | Probe::Smb => return Ok(false),
        };
        self.wait(patience::silence(TRY))?;
        let answer = self.order(&order)?;
        let page = probe != Probe::Http || answer["body"] == GREETING;
        Ok(answer["works"] == true && page)
    }

    fn call(&mut self, order: &str, works: bool) -> Result<Value> {
        let answer = self.order(order)?;
        if answer["works"] == works {
            return Ok(answer);
        }
        Err(Error::Output { command: order.to_owned(), output: answer.to_string() })
    }

    /// Waits until it says something with this member; what it says.
    pub fn says(&self, key: &str, value: &str) -> Result<Value> {
        self.console.find(&format!("{key} {value}"), |line| {
            serde_json::from_str(line).ok().filter(|said: &Value| said[key] == value)
        })
    }

    /// Waits until it prints a line that begins so; the line.
    pub fn prints(&self, begin: &str) -> Result<String> {
        self.console.prints(begin)
    }

    /// Waits until DHCP has given it an address; the address with its length.
    pub fn address(&self) -> Result<String> {
        let said = self.says("event", "address")?;
        Ok(said["address"].as_str().unwrap_or_default().to_owned())
    }

    /// Gives an order; its answer.
    pub fn order(&mut self, order: &str) -> Result<Value> {
        let word = order.split(' ').next().unwrap_or_default();
        self.tell(order)?;
        self.says("order", word)
    }

    /// Gives an order that has no answer.
    pub fn tell(&mut self, order: &str) -> Result<()> {
        self.console.tell(order)
    }

    /// Waits until it has ended; its exit status.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        self.console.ended()
    }
}
