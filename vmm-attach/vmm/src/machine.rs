//! A virtual machine, from its configuration to its end.

use std::{
    io::Write,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
};

use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::{
    acpi, boot,
    boot::registers,
    bus::Bus,
    config::Config,
    cpuid,
    error::{Error, Result},
    layout::{
        IDENTITY_MAP, KEYBOARD, RESET, SERIAL, SERIAL_IRQ, SLEEP, TSS, VIRTIO, VIRTIO_IRQ,
        VIRTIO_SIZE,
    },
    memory::{self, Memory},
    power::{Keyboard, Power},
    serial::Serial,
    vcpu::{Buses, Processors},
    virtio::{Device, block::Block, mmio::Transport, net::Net, rng::Rng},
};

/// How a guest has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It switched itself off.
    Off,
    /// It wants to start anew.
    Reboot,
    /// It cannot go on.
    Failed {
        /// What KVM says.
        what: String,
    },
}

/// A machine whose first instruction is yet to run. It has no threads so far: what binds one
/// ([`crate::sandbox`]) binds those to come.
pub struct Machine {
    vcpus: Vec<VcpuFd>,
    buses: Buses,
    serial: Arc<Mutex<Serial>>,
    sender: Sender<End>,
    ends: Receiver<End>,
    vm: VmFd,
}

/// A guest that runs, or can.
pub struct Running {
    // First: processors stop before what they use goes away.
    processors: Processors,
    serial: Arc<Mutex<Serial>>,
    ends: Mutex<Receiver<End>>,
    _vm: VmFd,
}

/// What is being put together.
struct Board {
    vm: VmFd,
    memory: Memory,
    ports: Bus,
    mmio: Bus,
    devices: usize,
}

impl Machine {
    /// Makes a machine, and opens all that it needs. Its guest's console writes to `console`.
    pub fn new(config: Config, console: Box<dyn Write + Send>) -> Result<Self> {
        config.check()?;
        let kvm = Kvm::new().map_err(|source| Error::NoKvm { source })?;
        let (sender, ends) = mpsc::channel();
        let mut board = Board::new(&kvm, config.memory_mib)?;
        let entry = boot::load(&board.memory, &config)?;
        let serial = board.add_ports(console, &sender)?;
        let processors = config.processors;
        board.add_devices(config)?;
        acpi::write(&board.memory, processors, board.devices)?;
        let vcpus = board.processors(&kvm, processors, entry)?;
        let buses = Buses { ports: Arc::new(board.ports), memory: Arc::new(board.mmio) };
        Ok(Self { vcpus, buses, serial, sender, ends, vm: board.vm })
    }

    /// Starts its processors; the guest waits to be [resumed](Running::resume).
    pub fn start(self) -> Result<Running> {
        let Self { vcpus, buses, serial, sender, ends, vm } = self;
        let processors = Processors::new(vcpus, &buses, &sender)?;
        Ok(Running { processors, serial, ends: Mutex::new(ends), _vm: vm })
    }
}

impl Running {
    /// Lets the guest run.
    pub fn resume(&self) {
        self.processors.resume();
    }

    /// Stops it; returns when it stands still.
    pub fn pause(&self) {
        self.processors.pause();
    }

    /// Types into its console; how many of the bytes it took.
    pub fn type_in(&self, bytes: &[u8]) -> usize {
        let mut serial = self.serial.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = bytes.len().min(serial.room());
        serial.type_in(&bytes[..taken]);
        taken
    }

    /// Waits until the guest ends.
    pub fn wait(&self) -> End {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.recv().unwrap_or(End::Failed { what: "no processor is left".into() })
    }
}

impl Board {
    fn new(kvm: &Kvm, memory_mib: u32) -> Result<Self> {
        let vm = kvm.create_vm().map_err(Error::kvm("making a machine"))?;
        vm.set_tss_address(TSS).map_err(Error::kvm("a place for its task state"))?;
        vm.set_identity_map_address(IDENTITY_MAP).map_err(Error::kvm("a place for its map"))?;
        vm.create_irq_chip().map_err(Error::kvm("interrupt controllers"))?;
        let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..kvm_pit_config::default() };
        vm.create_pit2(pit).map_err(Error::kvm("a timer"))?;
        let memory = memory::create(&vm, memory_mib)?;
        Ok(Self { vm, memory, ports: Bus::default(), mmio: Bus::default(), devices: 0 })
    }

    fn interrupt(&self, number: u32) -> Result<EventFd> {
        let line = EventFd::new(EFD_NONBLOCK).map_err(Error::system("an eventfd"))?;
        self.vm.register_irqfd(&line, number).map_err(Error::kvm("an interrupt"))?;
        Ok(line)
    }

    fn add_ports(
        &mut self,
        console: Box<dyn Write + Send>,
        ends: &Sender<End>,
    ) -> Result<Arc<Mutex<Serial>>> {
        let serial = Serial::new(self.interrupt(SERIAL_IRQ)?, console);
        let serial = Arc::new(Mutex::new(serial));
        self.ports.add(SERIAL, 8, Arc::clone(&serial) as _);
        self.ports.add(SLEEP, RESET - SLEEP + 1, Arc::new(Mutex::new(Power(ends.clone()))));
        self.ports.add(KEYBOARD, 5, Arc::new(Mutex::new(Keyboard(ends.clone()))));
        Ok(serial)
    }

    fn add_devices(&mut self, config: Config) -> Result<()> {
        for nic in config.nics {
            let nic = Net::new(nic).map_err(Error::system("a network card's tap"))?;
            self.add(Box::new(nic))?;
        }
        for disk in config.disks {
            let disk = Block::new(disk).map_err(Error::system("a disk"))?;
            self.add(Box::new(disk))?;
        }
        let rng = Rng::new().map_err(Error::system("a source of entropy"))?;
        self.add(Box::new(rng))
    }

    fn add(&mut self, device: Box<dyn Device>) -> Result<()> {
        let start = VIRTIO + VIRTIO_SIZE * self.devices as u64;
        let line = self.interrupt(VIRTIO_IRQ + self.devices as u32)?;
        let transport = Transport::new(device, self.memory.clone(), line);
        let transport = transport.map_err(Error::system("an eventfd"))?;
        transport.register(&self.vm, start).map_err(Error::kvm("a device's doorbell"))?;
        self.mmio.add(start, VIRTIO_SIZE, Arc::new(Mutex::new(transport)));
        self.devices += 1;
        Ok(())
    }

    /// The first one begins at `entry`; the others wait until it wakes them.
    fn processors(&self, kvm: &Kvm, count: u8, entry: boot::Entry) -> Result<Vec<VcpuFd>> {
        let supported = cpuid::supported(kvm)?;
        let mut all = Vec::with_capacity(count.into());
        for id in 0..count {
            let vcpu = self.vm.create_vcpu(id.into()).map_err(Error::kvm("making a processor"))?;
            cpuid::set(&vcpu, &supported, id)?;
            if id == 0 {
                registers::set_msrs(&vcpu)?;
                registers::set(&vcpu, &self.memory, entry)?;
            }
            all.push(vcpu);
        }
        Ok(all)
    }
}
