//! A virtual processor at one moment.

use kvm_bindings::{
    CpuId, Msrs, kvm_cpuid_entry2, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry,
    kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::VcpuFd;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The deadline of the local APIC's timer (Intel SDM 4, table 2-2): means nothing before the APIC
/// and the time stamp counter are what they were.
const TSC_DEADLINE: u32 = 0x6e0;

/// What it is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What it says of itself.
    pub cpuid: Vec<kvm_cpuid_entry2>,
    runs: kvm_mp_state,
    general: kvm_regs,
    special: kvm_sregs,
    extended: kvm_xsave,
    extended_control: kvm_xcrs,
    debug: kvm_debugregs,
    apic: kvm_lapic_state,
    specific: Vec<kvm_msr_entry>,
    events: kvm_vcpu_events,
}

/// What a processor is that stands still. `cpuid`: what it has been given. `specific`: the
/// model-specific registers that may matter.
pub fn save(vcpu: &VcpuFd, cpuid: &CpuId, specific: &[u32]) -> Result<State> {
    // Its state first: KVM takes up what waits for the processor while it says it.
    let runs = vcpu.get_mp_state().map_err(Error::kvm("a processor's state"))?;
    Ok(State {
        cpuid: cpuid.as_slice().to_vec(),
        runs,
        general: vcpu.get_regs().map_err(Error::kvm("registers"))?,
        special: vcpu.get_sregs().map_err(Error::kvm("special registers"))?,
        extended: vcpu.get_xsave().map_err(Error::kvm("extended registers"))?,
        extended_control: vcpu.get_xcrs().map_err(Error::kvm("extended control registers"))?,
        debug: vcpu.get_debug_regs().map_err(Error::kvm("debug registers"))?,
        apic: vcpu.get_lapic().map_err(Error::kvm("a local APIC"))?,
        specific: read_specific(vcpu, specific)?,
        events: vcpu.get_vcpu_events().map_err(Error::kvm("what waits for a processor"))?,
    })
}

/// Those that this processor has: the list names what any might.
fn read_specific(vcpu: &VcpuFd, wanted: &[u32]) -> Result<Vec<kvm_msr_entry>> {
    let mut all = Vec::with_capacity(wanted.len());
    for index in wanted {
        let mut one = msr(kvm_msr_entry { index: *index, ..kvm_msr_entry::default() });
        let known = vcpu.get_msrs(&mut one);
        if known.map_err(Error::kvm("model-specific registers"))? == 1 {
            all.extend_from_slice(one.as_slice());
        }
    }
    Ok(all)
}

fn msr(entry: kvm_msr_entry) -> Msrs {
    Msrs::from_entries(&[entry]).expect("one register")
}

/// Makes a new processor what another one was; its abilities are set already.
pub fn restore(vcpu: &VcpuFd, state: &State) -> Result<()> {
    vcpu.set_mp_state(state.runs).map_err(Error::kvm("a processor's state"))?;
    vcpu.set_regs(&state.general).map_err(Error::kvm("registers"))?;
    vcpu.set_sregs(&state.special).map_err(Error::kvm("special registers"))?;
    set_extended(vcpu, &state.extended)?;
    vcpu.set_xcrs(&state.extended_control).map_err(Error::kvm("extended control registers"))?;
    vcpu.set_debug_regs(&state.debug).map_err(Error::kvm("debug registers"))?;
    vcpu.set_lapic(&state.apic).map_err(Error::kvm("a local APIC"))?;
    let mut specific = state.specific.clone();
    specific.sort_by_key(|entry| entry.index == TSC_DEADLINE);
    for entry in specific {
        set_specific(vcpu, entry)?;
    }
    vcpu.set_vcpu_events(&state.events).map_err(Error::kvm("what waits for a processor"))
}

#[allow(unsafe_code)]
fn set_extended(vcpu: &VcpuFd, extended: &kvm_xsave) -> Result<()> {
    // SAFETY: no process here asks for registers that make the kernel read more than this
    // (`arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM)`).
    unsafe { vcpu.set_xsave(extended) }.map_err(Error::kvm("extended registers"))
}

/// One that cannot be set here matters only if there is something in it.
fn set_specific(vcpu: &VcpuFd, entry: kvm_msr_entry) -> Result<()> {
    let set = vcpu.set_msrs(&msr(entry)).map_err(Error::kvm("model-specific registers"))?;
    if set == 1 || entry.data == 0 {
        return Ok(());
    }
    let (index, data) = (entry.index, entry.data);
    Err(Error::state(format!("the model-specific register {index:#x} cannot be {data:#x} here")))
}
