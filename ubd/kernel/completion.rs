// SPDX-License-Identifier: GPL-2.0

//! Completions.
//!
//! As `kernel::sync::Completion`, with what that lacks: waits that end early.
//!
//! C header: [`include/linux/completion.h`](srctree/include/linux/completion.h)

use kernel::{bindings, prelude::*, types::Opaque};

/// Something that happens once, and can be waited for.
///
/// # Invariants
///
/// `inner` is an initialised completion.
#[pin_data]
pub(crate) struct Completion {
    #[pin]
    inner: Opaque<bindings::completion>,
}

// SAFETY: A completion may be used by any task.
unsafe impl Send for Completion {}

// SAFETY: It does its own locking.
unsafe impl Sync for Completion {}

impl Completion {
    /// One that has not happened yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: It is initialised here.
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: `slot` is ours to initialise.
                unsafe { bindings::init_completion(slot) };
            }),
        })
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::completion {
        self.inner.get()
    }

    /// Says that it has happened: all who wait go on, and nobody will wait any more. May be called
    /// in any context.
    pub(crate) fn complete_all(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::complete_all(self.inner.get()) };
    }

    /// Waits until it happens. May sleep.
    pub(crate) fn wait_for_completion(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::wait_for_completion(self.inner.get()) };
    }

    /// Waits until it happens, or the calling task is killed. May sleep. Returns `EINTR` when it
    /// was killed.
    pub(crate) fn wait_for_completion_killable(&self) -> Result {
        // SAFETY: By the type invariant.
        match unsafe { bindings::wait_for_completion_killable(self.inner.get()) } {
            0 => Ok(()),
            _ => Err(EINTR),
        }
    }

    /// Waits until it happens, for `jiffies` at most. May sleep. Returns how many of them are left,
    /// or `None` if it has not happened.
    pub(crate) fn wait_for_completion_timeout(&self, jiffies: usize) -> Option<usize> {
        // SAFETY: By the type invariant.
        match unsafe { bindings::wait_for_completion_timeout(self.inner.get(), jiffies) } {
            0 => None,
            left => Some(left),
        }
    }
}
