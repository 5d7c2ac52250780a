//! The network stack, and everything that speaks over it.

use core::fmt;

use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet, SocketStorage},
    socket::dhcpv4,
    time::Duration,
    wire::{EthernetAddress, IpAddress, IpCidr, Ipv4Cidr},
};

use crate::{
    caller::Caller,
    clock, cpu, lie,
    neighbours::{self, Neighbours},
    nic::Nic,
    order::Order,
    parameters::Parameters,
    room::Room,
    say,
    services::Services,
};

/// Room for all sockets of the services, the caller's and DHCP's.
const SOCKETS: usize = 24;
/// A question to DHCP is repeated after so long at first: the port may be closed until now.
const DHCP_AGAIN: Duration = Duration::from_secs(1);
/// The processor looks around at least so often.
const REST: Duration = Duration::from_secs(4);

/// Frames between two looks at everything else.
const AT_ONCE: usize = 16;

static STORAGE: Room<[SocketStorage<'static>; SOCKETS]> =
    Room::new([SocketStorage::EMPTY; SOCKETS]);

/// All of it.
pub struct Stack {
    nic: Nic,
    interface: Interface,
    sockets: SocketSet<'static>,
    dhcp: Option<SocketHandle>,
    services: Services,
    neighbours: Neighbours,
    /// Who calls others.
    pub caller: Caller,
}

impl Stack {
    /// A stack with the addresses of the command line; without one of IPv4, DHCP is asked.
    pub fn new(mut nic: Nic, parameters: &Parameters) -> Self {
        let mut config = Config::new(EthernetAddress(nic.mac).into());
        let [a, b, c, d, e, f] = nic.mac;
        config.random_seed = cpu::ticks() ^ u64::from_be_bytes([a, b, c, d, e, f, 0, 0]);
        let mut interface = Interface::new(config, &mut nic, clock::now());
        interface.update_ip_addrs(|all| {
            for address in parameters.addresses() {
                // More than there is room for are not needed.
                let _ = all.push(address);
            }
        });
        for gateway in parameters.gateways() {
            let routes = interface.routes_mut();
            // There is room for one of each family.
            let _ = match gateway {
                IpAddress::Ipv4(gateway) => routes.add_default_ipv4_route(gateway),
                IpAddress::Ipv6(gateway) => routes.add_default_ipv6_route(gateway),
            };
        }
        let mut sockets = SocketSet::new(&mut STORAGE.take()[..]);
        let services = Services::start(parameters, &mut sockets);
        let caller = Caller::new(&mut sockets);
        let dhcp = interface.ipv4_addr().is_none().then(|| {
            let mut socket = dhcpv4::Socket::new();
            let mut again = socket.get_retry_config();
            again.discover_timeout = DHCP_AGAIN;
            again.initial_request_timeout = DHCP_AGAIN;
            socket.set_retry_config(again);
            sockets.add(socket)
        });
        let neighbours = Neighbours::new();
        Self { nic, interface, sockets, dhcp, services, neighbours, caller }
    }

    /// Our address on the wire, as the policy writes it.
    pub fn mac(&self) -> impl fmt::Display + use<> {
        let mac = self.nic.mac;
        fmt::from_fn(move |f| {
            let parts = mac.iter().enumerate();
            parts
                .map(|(n, byte)| write!(f, "{}{byte:02x}", if n == 0 { "" } else { ":" }))
                .collect()
        })
    }

    /// Does all that can be done now.
    pub fn work(&mut self) {
        let now = clock::now();
        let Self { nic, interface, sockets, neighbours, .. } = self;
        // Some at a time: what is to be sent may be an answer to them.
        for _ in 0..AT_ONCE {
            let Some(frame) = nic.next() else { break };
            if let Some(news) = neighbours.learn(frame, interface, now) {
                nic.tell(news);
                interface.poll_ingress_single(now, nic, sockets);
            }
            interface.poll_ingress_single(now, nic, sockets);
        }
        self.configure();
        self.services.serve(&mut self.sockets);
        self.caller.go_on(&mut self.sockets);
        self.interface.poll_egress(now, &mut self.nic, &mut self.sockets);
    }

    /// Does what DHCP says.
    fn configure(&mut self) {
        let Some(dhcp) = self.dhcp else { return };
        let Some(event) = self.sockets.get_mut::<dhcpv4::Socket<'_>>(dhcp).poll() else { return };
        let (address, router) = match event {
            dhcpv4::Event::Configured(config) => (Some(config.address), config.router),
            dhcpv4::Event::Deconfigured => (None, None),
        };
        self.interface.update_ip_addrs(|all| {
            all.retain(|address| matches!(address, IpCidr::Ipv6(_)));
            // The command line has at most two.
            let _ = address.map(|address| all.push(address.into()));
        });
        // With an address the stack forgets whom it knew.
        self.neighbours = Neighbours::new();
        let routes = self.interface.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(router) = router {
            // There is room: the old one has gone.
            let _ = routes.add_default_ipv4_route(router);
        }
        if let Some(address) = address {
            self.say_address(address);
        }
    }

    fn say_address(&self, address: Ipv4Cidr) {
        let ms = clock::now_ns() / 1_000_000;
        say!("\"event\":\"address\",\"address\":\"{address}\",\"ms\":{ms}");
    }

    /// Waits until there is something to do.
    pub fn rest(&mut self) {
        let now = clock::now();
        let mut delay = self.interface.poll_delay(now, &self.sockets).unwrap_or(REST).min(REST);
        if let Some(end) = self.caller.end() {
            delay = delay.min(if end > now { end - now } else { Duration::ZERO });
        }
        self.nic.settle();
        if delay > Duration::ZERO && self.nic.next().is_none() {
            cpu::wait(delay.total_micros());
        }
    }

    /// Does what somebody wants, other than to end.
    pub fn obey(&mut self, order: Order) {
        match order {
            Order::Call(call) => {
                let question = neighbours::question(&self.interface, call.to());
                if let Some(question) = question {
                    // Without room the stack asks.
                    self.nic.send(&question);
                }
                self.caller.call(call, &mut self.interface, &mut self.sockets);
                self.caller.go_on(&mut self.sockets);
            }
            Order::Spoof(what) => {
                let own = |to: &IpAddress| self.interface.get_source_address(to);
                let frame = lie::frame(what, EthernetAddress(self.nic.mac), own);
                let sent = frame.is_some_and(|frame| self.nic.send(&frame));
                say!("\"order\":\"spoof\",\"sent\":{sent}");
            }
            Order::Wait(ms) => {
                self.caller.patience = Duration::from_millis(ms);
                say!("\"order\":\"wait\",\"ms\":{ms}");
            }
            Order::Silent(silent) => {
                self.nic.be_silent(silent);
                say!("\"order\":\"silent\",\"silent\":{silent}");
            }
            Order::Status => self.say_status(),
            // Whoever gives orders has taken care of these.
            Order::Off | Order::Reboot => {}
        }
    }

    fn say_status(&self) {
        let ms = clock::now_ns() / 1_000_000;
        let [received, sent] = self.nic.frames();
        let (mac, addresses) = (self.mac(), List(self.interface.ip_addrs()));
        say!(
            "\"order\":\"status\",\"mac\":\"{mac}\",\"addresses\":[{addresses}],\
             \"received\":{received},\"sent\":{sent},\"ms\":{ms}"
        );
    }
}

/// Addresses, as elements of a JSON array.
struct List<'a>(&'a [IpCidr]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, address) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}\"{address}\"")?;
        }
        Ok(())
    }
}
