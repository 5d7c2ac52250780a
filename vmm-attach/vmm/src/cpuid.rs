//! What virtual processors say of themselves.

use kvm_bindings::{
    CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2,
};
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

/// Gives it to a virtual processor, with its own number in it; what it has then. Some kernels say
/// more when they are asked for that.
pub fn set(vcpu: &VcpuFd, supported: &CpuId, id: u8) -> Result<CpuId> {
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
    vcpu.set_cpuid2(&own).map_err(Error::kvm("saying what a processor can"))?;
    Ok(own)
}

/// Leaf 1, ECX: the guest has switched XSAVE on. A mirror of its CR4.
const XSAVE_ON: u32 = 1 << 27;

/// Leaf 7, ECX: it has switched protection keys on. Likewise.
const PROTECTION_KEYS_ON: u32 = 1 << 4;

/// Gives a processor what another one had; all of it must be here.
pub fn restore(vcpu: &VcpuFd, supported: &CpuId, had: &[kvm_cpuid_entry2]) -> Result<CpuId> {
    if let Some(what) = lacking(supported.as_slice(), had) {
        return Err(Error::state(format!(
            "this processor cannot do what the other one could: {what}"
        )));
    }
    let had = CpuId::from_entries(had).map_err(|_| Error::state("too many abilities"))?;
    vcpu.set_cpuid2(&had).map_err(Error::kvm("saying what a processor can"))?;
    Ok(had)
}

/// Its number and, where that means something, its index.
fn leaf(entry: &kvm_cpuid_entry2) -> (u32, u32) {
    let indexed = entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0;
    (entry.function, if indexed { entry.index } else { 0 })
}

/// The first leaf of flags in which there is more than here.
fn lacking(supported: &[kvm_cpuid_entry2], had: &[kvm_cpuid_entry2]) -> Option<String> {
    let here = |wanted| supported.iter().find(|entry| leaf(entry) == wanted);
    for entry in had {
        let leaf = leaf(entry);
        let flags = |e: &kvm_cpuid_entry2| match leaf {
            // KVM brings these along whatever the processor can, or the guest switches them.
            (1, 0) => [0, e.ecx & !(HYPERVISOR | DEADLINE | XSAVE_ON), e.edx],
            (7, 0) => [e.ebx, e.ecx & !PROTECTION_KEYS_ON, e.edx],
            // What there is to save of extended states.
            (0xd, 0) => [e.eax, 0, e.edx],
            (0x8000_0001, 0) => [0, e.ecx, e.edx],
            _ => [0; 3],
        };
        let own = here(leaf).map_or([0; 3], flags);
        let missing = flags(entry).into_iter().zip(own).map(|(had, own)| had & !own);
        let missing: Vec<u32> = missing.collect();
        if missing.iter().any(|bits| *bits != 0) {
            return Some(format!("leaf {:#x}, bits {missing:#x?}", leaf.0));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_must_have_what_the_other_one_had() {
        let leaf = |ecx| kvm_cpuid_entry2 { function: 1, ecx, ..kvm_cpuid_entry2::default() };
        assert_eq!(lacking(&[leaf(0b11)], &[leaf(0b10 | HYPERVISOR)]), None);
        let missing = lacking(&[leaf(0b01)], &[leaf(0b10)]).unwrap();
        assert!(missing.contains("leaf 0x1"), "{missing}");
        assert!(lacking(&[], &[leaf(1)]).is_some());
    }
}
