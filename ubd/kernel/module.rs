// SPDX-License-Identifier: GPL-2.0

//! This module, as the C side of the kernel knows it.

use super::helpers;
#[cfg(MODULE)]
use core::ptr::NonNull;
#[cfg(MODULE)]
use kernel::ffi::c_char;
use kernel::{bindings, prelude::*};

/// The module's name.
pub(crate) const NAME: &CStr = c"rnull_ubd";

/// The `struct module` of this module; null if it is built in.
#[cfg(MODULE)]
pub(super) const THIS_MODULE: *mut bindings::module =
    (&raw const bindings::__this_module).cast_mut();

/// The `struct module` of this module; null if it is built in.
#[cfg(not(MODULE))]
pub(super) const THIS_MODULE: *mut bindings::module = core::ptr::null_mut();

/// Waits until the files of the initramfs are there. Only when built in is there anything to wait
/// for. May sleep.
pub(crate) fn wait_for_initramfs() {
    // SAFETY: Called in a context that may sleep.
    unsafe { helpers::ubd_wait_for_initramfs() };
}

/// The text of all parameters that the module is being loaded with.
///
/// # Invariants
///
/// `0` is a terminated string that was allocated by `kmalloc()` for `self`.
#[cfg(MODULE)]
pub(crate) struct Arguments(NonNull<c_char>);

#[cfg(MODULE)]
impl Arguments {
    /// The parameters of the load that the calling task is in the middle of, to be called in
    /// the module's init; `None` when they can't be told. May sleep.
    pub(crate) fn of_this_load() -> Option<Self> {
        // SAFETY: Called by a task that can be asked for its system call.
        let text = unsafe { helpers::ubd_module_args() };
        // INVARIANT: The string is new and ours.
        NonNull::new(text).map(Self)
    }

    /// The text: parameters with blanks between them.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        // SAFETY: By the type invariant.
        unsafe { CStr::from_char_ptr(self.0.as_ptr()) }.to_bytes()
    }
}

#[cfg(MODULE)]
impl Drop for Arguments {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the string was allocated for `self`.
        unsafe { bindings::kfree(self.0.as_ptr().cast()) };
    }
}
