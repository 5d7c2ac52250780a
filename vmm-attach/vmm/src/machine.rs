//! A virtual machine, from its configuration to its end.

use std::{
    fs::File,
    io::Write,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
};

use kvm_bindings::{CpuId, KVM_PIT_SPEAKER_DUMMY, kvm_pit_config};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::{
    acpi, boot,
    boot::registers,
    bus::Bus,
    config::{Back, Config, Disk, Nic, Start},
    cpuid,
    error::{Error, Result},
    layout::{
        IDENTITY_MAP, KEYBOARD, RESET, SERIAL, SERIAL_IRQ, SLEEP, TSS, VIRTIO, VIRTIO_IRQ,
        VIRTIO_SIZE,
    },
    memory::{self, Memory},
    power::{Keyboard, Power},
    serial::{self, Serial},
    snapshot::{Snapshot, State, chips, processor},
    vcpu::{Buses, Processors},
    virtio::{
        Device,
        block::Block,
        mmio::Transport,
        net::{Net, VhostNet},
        rng::Rng,
    },
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
    parts: Parts,
    sender: Sender<End>,
    ends: Receiver<End>,
}

/// A guest that runs, or can.
pub struct Running {
    // First: processors stop before what they use goes away.
    processors: Processors,
    parts: Parts,
    ends: Mutex<Receiver<End>>,
}

/// A virtual processor, and what it was told that it can.
type Vcpu = (VcpuFd, CpuId);

/// What a machine has beside its processors.
struct Parts {
    vm: VmFd,
    memory: Memory,
    memory_mib: u32,
    serial: Arc<Mutex<Serial>>,
    devices: Vec<Arc<Mutex<Transport>>>,
    /// What each processor was told that it can.
    abilities: Vec<CpuId>,
    /// Model-specific registers that a processor may have.
    specific: Vec<u32>,
}

/// What is being put together.
struct Board {
    vm: VmFd,
    memory: Memory,
    ports: Bus,
    mmio: Bus,
    devices: Vec<Arc<Mutex<Transport>>>,
}

impl Machine {
    /// Makes a machine, and opens all that it needs. Its guest's console writes to `console`.
    pub fn new(config: Config, console: Box<dyn Write + Send>) -> Result<Self> {
        config.check()?;
        let kvm = Kvm::new().map_err(|source| Error::NoKvm { source })?;
        let (sender, ends) = mpsc::channel();
        let Config { start, processors, memory_mib, nics, disks } = config;
        let shared = nics.iter().any(|nic| matches!(nic.back, Back::VhostUser(_)));
        let mut board = Board::new(&kvm, memory_mib, shared)?;
        let state = match &start {
            Start::Kernel(_) => None,
            Start::Snapshot(snapshot) => Some(&snapshot.state),
        };
        let serial = board.add_ports(console, &sender, state.map(|state| &state.serial))?;
        board.add_devices(nics, disks)?;
        let vcpus = match &start {
            Start::Kernel(kernel) => {
                let entry = boot::load(&board.memory, memory_mib, kernel, board.devices.len())?;
                acpi::write(&board.memory, processors, board.devices.len())?;
                board.processors(&kvm, processors, entry)?
            }
            Start::Snapshot(snapshot) => board.restore(&kvm, snapshot)?,
        };
        let specific = kvm.get_msr_index_list().map_err(Error::kvm("asking for its registers"))?;
        let specific = specific.as_slice().to_vec();
        let Board { vm, memory, ports, mmio, devices } = board;
        let buses = Buses { ports: Arc::new(ports), memory: Arc::new(mmio) };
        let (vcpus, abilities) = vcpus.into_iter().unzip();
        let parts = Parts { vm, memory, memory_mib, serial, devices, abilities, specific };
        Ok(Self { vcpus, buses, parts, sender, ends })
    }

