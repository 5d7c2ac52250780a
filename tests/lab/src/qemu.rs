//! Guests under QEMU, without hardware help: Debian's stock kernel, and an archive whose first
//! program takes orders by the console (`tests/lab/qemu/agent`).

use std::{
    env,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    Error, Result,
    console::Console,
    host::Host,
    patience,
    probe::Probe,
    server::{FILE, GREETING},
};

/// Where the kernel and the archive are: `cargo xtask test` makes them, and says it.
pub const DIRECTORY: &str = "PORTCULLIS_TEST_QEMU";
/// Memory of a guest, MiB.
const MEMORY: u32 = 192;

/// Where the kernel and the archive are, if somebody has made them.
pub fn guest() -> Option<PathBuf> {
    env::var_os(DIRECTORY).map(PathBuf::from)
}

/// What is behind a guest's network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plug {
    /// The tap of this name.
    Tap(String),
    /// The vhost-user back end that listens here.
    Vhost(PathBuf),
}

impl Plug {
    fn arguments(&self) -> Vec<String> {
        match self {
            Self::Tap(name) => {
                let tap = format!("tap,id=n,ifname={name},script=no,downscript=no");
                vec!["-netdev".into(), tap]
            }
            Self::Vhost(socket) => {
                let memory = format!("memory-backend-memfd,id=m,size={MEMORY}M,share=on");
                let socket = format!("socket,id=c,path={},reconnect=1", socket.display());
                let words = ["-object", &memory, "-machine", "memory-backend=m", "-chardev"];
                let more = [&socket, "-netdev", "vhost-user,id=n,chardev=c"];
                words.into_iter().chain(more).map(str::to_owned).collect()
            }
        }
    }
}

/// A guest that runs. Dropping it kills its QEMU.
#[derive(Debug)]
pub struct Qemu(Console);

impl Drop for Qemu {
    fn drop(&mut self) {
        self.0.kill();
    }
}

impl Qemu {
    /// Starts a guest with what lies in `directory`, and waits for nothing. `addresses` carry their
    /// lengths: `10.1.0.11/24,fd01::11/64`.
    pub fn start(
        host: &Host,
        directory: &Path,
        plug: &Plug,
        mac: &str,
        addresses: &str,
    ) -> Result<Self> {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-cpu", "max", "-m", &MEMORY.to_string()]);
        command.args(["-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio"]);
        command.args(plug.arguments());
        // Without KVM, QEMU 7.2 crashes over interrupts of their own for vhost-user queues.
        let card = format!("virtio-net-pci,netdev=n,mac={mac},vectors=0,romfile=");
        command.arg("-device").arg(card);
        command.arg("-kernel").arg(directory.join("vmlinuz"));
        command.arg("-initrd").arg(directory.join("initrd"));
        let words = "console=ttyS0 quiet panic=-1 mitigations=off";
        command.args(["-append", &format!("{words} addresses={addresses}")]);
        Console::start(host.space(), addresses, command).map(Self)
    }

    /// Kills its QEMU, as a crash would.
    pub fn kill(&mut self) {
        self.0.kill();
    }

    /// Waits until its servers run.
    pub fn serves(&self) -> Result<String> {
        self.0.find("serving on", |line| line.find("serving on").map(|at| line[at..].to_owned()))
    }

    /// Runs a line of shell; its status, and what it printed, in one line.
    pub fn order(&mut self, line: &str) -> Result<(i32, String)> {
        self.0.tell(line)?;
        let answer = self.0.prints("answer ")?;
        let mut words = answer.splitn(3, ' ').skip(1);
        let status = words.next().and_then(|word| word.parse().ok());
        let unclear = || Error::Output { command: line.to_owned(), output: answer.clone() };
        Ok((status.ok_or_else(unclear)?, words.next().unwrap_or_default().to_owned()))
    }

    /// Tries to reach an address: did the answer come?
    pub fn tries(&mut self, probe: Probe, to: IpAddr) -> Result<bool> {
        let seconds = patience::silence(Duration::from_secs(1)).as_secs();
        let (status, said) = self.order(&match probe.plain() {
            Probe::Ping => format!("ping -c 1 -W {seconds} {to}"),
            Probe::Http => format!("timeout {} wget -q -O - {}", 4 * seconds, url(to, FILE)),
            Probe::Tcp(port) => format!("nc -w {seconds} {to} {port}"),
            // It has no program for datagrams; the others `plain` has replaced.
            Probe::Udp(_) | Probe::Ssh | Probe::Smb => return Ok(false),
        })?;
        Ok(status == 0 && (probe != Probe::Http || said == GREETING.trim_end()))
    }

    /// Fetches a file from a web server, and throws it away; its bytes.
    pub fn fetches(&mut self, from: IpAddr, file: &str) -> Result<u64> {
        let line = format!("wget -q -O - {} | wc -c", url(from, file));
        let (_, said) = self.order(&line)?;
        said.trim().parse().map_err(|_| Error::Output { command: line, output: said })
    }

    /// What its kernel has counted here: a file of one number.
    pub fn number(&mut self, path: &str) -> Result<u64> {
        let (_, said) = self.order(&format!("cat {path}"))?;
        said.trim().parse().map_err(|_| Error::Output { command: path.to_owned(), output: said })
    }
}

fn url(to: IpAddr, file: &str) -> String {
    format!("http://{}/{file}", SocketAddr::new(to, 80))
}
