//! What is beside the processors: interrupt controllers, timer and clock.

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_clock_data, kvm_irqchip,
    kvm_pit_state2,
};
use kvm_ioctls::VmFd;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const CONTROLLERS: [u32; 3] = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC];

/// What they are at one moment.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    controllers: Vec<kvm_irqchip>,
    timer: kvm_pit_state2,
    clock: kvm_clock_data,
}

/// What they are now.
pub fn save(vm: &VmFd) -> Result<State> {
    let controller = |chip_id| {
        let mut chip = kvm_irqchip { chip_id, ..kvm_irqchip::default() };
        vm.get_irqchip(&mut chip).map(|()| chip).map_err(Error::kvm("an interrupt controller"))
    };
    Ok(State {
        controllers: CONTROLLERS.into_iter().map(controller).collect::<Result<_>>()?,
        timer: vm.get_pit2().map_err(Error::kvm("the timer"))?,
        clock: vm.get_clock().map_err(Error::kvm("the clock"))?,
    })
}

/// Makes them what they were. The guest's clock goes on from where it stood still.
pub fn restore(vm: &VmFd, state: &State) -> Result<()> {
    if !state.controllers.iter().map(|chip| chip.chip_id).eq(CONTROLLERS) {
        return Err(Error::state("its interrupt controllers are not those of this machine"));
    }
    for chip in &state.controllers {
        vm.set_irqchip(chip).map_err(Error::kvm("an interrupt controller's state"))?;
    }
    vm.set_pit2(&state.timer).map_err(Error::kvm("the timer's state"))?;
    let clock = kvm_clock_data { clock: state.clock.clock, ..kvm_clock_data::default() };
    vm.set_clock(&clock).map_err(Error::kvm("the clock's state"))
}
