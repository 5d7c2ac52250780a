//! Guests under QEMU on a tap port and on a vhost-user port, beside one in a namespace and one of our
//! own monitor: between kinds of guests there is no difference, and what dies in between comes back.

use std::{
    cell::RefCell,
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use portcullis_lab::{
    Error, Result,
    patience::limit_seconds,
    probe::Probe,
    process::wait_for,
    qemu::{self, Plug, Qemu},
    server::Server,
    small::Small,
    vm::{self, Vm},
    world::Nic,
};

/// Four guests of one network: on a tap, on vhost-user, in a namespace, in our own monitor.
const INVENTORY: &str = "\
networks:
  red: { vlan: 10, subnets: [10.1.0.0/24, 'fd01::/64'], gateway: true }
guests:
  r1: { network: red, ip: [10.1.0.11, 'fd01::11'] }
  r2: { network: red, ip: [10.1.0.12, 'fd01::12'] }
  r3: { network: red, ip: [10.1.0.13, 'fd01::13'] }
  r4: { network: red, ip: [10.1.0.14, 'fd01::14'] }
rules:
";
const WEB: &str = "{ name: web, allow: { from: red, to: red, for: [ping, http] } }";
/// One way only, to either kind of port of a QEMU.
const TO_VHOST: &str = "{ name: to-vhost, allow: { from: r1, to: r2, for: tcp/81 } }";
const TO_TAP: &str = "{ name: to-tap, allow: { from: r3, to: r1, for: tcp/81 } }";
const GUESTS: [&str; 4] = ["r1", "r2", "r3", "r4"];
/// Name and bytes of the file that is fetched from a web server (`tests/lab/qemu/agent`).
const BULK: (&str, usize) = ("bulk", 8 << 20);
/// Frames over this on average are super-packets.
const ORDINARY: u64 = 1514;

/// The host and its guests.
struct World {
    qemus: [RefCell<Qemu>; 2],
    own: RefCell<Vm>,
    directory: PathBuf,
    _server: Server,
    small: Small,
}

fn address(guest: &str, v6: bool) -> IpAddr {
    let number = &guest[1..];
    let text = if v6 { format!("fd01::1{number}") } else { format!("10.1.0.1{number}") };
    text.parse().unwrap()
}

fn apply(small: &Small, rules: &[&str]) {
    let rules: String = rules.iter().map(|rule| format!("  - {rule}\n")).collect();
    let file = small.lab.file("policy.yaml", &format!("{INVENTORY}{rules}")).unwrap();
    small.host.apply(&file).unwrap();
}

/// Starts one of QEMU's guests: r1 on its tap, r2 on its socket.
fn start(small: &Small, directory: &Path, guest: &str) -> Qemu {
    let port = format!("q-{guest}");
    let plug = match guest {
        "r1" => Plug::Tap(port.clone()),
        _ => Plug::Vhost(small.host.vhost_socket(&port)),
    };
    let mac = small.host.status().unwrap().port(&port).unwrap()["mac"].clone();
    let addresses = format!("{}/24,{}/64", address(guest, false), address(guest, true));
    Qemu::start(&small.host, directory, &plug, mac.as_str().unwrap(), &addresses).unwrap()
}

impl World {
    fn new(directory: PathBuf) -> Self {
        let mut small = Small::new("pqu").unwrap();
        apply(&small, &[WEB, TO_VHOST, TO_TAP]);
        for (kind, guest) in [("tap", "r1"), ("vhost-user", "r2")] {
            let port = format!("q-{guest}");
            small.host.portcullis(&["attach", kind, &port, "--guest", guest]).unwrap();
        }
        // They boot meanwhile.
        let qemus = ["r1", "r2"].map(|guest| RefCell::new(start(&small, &directory, guest)));
        small.attach("r3", Nic::Veth).unwrap();
        let own = RefCell::new(Vm::start(&small.host, "r4", "").unwrap());
        let server = Server::http(&small.lab, small.space("r3"), 80).unwrap();
        let served = small.lab.dir().join(small.space("r3").name()).join("www").join(BULK.0);
        fs::write(served, vec![0; BULK.1]).unwrap();
        assert_eq!(own.borrow().address().unwrap(), "10.1.0.14/24");
        let world = Self { qemus, own, directory, _server: server, small };
        world.serve();
        world
    }

    /// Waits until QEMU's guests have booted.
    fn serve(&self) {
        for qemu in &self.qemus {
            println!("{}", qemu.borrow().serves().unwrap());
        }
    }

    fn qemu(&self, guest: &str) -> Option<&RefCell<Qemu>> {
        let at = ["r1", "r2"].iter().position(|name| *name == guest)?;
        Some(&self.qemus[at])
    }

    fn tries(&self, from: &str, probe: Probe, to: &str, v6: bool) -> Result<bool> {
        let to = address(to, v6);
        match (self.qemu(from), from) {
            (Some(qemu), _) => qemu.borrow_mut().tries(probe, to),
            (None, "r4") => self.own.borrow_mut().tries(probe, to),
            (None, _) => probe.reaches(self.small.space(from), to),
        }
    }

    /// Everybody reaches everybody, in both families.
    fn all_pairs(&self, probe: Probe) {
        for (from, to) in pairs() {
            for v6 in [false, true] {
                assert!(
                    self.tries(from, probe, to, v6).unwrap(),
                    "{probe} {from} to {to}, v6 {v6}"
                );
            }
        }
    }

    /// Is r2's QEMU on its socket?
    fn is_connected(&self) -> bool {
        self.small.host.status().unwrap().port("q-r2").unwrap()["vhost"]["connected"] == true
    }
}

fn pairs() -> Vec<(&'static str, &'static str)> {
    let to = |from| GUESTS.into_iter().filter(move |to| *to != from).map(move |to| (from, to));
    GUESTS.into_iter().flat_map(to).collect()
}

/// Packets and bytes that a guest's driver has taken.
fn received(guest: &mut Qemu) -> [u64; 2] {
    let path = |what| format!("/sys/class/net/eth0/statistics/rx_{what}");
    ["packets", "bytes"].map(|what| guest.number(&path(what)).unwrap())
}

/// A file in one piece, from each of the three who serve one to each who can take it.
fn bulk(world: &World) {
    let r3 = world.small.space("r3");
    for v6 in [false, true] {
        for (from, to) in [("r1", "r2"), ("r2", "r1"), ("r3", "r1"), ("r3", "r2")] {
            let mut taker = world.qemu(to).unwrap().borrow_mut();
            let before = received(&mut taker);
            assert_eq!(taker.fetches(address(from, v6), BULK.0).unwrap(), BULK.1 as u64);
            let [packets, bytes] = received(&mut taker);
            let mean = (bytes - before[1]) / (packets - before[0]);
            assert!(mean > ORDINARY, "{from} to {to}, v6 {v6}: frames of {mean} bytes");
        }
        for from in ["r1", "r2"] {
            let url = format!("http://{}/{}", SocketAddr::new(address(from, v6), 80), BULK.0);
            let curl = format!("curl -sg --noproxy * -o /dev/null -w %{{size_download}} {url}");
            assert_eq!(r3.sh(&curl).unwrap(), BULK.1.to_string(), "{from}");
        }
    }
    for guest in ["r1", "r2"] {
        let mut qemu = world.qemu(guest).unwrap().borrow_mut();
        // The last of the numbers of TCP: `InCsumErrors`.
        let (_, said) = qemu.order("grep Tcp: /proc/net/snmp").unwrap();
        assert!(said.contains("InCsumErrors") && said.ends_with(" 0"), "{said}");
    }
    assert_eq!(r3.counted(&["TcpInCsumErrors"]).unwrap(), 0);
}

/// What is allowed one way is allowed that way only.
fn one_way(world: &World) {
    let asks = |from: &str, to: &str, v6| world.tries(from, Probe::Tcp(81), to, v6).unwrap();
    assert!(asks("r1", "r2", false) && asks("r3", "r1", true));
    for (from, to, v6) in [
        ("r2", "r1", false),
        ("r2", "r1", true),
        ("r3", "r2", true),
        ("r4", "r2", false),
        ("r4", "r1", true),
    ] {
        let before = world.small.host.status().unwrap().drops("no-rule");
        assert!(!asks(from, to, v6), "{from} to {to}");
        assert!(world.small.host.status().unwrap().drops("no-rule") > before, "{from} to {to}");
    }
}

/// Fetches the file from r2 for as long as something else goes on, and then to its end.
struct Download {
    taken: AtomicU64,
    hurry: AtomicBool,
}

impl Download {
    /// How long it waits between two reads: frames flow all the time.
    const PACE: Duration = Duration::from_millis(10);

    fn run(&self, mut stream: TcpStream) -> Result<u64> {
        let limit = Some(Duration::from_secs(limit_seconds(20)));
        stream.set_read_timeout(limit).map_err(Error::system("SO_RCVTIMEO"))?;
        let request = format!("GET /{} HTTP/1.0\r\n\r\n", BULK.0);
        stream.write_all(request.as_bytes()).map_err(Error::system("asking"))?;
        let mut buffer = vec![0; 16 << 10];
        loop {
            let bytes = stream.read(&mut buffer).map_err(Error::system("reading on"))?;
            if bytes == 0 {
                return Ok(self.taken.load(Ordering::Relaxed));
            }
            self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
            if !self.hurry.load(Ordering::Relaxed) {
                thread::sleep(Self::PACE);
            }
        }
    }
}

/// Daemon and engine are killed while a connection of r2 is in use: it goes on.
fn under_traffic(world: &World) {
    let host = &world.small.host;
    let to = SocketAddr::new(address("r2", false), 80);
    let connect = || TcpStream::connect(to).map_err(Error::system("connect"));
    let stream = world.small.space("r3").enter(connect).unwrap();
    let download = Download { taken: AtomicU64::new(0), hurry: AtomicBool::new(false) };
    let goes_on = |what: &str| {
        let before = download.taken.load(Ordering::Relaxed);
        let far = || download.taken.load(Ordering::Relaxed) > before + (64 << 10);
        wait_for(what, limit_seconds(10), far).unwrap();
    };
    let taken = thread::scope(|scope| {
        let running = scope.spawn(|| download.run(stream));
        goes_on("the first bytes");
        host.kill_daemon().unwrap();
        goes_on("bytes without a daemon");
        host.up().unwrap();
        let engine = host.engine();
        host.kill_engine().unwrap();
        wait_for("QEMU on a new engine", limit_seconds(10), || {
            host.engine() != engine && world.is_connected()
        })
        .unwrap();
        goes_on("bytes through a new engine");
        download.hurry.store(true, Ordering::Relaxed);
        running.join().unwrap().unwrap()
    });
    assert!(taken > BULK.1 as u64, "the file, and what is said of it: {taken}");
}

/// QEMU is killed, and started again on the same ports.
fn killed_and_started_again(world: &World) {
    for (guest, qemu) in ["r1", "r2"].into_iter().zip(&world.qemus) {
        let again = {
            qemu.borrow_mut().kill();
            start(&world.small, &world.directory, guest)
        };
        *qemu.borrow_mut() = again;
    }
    world.serve();
    wait_for("QEMU on its socket", limit_seconds(5), || world.is_connected()).unwrap();
    world.all_pairs(Probe::Ping);
    assert!(world.tries("r1", Probe::Http, "r2", true).unwrap());
}

#[test]
fn between_kinds_of_guests_there_is_no_difference_and_what_dies_comes_back() {
    let Some(directory) = qemu::guest().filter(|_| vm::possible()) else {
        println!("nothing is tested: {} names no kernel, or there is no /dev/kvm", qemu::DIRECTORY);
        return;
    };
    let world = World::new(directory);
    world.all_pairs(Probe::Ping);
    world.all_pairs(Probe::Http);
    bulk(&world);
    one_way(&world);
    under_traffic(&world);
    killed_and_started_again(&world);
    // What is revoked is revoked for all of them.
    apply(&world.small, &[TO_VHOST, TO_TAP]);
    for (from, to) in [("r1", "r2"), ("r2", "r1"), ("r4", "r2")] {
        assert!(!world.tries(from, Probe::Ping, to, false).unwrap(), "{from} to {to}");
    }
    assert!(world.tries("r1", Probe::Tcp(81), "r2", false).unwrap());
}
