//! Loads between two packet pointers, the same for every hook.

use core::arch::asm;

use portcullis_pipeline::REACH;

/// Offsets are masked with this right before they are added to a packet pointer.
const MASK: u32 = 2 * REACH - 1;

/// `value & MASK` that LLVM cannot see through: the verifier of 6.1 loses the bounds of an
/// offset on paths that cannot happen, unless a real AND stands right before the addition.
#[inline(always)]
fn masked(value: u32) -> usize {
    let mut v = value as u64;
    // SAFETY: one AND on a register.
    unsafe { asm!("{0} &= {1}", inout(reg) v, const MASK) };
    v as usize
}

/// The linear bytes of a frame: the packet pointers of a context, read anew for each load.
pub trait Linear {
    /// Where they begin.
    fn start(&self) -> usize;

    /// Behind the last of them.
    fn end(&self) -> usize;

    /// [`portcullis_pipeline::Frame::load`] from them.
    #[inline(always)]
    fn linear<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        const { assert!(N >= 2) };
        if at >= REACH {
            return None;
        }
        let p = self.start() + masked(at);
        if p + N > self.end() {
            return None;
        }
        // SAFETY: the bytes lie before `data_end`, as the verifier has just seen.
        Some(unsafe { (p as *const [u8; N]).read_unaligned() })
    }

    /// [`portcullis_pipeline::Frame::fixed`] from them.
    #[inline(always)]
    fn linear_at<const AT: u32, const N: usize>(&self) -> Option<[u8; N]> {
        const { assert!(N >= 2 && AT < REACH) };
        let p = self.start() + AT as usize;
        if p + N > self.end() {
            return None;
        }
        // SAFETY: as above.
        Some(unsafe { (p as *const [u8; N]).read_unaligned() })
    }
}
