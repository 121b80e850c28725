// SPDX-License-Identifier: GPL-2.0

//! A workqueue of the driver's own.
//!
//! The kernel crate has the system's workqueues only, none of which has a rescuer.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::ptr::NonNull;
use kernel::{bindings, prelude::*};

/// An unbound workqueue that makes progress under memory pressure, and none while the machine is
/// suspended.
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
        let flags = bindings::wq_flags_WQ_UNBOUND
            | bindings::wq_flags_WQ_MEM_RECLAIM
            | bindings::wq_flags_WQ_FREEZABLE;
        // SAFETY: The format takes the one string that it is given; the name is copied.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(c"%s".as_char_ptr(), flags, 0, name.as_char_ptr())
        };
        // INVARIANT: The workqueue was just made, and nobody else has it.
        Ok(Self(NonNull::new(queue).ok_or(ENOMEM)?))
    }

    /// Queues `work`, on any CPU. May be called in any context.
    ///
    /// # Safety
    ///
    /// `work` must be initialised, and stay valid until its function has been called.
    pub(super) unsafe fn enqueue(&self, work: *mut bindings::work_struct) {
        let cpu = bindings::wq_misc_consts_WORK_CPU_UNBOUND as i32;
        // SAFETY: The workqueue is valid by the type invariant, `work` by this function's.
        unsafe { bindings::queue_work_on(cpu, self.0.as_ptr(), work) };
    }
}

impl Drop for Workqueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this is the workqueue's one user. It waits for all works.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