    /// Starts its processors; the guest waits to be [resumed](Running::resume).
    pub fn start(self) -> Result<Running> {
        let Self { vcpus, buses, parts, sender, ends } = self;
        let processors = Processors::new(vcpus, &buses, &sender)?;
        Ok(Running { processors, parts, ends: Mutex::new(ends) })
    }
}

impl Running {
    /// Lets the guest run.
    pub fn resume(&self) {
        self.parts.devices(Transport::go_on);
        self.processors.resume();
    }

    /// Stops it; returns when it stands still, and its devices with it.
    pub fn pause(&self) {
        self.processors.pause();
        self.parts.devices(Transport::stand_still);
    }

    /// What it is, all but its memory; it stands still then.
    pub fn state(&self) -> Result<State> {
        self.pause();
        let mut abilities = self.parts.abilities.iter();
        let save = |vcpu: &VcpuFd| {
            let own = abilities.next().expect("each has its own");
            processor::save(vcpu, own, &self.parts.specific)
        };
        Ok(State::new(
            self.parts.memory_mib,
            self.processors.each(save)?,
            chips::save(&self.parts.vm)?,
            lock(&self.parts.serial).save(),
            self.parts.devices(|device| device.save()),
        ))
    }

    /// Writes what is in its memory into a file that is empty so far; it stands still then.
    pub fn save_memory(&self, file: &File) -> Result<()> {
        self.pause();
        memory::save(&self.parts.memory, file).map_err(Error::system("writing its memory"))
    }

    /// From now on it is known which pages are written.
    ///
    /// # Errors
    /// If KVM refuses, or somebody outside this process writes some of them.
    pub fn track(&self) -> Result<()> {
        if self.parts.devices(|device| device.is_foreign()).contains(&true) {
            let what = "which pages are written is only known of guests whose NICs are taps";
            return Err(Error::Config { what: what.into() });
        }
        memory::track(&self.parts.vm, &self.parts.memory)
    }

    /// Pages (of [`memory::PAGE`] bytes, by physical address) that were written since it was asked last, or
    /// since they are [tracked](Self::track): by the guest, and by its devices.
    pub fn written(&self) -> Result<Vec<u64>> {
        memory::written(&self.parts.vm, &self.parts.memory)
    }

    /// Types into its console; how many of the bytes it took.
    pub fn type_in(&self, bytes: &[u8]) -> usize {
        let mut serial = lock(&self.parts.serial);
        let taken = bytes.len().min(serial.room());
        serial.type_in(&bytes[..taken]);
        taken
    }

    /// Waits until the guest ends.
    pub fn wait(&self) -> End {
        lock(&self.ends).recv().unwrap_or(End::Failed { what: "no processor is left".into() })
    }
}

impl Parts {
    /// Does something with each device.
    fn devices<T>(&self, mut work: impl FnMut(&mut Transport) -> T) -> Vec<T> {
        self.devices.iter().map(|device| work(&mut lock(device))).collect()
    }
}

