// SPDX-License-Identifier: GPL-2.0

//! This module, as the C side of the kernel knows it.

use kernel::{bindings, prelude::*};

extern "C" {
    fn ubd_wait_for_initramfs();
}

/// The module's name.
pub(crate) const NAME: &CStr = c"rnull_ubd";

/// The major number of all ubds, as in UML. The module is loaded when one is opened.
pub(crate) const MAJOR: u32 = 98;

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
    unsafe { ubd_wait_for_initramfs() };
}
