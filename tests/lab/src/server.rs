//! Real servers inside namespaces. Dropping one ends it.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{Error, Lab, Result, Space, patience, process};

/// What the web servers and the share hand out.
pub const GREETING: &str = "hello from behind the portcullis\n";
/// Name of the file that holds it.
pub const FILE: &str = "hello.txt";
/// Name of the share.
pub const SHARE: &str = "files";

/// A server process.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Python's web server on this TCP port, for both families.
    pub fn http(lab: &Lab, space: &Space, port: u16) -> Result<Self> {
        let dir = directory(lab, space, "www")?;
        let mut command = Command::new(python());
        command.args(["-m", "http.server", "--bind", "::", "--directory"]).arg(&dir);
        command.arg(port.to_string());
        Self::start(lab, space, "http", command, port)
    }

    /// iperf3's on this TCP port.
    pub fn iperf(space: &Space, port: u16) -> Result<Self> {
        let mut command = Command::new("iperf3");
        command.args(["-s", "-p", &port.to_string()]).stdout(Stdio::null());
        let server = Self { child: space.spawn(command)? };
        // Who tries to connect is taken for a client.
        let listeners = format!("ss -Hltn sport = {port}");
        process::wait_for("iperf3", 10, || {
            space.sh(&listeners).is_ok_and(|list| !list.is_empty())
        })?;
        Ok(server)
    }

    /// OpenSSH's server with keys made for this lab.
    pub fn ssh(lab: &Lab, space: &Space) -> Result<Self> {
        let dir = directory(lab, space, "ssh")?;
        let key = dir.join("host_key");
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
        space.run(keygen, 10)?.success()?;
        // sshd changes its root to this empty directory before it talks to a stranger.
        let empty = Path::new("/run/sshd");
        if !empty.exists() {
            fs::create_dir(empty).map_err(Error::file(empty))?;
        }
        let config = dir.join("sshd_config");
        let text = format!("HostKey {}\nPidFile none\nUsePAM no\n", key.display());
        fs::write(&config, text).map_err(Error::file(&config))?;
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(&config);
        Self::start(lab, space, "ssh", command, 22)
    }

    /// Samba's server with one share that anybody may read.
    pub fn smb(lab: &Lab, space: &Space) -> Result<Self> {
        let files = directory(lab, space, "share")?;
        let state = directory(lab, space, "smb")?;
        let config = state.join("smb.conf");
        fs::write(&config, smb_config(&files, &state)).map_err(Error::file(&config))?;
        let mut command = Command::new("/usr/sbin/smbd");
        command.args(["--foreground", "--no-process-group", "--debug-stdout", "--configfile"]);
        command.arg(&config);
        Self::start(lab, space, "smb", command, 445)
    }

    fn start(
        lab: &Lab,
        space: &Space,
        what: &str,
        mut command: Command,
        port: u16,
    ) -> Result<Self> {
        let path = lab.dir().join(format!("{}-{what}.log", space.name()));
        let log = fs::File::create(&path).map_err(Error::file(&path))?;
        let errors = log.try_clone().map_err(Error::file(&path))?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let line = process::line(&command);
        let mut server = Self { child: space.spawn(command)? };
        let answers = process::wait_for(&format!("{what} server in {}", space.name()), 20, || {
            listens(space, port) || server.child.try_wait().is_ok_and(|status| status.is_some())
        });
        if answers.is_err() || server.child.try_wait().is_ok_and(|status| status.is_some()) {
            let output = fs::read_to_string(&path).unwrap_or_default();
            return Err(Error::Command { command: line, status: "no service".into(), output });
        }
        Ok(server)
    }
}

/// Debian's python, not a wrapper that somebody's PATH may hold.
fn python() -> &'static str {
    if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" }
}

/// A directory of the lab for a server in a space, with the greeting in it.
fn directory(lab: &Lab, space: &Space, name: &str) -> Result<PathBuf> {
    let dir = lab.dir().join(space.name()).join(name);
    fs::create_dir_all(&dir).map_err(Error::file(&dir))?;
    let file = dir.join(FILE);
    fs::write(&file, GREETING).map_err(Error::file(&file))?;
    Ok(dir)
}

fn smb_config(files: &Path, state: &Path) -> String {
    let state = state.display();
    format!(
        "[global]\nserver role = standalone server\nsmb ports = 445\ndisable netbios = yes\n\
         load printers = no\nprintcap name = /dev/null\nguest account = root\n\
         map to guest = Bad User\nlog file = {state}/log\nlock directory = {state}\n\
         state directory = {state}\ncache directory = {state}\npid directory = {state}\n\
         private dir = {state}\nncalrpc dir = {state}/ncalrpc\n\
         [{SHARE}]\npath = {}\nguest ok = yes\nread only = yes\n",
        files.display()
    )
}

/// Does somebody listen on this TCP port inside the namespace?
fn listens(space: &Space, port: u16) -> bool {
    let wait = patience::limit(Duration::from_millis(200));
    let probe = || {
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(TcpStream::connect_timeout(&v6, wait).is_ok()
            || TcpStream::connect_timeout(&v4, wait).is_ok())
    };
    space.enter(probe).unwrap_or(false)
}

/// Sends every UDP datagram back to where it came from, for both families.
#[derive(Debug)]
pub struct UdpEcho {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpEcho {
    /// Starts on this port.
    pub fn start(space: &Space, port: u16) -> Result<Self> {
        let socket = space.enter(|| {
            let socket =
                UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).map_err(Error::system("bind"))?;
            socket
                .set_read_timeout(Some(Duration::from_millis(100)))
                .map_err(Error::system("SO_RCVTIMEO"))?;
            Ok(socket)
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = stop.clone();
            move || echo(&socket, &stop)
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

fn echo(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
