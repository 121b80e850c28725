// SPDX-License-Identifier: GPL-2.0

//! A workqueue of the driver's own.
//!
//! The kernel crate has the system's workqueues only, none of which has a rescuer.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::ops::Deref;
use core::ptr::NonNull;
use kernel::{bindings, prelude::*, workqueue::Queue};

/// An unbound workqueue that makes no progress while the machine is suspended.
///
/// # Invariants
///
/// `0` is a workqueue that is destroyed with `self`.
pub(crate) struct Workqueue(NonNull<bindings::workqueue_struct>);

// SAFETY: Workqueues may be used by, and destroyed from, any thread.
unsafe impl Send for Workqueue {}

// SAFETY: As above.
unsafe impl Sync for Workqueue {}

impl Workqueue {
    /// Makes a workqueue called `name`. May sleep. Returns `ENOMEM`.
    pub(crate) fn new(name: &CStr) -> Result<Self> {
        Self::with_flags(name, 0)
    }

    /// As [`Self::new`], of one that makes progress under memory pressure.
    pub(crate) fn with_rescuer(name: &CStr) -> Result<Self> {
        Self::with_flags(name, bindings::wq_flags_WQ_MEM_RECLAIM)
    }

    fn with_flags(name: &CStr, more: bindings::wq_flags) -> Result<Self> {
        let flags = bindings::wq_flags_WQ_UNBOUND | bindings::wq_flags_WQ_FREEZABLE | more;
        // SAFETY: The format takes the one string that it is given; the name is copied.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(c"%s".as_char_ptr(), flags, 0, name.as_char_ptr())
        };
        // INVARIANT: The workqueue was just made, and nobody else has it.
        Ok(Self(NonNull::new(queue).ok_or(ENOMEM)?))
    }
}

impl Workqueue {
    /// Waits for all works that were queued before. May sleep, but not in a work of this.
    pub(crate) fn flush(&self) {
        // SAFETY: By the type invariant the workqueue is there.
        unsafe { bindings::__flush_workqueue(self.0.as_ptr()) };
    }
}

impl Deref for Workqueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: By the type invariant the workqueue is there as long as `self` is.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for Workqueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this is the workqueue's one user. It waits for all works.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
