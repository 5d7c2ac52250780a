//! What virtual processors say of themselves.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::{Kvm, VcpuFd};

use crate::error::{Error, Result};

/// Leaf 1, ECX: there is a hypervisor.
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1, ECX: the local APIC's timer takes a deadline.
const DEADLINE: u32 = 1 << 24;

/// What this processor and KVM can.
pub fn supported(kvm: &Kvm) -> Result<CpuId> {
    kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(Error::kvm("asking what it can"))
}

/// Gives it to a virtual processor, with its own number in it.
pub fn set(vcpu: &VcpuFd, supported: &CpuId, id: u8) -> Result<()> {
    let mut own = supported.clone();
    for entry in own.as_mut_slice() {
        match entry.function {
            1 => {
                entry.ebx = entry.ebx & 0x00ff_ffff | u32::from(id) << 24;
                entry.ecx |= HYPERVISOR | DEADLINE;
            }
            // Extended topology (Intel SDM 2A, CPUID): every processor a core of its own.
            0xb | 0x1f => entry.edx = id.into(),
            _ => {}
        }
    }
    vcpu.set_cpuid2(&own).map_err(Error::kvm("saying what a processor can"))
}
