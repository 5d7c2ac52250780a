//! Static memory that is taken once. There is no allocator, and a local array would have to be
//! filled with zeros by instructions.

use core::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, Ordering},
};

/// Memory for a value.
pub struct Room<T> {
    value: UnsafeCell<T>,
    taken: AtomicBool,
}

// SAFETY: whoever takes it is the only one.
unsafe impl<T: Send> Sync for Room<T> {}

impl<T> Room<T> {
    /// Room that holds this.
    pub const fn new(value: T) -> Self {
        Self { value: UnsafeCell::new(value), taken: AtomicBool::new(false) }
    }

    /// Its value, for good.
    ///
    /// # Panics
    /// If somebody has it.
    pub fn take(&'static self) -> &'static mut T {
        assert!(!self.taken.swap(true, Ordering::Relaxed), "static memory is taken once");
        // SAFETY: nobody else gets here.
        unsafe { &mut *self.value.get() }
    }
}
