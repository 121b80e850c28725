// SPDX-License-Identifier: GPL-2.0

//! To be told of a reboot before it comes.
//!
//! C header: [`include/linux/reboot.h`](srctree/include/linux/reboot.h)

use kernel::{bindings, error, prelude::*, sync::Arc, types::Opaque};

extern "C" {
    fn ubd_reboot_notifier_register(block: *mut bindings::notifier_block) -> i32;
    fn ubd_reboot_notifier_unregister(block: *mut bindings::notifier_block);
}

/// What is told.
pub(crate) trait Rebooting: Send + Sync + 'static {
    /// The machine is about to be rebooted, halted, switched off, or given to another kernel. May
    /// sleep; the reboot waits for as long.
    fn rebooting(&self);
}

/// Tells `T`, until it is dropped.
///
/// # Invariants
///
/// `block` is registered, with [`Self::call`].
#[pin_data(PinnedDrop)]
pub(crate) struct Notifier<T: Rebooting> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    data: Arc<T>,
}

// SAFETY: It may be unregistered by any thread.
unsafe impl<T: Rebooting> Send for Notifier<T> {}

// SAFETY: There are no methods.
unsafe impl<T: Rebooting> Sync for Notifier<T> {}

impl<T: Rebooting> Notifier<T> {
    /// May sleep.
    pub(crate) fn register(data: Arc<T>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            data,
            block <- Opaque::try_ffi_init(|block: *mut bindings::notifier_block| {
                // SAFETY: `block` is ours to initialise; zeros are valid for all of its fields.
                unsafe { block.write_bytes(0, 1) };
                // SAFETY: It is initialised now.
                unsafe { (*block).notifier_call = Some(Self::call) };
                // INVARIANT: It is registered now. The data was put in place before.
                // SAFETY: The block is pinned, and complete.
                error::to_result(unsafe { ubd_reboot_notifier_register(block) })
            }),
        })
    }

    /// # Safety
    ///
    /// `block` must be that of a `Self`.
    unsafe extern "C" fn call(
        block: *mut bindings::notifier_block,
        _action: usize,
        _command: *mut kernel::ffi::c_void,
    ) -> i32 {
        // SAFETY: By this function's requirement. `Opaque` has the layout of what is in it.
        let this = unsafe { kernel::container_of!(Opaque::cast_from(block), Self, block) };
        // SAFETY: To unregister it waits for this call.
        unsafe { &*this }.data.rebooting();
        0
    }
}

#[pinned_drop]
impl<T: Rebooting> PinnedDrop for Notifier<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the block is registered. Waits for calls of it.
        unsafe { ubd_reboot_notifier_unregister(self.block.get()) };
    }
}