/// What somebody left who panicked is as good as what was there before.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    fn new(kvm: &Kvm, memory_mib: u32, shared: bool) -> Result<Self> {
        let vm = kvm.create_vm().map_err(Error::kvm("making a machine"))?;
        vm.set_tss_address(TSS).map_err(Error::kvm("a place for its task state"))?;
        vm.set_identity_map_address(IDENTITY_MAP).map_err(Error::kvm("a place for its map"))?;
        vm.create_irq_chip().map_err(Error::kvm("interrupt controllers"))?;
        let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..kvm_pit_config::default() };
        vm.create_pit2(pit).map_err(Error::kvm("a timer"))?;
        let memory = memory::create(&vm, memory_mib, shared)?;
        Ok(Self { vm, memory, ports: Bus::default(), mmio: Bus::default(), devices: Vec::new() })
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
        was: Option<&serial::State>,
    ) -> Result<Arc<Mutex<Serial>>> {
        let line = self.interrupt(SERIAL_IRQ)?;
        let serial = match was {
            None => Serial::new(line, console),
            Some(was) => Serial::restored(line, console, was)?,
        };
        let serial = Arc::new(Mutex::new(serial));
        self.ports.add(SERIAL, 8, Arc::clone(&serial) as _);
        self.ports.add(SLEEP, RESET - SLEEP + 1, Arc::new(Mutex::new(Power(ends.clone()))));
        self.ports.add(KEYBOARD, 5, Arc::new(Mutex::new(Keyboard(ends.clone()))));
        Ok(serial)
    }

    fn add_devices(&mut self, nics: Vec<Nic>, disks: Vec<Disk>) -> Result<()> {
        for nic in nics {
            let Nic { back, mac, mtu } = nic;
            let device: Box<dyn Device> = match back {
                Back::Tap(taps) => {
                    let nic = Net::new(taps, mac, mtu);
                    Box::new(nic.map_err(Error::system("a network card's tap"))?)
                }
                Back::VhostUser(connect) => {
                    let nic = VhostNet::new(connect, mac, mtu);
                    Box::new(nic.map_err(Error::system("a network card's vhost-user port"))?)
                }
            };
            self.add(device)?;
        }
        for disk in disks {
            let disk = Block::new(disk).map_err(Error::system("a disk"))?;
            self.add(Box::new(disk))?;
        }
        let rng = Rng::new().map_err(Error::system("a source of entropy"))?;
        self.add(Box::new(rng))
    }

    fn add(&mut self, device: Box<dyn Device>) -> Result<()> {
        let number = self.devices.len();
        let start = VIRTIO + VIRTIO_SIZE * number as u64;
        let line = self.interrupt(VIRTIO_IRQ + number as u32)?;
        let transport = Transport::new(device, self.memory.clone(), line);
        let transport = transport.map_err(Error::system("an eventfd"))?;
        transport.register(&self.vm, start).map_err(Error::kvm("a device's doorbell"))?;
        let transport = Arc::new(Mutex::new(transport));
        self.mmio.add(start, VIRTIO_SIZE, Arc::clone(&transport) as _);
        self.devices.push(transport);
        Ok(())
    }

    /// Makes everything what it was, and processors like those that were there.
    fn restore(&self, kvm: &Kvm, snapshot: &Snapshot) -> Result<Vec<Vcpu>> {
        let Snapshot { state, memory } = snapshot;
        memory::restore(&self.memory, memory).map_err(Error::system("reading its memory"))?;
        let supported = cpuid::supported(kvm)?;
        let mut all = Vec::with_capacity(state.processors.len());
        for (id, state) in state.processors.iter().enumerate() {
            let vcpu = self.vm.create_vcpu(id as u64).map_err(Error::kvm("making a processor"))?;
            let abilities = cpuid::restore(&vcpu, &supported, &state.cpuid)?;
            processor::restore(&vcpu, state)?;
            all.push((vcpu, abilities));
        }
        chips::restore(&self.vm, &state.chips)?;
        for (device, state) in self.devices.iter().zip(&state.devices) {
            lock(device).restore(state)?;
        }
        Ok(all)
    }

    /// The first one begins at `entry`; the others wait until it wakes them.
    fn processors(&self, kvm: &Kvm, count: u8, entry: boot::Entry) -> Result<Vec<Vcpu>> {
        let supported = cpuid::supported(kvm)?;
        let mut all = Vec::with_capacity(count.into());
        for id in 0..count {
            let vcpu = self.vm.create_vcpu(id.into()).map_err(Error::kvm("making a processor"))?;
            let abilities = cpuid::set(&vcpu, &supported, id)?;
            if id == 0 {
                registers::set_msrs(&vcpu)?;
                registers::set(&vcpu, &self.memory, entry)?;
            }
            all.push((vcpu, abilities));
        }
        Ok(all)
    }
}
