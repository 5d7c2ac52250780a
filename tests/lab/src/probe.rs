//! Real clients, each with a limit on its time: does it get through?

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    process::Command,
    time::Duration,
};

use crate::{
    Error, Result, Space, patience,
    server::{FILE, GREETING, SHARE},
};

/// What somebody tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `ping`, one echo.
    Ping,
    /// `curl` fetches the greeting from the web server on port 80.
    Http,
    /// `ssh-keyscan` speaks the protocol up to the server's key.
    Ssh,
    /// `smbclient` reads the greeting from the share.
    Smb,
    /// A datagram to this port, and its echo.
    Udp(u16),
    /// A TCP connection to this port.
    Tcp(u16),
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ping => f.write_str("ping"),
            Self::Http => f.write_str("http"),
            Self::Ssh => f.write_str("ssh"),
            Self::Smb => f.write_str("smb"),
            Self::Udp(port) => write!(f, "udp/{port}"),
            Self::Tcp(port) => write!(f, "tcp/{port}"),
        }
    }
}

/// Ports of what [`Probe::plain`] makes a connection of.
pub const SSH: u16 = 22;
/// Likewise.
pub const SMB: u16 = 445;

/// How long a client waits for an answer.
fn wait() -> Duration {
    patience::silence(Duration::from_millis(1000))
}

/// The same in whole seconds, as words of a command.
fn seconds(native: u32) -> String {
    patience::silence(Duration::from_secs(native.into())).as_secs().to_string()
}

impl Probe {
    /// Tries it from inside `space`: did the answer come?
    pub fn reaches(self, space: &Space, to: IpAddr) -> Result<bool> {
        match self {
            Self::Ping => ping(space, to),
            Self::Http => http(space, to),
            Self::Ssh => ssh(space, to),
            Self::Smb => smb(space, to),
            Self::Udp(port) => udp(space, to, port),
            Self::Tcp(port) => tcp(space, to, port),
        }
    }

    /// The same for guests that have no such server: a connection to its port.
    pub fn plain(self) -> Self {
        match self {
            Self::Ssh => Self::Tcp(SSH),
            Self::Smb => Self::Tcp(SMB),
            other => other,
        }
    }

    /// The name by which `portcullis explain --service` knows it. Echo is one service for both
    /// families.
    pub fn service(self) -> String {
        self.to_string()
    }
}

fn ping(space: &Space, to: IpAddr) -> Result<bool> {
    let mut command = Command::new("ping");
    command.args(["-n", "-q", "-c", "1", "-W", &seconds(1), &to.to_string()]);
    Ok(space.run(command, 5)?.code() == 0)
}

fn http(space: &Space, to: IpAddr) -> Result<bool> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--noproxy", "*", "--globoff", "--connect-timeout"]);
    command.arg(seconds(1));
    command.args([
        "--max-time",
        &seconds(4),
        &format!("http://{}/{FILE}", SocketAddr::new(to, 80)),
    ]);
    let output = space.run(command, 10)?;
    Ok(output.code() == 0 && output.stdout == GREETING)
}

fn ssh(space: &Space, to: IpAddr) -> Result<bool> {
    let mut command = Command::new("ssh-keyscan");
    command.args(["-T", &seconds(1), "-t", "ed25519", &to.to_string()]);
    Ok(space.run(command, 10)?.stdout.contains("ssh-ed25519"))
}

fn smb(space: &Space, to: IpAddr) -> Result<bool> {
    // smbclient has no limit on the time that a connection may take to come about.
    if !tcp(space, to, SMB)? {
        return Ok(false);
    }
    let mut command = Command::new("smbclient");
    command.args([&format!("//guest/{SHARE}"), "-I", &to.to_string(), "-N", "-t", &seconds(4)]);
    command.args(["-s", "/dev/null", "-c", &format!("get {FILE} -")]);
    let output = space.run(command, 15)?;
    Ok(output.code() == 0 && output.stdout.contains(GREETING.trim_end()))
}

fn tcp(space: &Space, to: IpAddr, port: u16) -> Result<bool> {
    let to = SocketAddr::new(to, port);
    space.enter(|| Ok(TcpStream::connect_timeout(&to, wait()).is_ok()))
}

fn udp(space: &Space, to: IpAddr, port: u16) -> Result<bool> {
    space.enter(|| {
        let any: IpAddr = if to.is_ipv6() {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((any, 0)).map_err(Error::system("bind"))?;
        socket.connect((to, port)).map_err(Error::system("connect"))?;
        socket.set_read_timeout(Some(wait() / 2)).map_err(Error::system("SO_RCVTIMEO"))?;
        let mut buffer = [0; 64];
        for question in [b"first", b"again"] {
            // A refusal of the first shows as an error of the second: both mean no.
            let sent = socket.send(question);
            if sent.is_ok() && socket.recv(&mut buffer).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    })
}
